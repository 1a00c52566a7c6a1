"""Do probabilities mean what they say? Expected calibration error, Brier score, and the table of a reliability diagram.

The probability of each class is taken against its own label, one-vs-rest, in 15 bins of equal width; a probability of
just a border belongs to the bin above it, 1 to the last.

Axes: R resamples, N records, K classes, B bins.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Float64, Int, Int64
from numpy import ndarray
from scipy.sparse import csr_array

from ecgjepa.evaluate.ranking import by_record

BINS = 15


def calibration_error(
    labels_NK: Bool[ndarray, "n k"],
    probabilities_NK: Float[ndarray, "n k"],
    weights_RN: Int[ndarray, "r n"] | None = None,
    bins: int = BINS,
) -> Float64[ndarray, "r2 k"]:
    """Expected calibration error of each class, (R, K) (Naeini et al. 2015, of one class against the rest).

    Over the bins, the share of the records in a bin times the distance between their mean probability and the share of
    positives among them; in [0, 1], 0 is best. NaN for a resample of no record.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    residuals_NC = binned_residuals(labels_NK, probabilities_NK, bins)
    return mean_distance(residuals_NC, by_record(weights_RN, len(labels_NK)), labels_NK.shape[1])


def mean_distance(residuals_NC: csr_array, weights_NR: Float[ndarray, "n r"], classes: int) -> Float64[ndarray, "r k"]:
    """Expected calibration error of each class, (R, K), from `binned_residuals`."""
    distance_CR = np.abs(residuals_NC.T @ weights_NR)
    return _mean(distance_CR.T.reshape(weights_NR.shape[1], classes, -1).sum(axis=2), weights_NR)


def brier(
    labels_NK: Bool[ndarray, "n k"],
    probabilities_NK: Float[ndarray, "n k"],
    weights_RN: Int[ndarray, "r n"] | None = None,
) -> Float64[ndarray, "r2 k"]:
    """Mean squared distance between probability and label of each class, (R, K); NaN for a resample of no record."""
    weights_NR = by_record(weights_RN, len(labels_NK))
    return _mean(weights_NR.T @ (labels_NK - probabilities_NK.astype(np.float64)) ** 2, weights_NR)


def binned_residuals(
    labels_NK: Bool[ndarray, "n k"], probabilities_NK: Float[ndarray, "n k"], bins: int = BINS
) -> csr_array:
    """Label minus probability, in the column of its class and bin, (N, K * B) sparse.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    records, classes = labels_NK.shape
    column_NK = bin_of(probabilities_NK, bins) + bins * np.arange(classes)
    residual_NK = labels_NK - probabilities_NK.astype(np.float64)
    starts = classes * np.arange(records + 1)
    return csr_array((residual_NK.ravel(), column_NK.ravel(), starts), shape=(records, classes * bins))


def bin_of(probabilities_NK: Float[ndarray, "n k"], bins: int = BINS) -> Int64[ndarray, "n k"]:
    """The bin of each probability.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    inside = (probabilities_NK >= 0) & (probabilities_NK <= 1)
    if not inside.all():
        raise ValueError(
            f"calibration: {int((~inside).sum())} of {inside.size} probabilities are not in [0, 1], the first is "
            f"{probabilities_NK[~inside][0]}"
        )
    return np.minimum((probabilities_NK.astype(np.float64) * bins).astype(np.int64), bins - 1)


def reliability_table(
    labels_NK: Bool[ndarray, "n k"],
    probabilities_NK: Float[ndarray, "n k"],
    classes: Sequence[str],
    bins: int = BINS,
) -> pd.DataFrame:
    """What a reliability diagram shows: one row per class and bin that has a record.

    Columns: class, low and high (borders of the bin), records, mean_probability, observed (share of positives).

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    bin_NK = bin_of(probabilities_NK, bins)
    rows = []
    for k, name in enumerate(classes):
        records_B = np.bincount(bin_NK[:, k], minlength=bins)
        said_B = np.bincount(bin_NK[:, k], probabilities_NK[:, k], minlength=bins)
        seen_B = np.bincount(bin_NK[:, k], labels_NK[:, k], minlength=bins)
        rows += [
            (name, b / bins, (b + 1) / bins, int(records_B[b]), said_B[b] / records_B[b], seen_B[b] / records_B[b])
            for b in np.flatnonzero(records_B)
        ]
    return pd.DataFrame(rows, columns=["class", "low", "high", "records", "mean_probability", "observed"])


def _mean(sum_RK: ndarray, weights_NR: ndarray) -> ndarray:
    total_R1 = weights_NR.sum(axis=0, dtype=np.float64)[:, None]
    return np.where(total_R1 > 0, sum_RK / np.maximum(total_R1, 1), np.nan)
