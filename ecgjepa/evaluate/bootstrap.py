"""Intervals by resampling patients.

Records of one patient are not independent, so patients are drawn with replacement, each with all its records. A
resample is a row of integer weights, one per record. Two models on the same resamples give a paired difference.

Axes: R resamples, N records.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy import ndarray

# Elements of one block of weights; keeps the sorted copies of metrics.auroc in the processor's cache.
BLOCK_ELEMENTS = 600_000


def patient_weights(
    patients_N: Shaped[ndarray, "n"],
    resamples: int,
    generator: np.random.Generator,
    block_elements: int = BLOCK_ELEMENTS,
) -> Iterator[Int64[ndarray, "r n"]]:
    """Draw resamples of patients, in blocks of (r, N) weights of together `resamples` rows.

    Args:
        patients_N: who each record belongs to, any hashable names.
        block_elements: bounds the size of a block; the draws do not depend on it.
    """
    _, patient_of_N = np.unique(patients_N, return_inverse=True)
    count = int(patient_of_N.max()) + 1
    rows = max(1, block_elements // len(patients_N))
    for start in range(0, resamples, rows):
        drawn_RP = generator.integers(count, size=(min(rows, resamples - start), count))
        times_RP = np.stack([np.bincount(drawn, minlength=count) for drawn in drawn_RP])
        yield times_RP[:, patient_of_N]


def bootstrap(
    statistic: Callable[[Int64[ndarray, "r n"]], Float64[ndarray, "r *values"]],
    patients_N: Shaped[ndarray, "n"],
    resamples: int,
    seed: int,
) -> Float64[ndarray, "resamples *values"]:
    """A statistic on `resamples` resamples of the patients, (R, ...).

    Args:
        statistic: from (r, N) weights to (r, ...) values.

    Raises:
        ValueError: no record, or fewer than one resample.
    """
    if not len(patients_N) or resamples < 1:
        raise ValueError(
            f"bootstrap: {len(patients_N)} records and {resamples} resamples, expected at least one of each"
        )
    generator = np.random.default_rng(seed)
    return np.concatenate([statistic(weights_RN) for weights_RN in patient_weights(patients_N, resamples, generator)])


def percentile_interval(
    samples: Float64[ndarray, "r *values"], level: float = 0.95
) -> tuple[Float64[ndarray, "*values"], Float64[ndarray, "*values"]]:
    """Lower and upper percentile over the resamples in which the value is defined; NaN where it is defined in none."""
    undefined = np.isnan(samples).all(axis=0)
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(np.where(undefined, 0.0, samples), [tail, 100 - tail], axis=0)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)
