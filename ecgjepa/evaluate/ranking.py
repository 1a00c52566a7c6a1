"""What depends on the order of the scores alone, of many resamples at once: AUROC, average precision, sensitivity.

Only thresholds at which a positive is called matter: between two of them the false positives grow and nothing else. So
a resample is summed up between the scores of the positives (a sparse product with its weights) and everything follows
from cumulative sums over these few rows.

Axes: R resamples, N records, T distinct scores of positives, from the highest.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64
from numpy import ndarray
from scipy.sparse import csr_array

SPECIFICITY = 0.9
# Up to here every whole number is a float32, so sums of weights are exact.
EXACT_IN_FLOAT32 = 2**24


@dataclass(frozen=True)
class Ranked:
    """Positives and negatives of one class by their scores; what is the same for every resample.

    Attributes:
        positives_TN: 1 where a positive has the T-th highest score.
        negatives_TN: 1 where a negative lies at or above the T-th, and below the one before; one row more for the rest.
        tied_TN: the negatives among them with just the score of the T-th, and
        tied_T: which of the T these rows are; mostly none.
    """

    positives_TN: csr_array
    negatives_TN: csr_array
    tied_TN: csr_array
    tied_T: Int64[ndarray, "tied"]

    def auroc(self, weights_NR: Float[ndarray, "n r"]) -> Float64[ndarray, "r"]:
        """Area under the ROC, (R,): how often a positive scores above a negative; ties half. See `measure`."""
        positives_TR, above_TR, negatives_R = self._counts(weights_NR)
        return self._auroc(weights_NR, positives_TR, above_TR, negatives_R)

    def measure(self, weights_NR: Float[ndarray, "n r"], specificity: float = SPECIFICITY) -> Float64[ndarray, "3 r"]:
        """AUROC, average precision and sensitivity at a specificity, (3, R).

        All are NaN without positives; AUROC and sensitivity also without negatives, where average precision is 1.
        """
        positives_TR, above_TR, negatives_R = self._counts(weights_NR)
        hits_TR = np.cumsum(positives_TR, axis=0)
        there_R = positives_TR.sum(axis=0, dtype=np.float64)
        precision_TR = np.divide(hits_TR, np.maximum(hits_TR + above_TR, 1), dtype=np.float64)
        precision_R = np.einsum("tr,tr->r", positives_TR, precision_TR, dtype=np.float64)
        # Whole numbers are compared; 1 - 0.9 is a little less than 0.1.
        allowed_R = np.floor((1 - specificity) * negatives_R + 1e-9)
        called_R = np.einsum("tr,tr->r", positives_TR, above_TR <= allowed_R, dtype=np.float64)
        return np.stack(
            [
                self._auroc(weights_NR, positives_TR, above_TR, negatives_R),
                np.where(there_R > 0, precision_R / np.maximum(there_R, 1), np.nan),
                np.where((there_R > 0) & (negatives_R > 0), called_R / np.maximum(there_R, 1), np.nan),
            ]
        )

    def _counts(self, weights_NR: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """Positives at each of the T scores, negatives at or above it, and all negatives."""
        above_TR = np.cumsum(self.negatives_TN @ weights_NR, axis=0)
        return self.positives_TN @ weights_NR, above_TR[:-1], above_TR[-1].astype(np.float64)

    def _auroc(
        self, weights_NR: ndarray, positives_TR: ndarray, above_TR: ndarray, negatives_R: ndarray
    ) -> Float64[ndarray, "r"]:
        lost_R = np.einsum("tr,tr->r", positives_TR, above_TR, dtype=np.float64)
        if len(self.tied_T):
            ties_TR = self.tied_TN @ weights_NR
            lost_R -= np.einsum("tr,tr->r", positives_TR[self.tied_T], ties_TR, dtype=np.float64) / 2
        pairs_R = positives_TR.sum(axis=0, dtype=np.float64) * negatives_R
        return np.where(pairs_R > 0, (pairs_R - lost_R) / np.maximum(pairs_R, 1), np.nan)


def rank(positives_P: Int[ndarray, "p"], negatives_Q: Int[ndarray, "q"], scores_N: Float[ndarray, "n"]) -> Ranked:
    """Rank some records, given as positions; the others do not count."""
    levels_T = np.unique(scores_N[positives_P])
    level_P = len(levels_T) - 1 - np.searchsorted(levels_T, scores_N[positives_P])
    # How many levels lie above a negative: the first at which it is called.
    level_Q = len(levels_T) - np.searchsorted(levels_T, scores_N[negatives_Q], side="right")
    tied_Q = np.isin(scores_N[negatives_Q], levels_T)
    tied_T = np.unique(level_Q[tied_Q])
    records = len(scores_N)
    return Ranked(
        _rows(positives_P, level_P, (len(levels_T), records)),
        _rows(negatives_Q, level_Q, (len(levels_T) + 1, records)),
        _rows(negatives_Q[tied_Q], np.searchsorted(tied_T, level_Q[tied_Q]), (len(tied_T), records)),
        tied_T,
    )


def rank_classes(labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"]) -> list[Ranked]:
    """Rank all records for each class against the rest."""
    columns = zip(labels_NK.T, scores_NK.T, strict=True)
    return [rank(np.flatnonzero(labels_N), np.flatnonzero(~labels_N), scores_N) for labels_N, scores_N in columns]


def by_record(weights_RN: Int[ndarray, "r n"] | None, records: int) -> Float[ndarray, "n r2"]:
    """Weights as `Ranked` takes them, (N, R): float32 where sums are exact in it; one resample of ones without any."""
    if weights_RN is None:
        return np.ones((records, 1), np.float32 if records < EXACT_IN_FLOAT32 else np.float64)
    exact = weights_RN.sum(axis=1).max(initial=0) < EXACT_IN_FLOAT32
    return np.ascontiguousarray(weights_RN.T, dtype=np.float32 if exact else np.float64)


def _rows(records_M: ndarray, rows_M: ndarray, shape: tuple[int, int]) -> csr_array:
    order = np.argsort(rows_M, kind="stable")
    starts = np.searchsorted(rows_M[order], np.arange(shape[0] + 1))
    return csr_array((np.ones(len(order), np.float32), records_M[order], starts), shape=shape)
