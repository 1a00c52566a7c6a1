"""The nearest training records and what they are: a read-out that learns nothing but how many to ask.

Axes: N records, M training records, D features, K classes, J nearest records, G sizes of the neighbourhood.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy import ndarray

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts.checks import (
    Features,
    Labels,
    check_finite,
    check_parts,
    check_values,
    choose_thresholds,
    decide,
    end_of_grid,
    learned_classes,
    macro_auc,
)
from ecgjepa.evaluate.readouts.directions import directions, fit_scaler

K_GRID = (1, 5, 10, 20, 50, 100)
# Elements of one block of similarities, 64 MB.
BLOCK_ELEMENTS = 16_000_000


class KNearestProbe:
    """Votes of the k nearest training records, weighted by their cosine similarity on standardised features.

    Probability of a class = sum of the similarities of those that have it / sum of all k; a similarity below 0 counts
    as 0, and if all k are, each votes alike. Validation records choose k by macro AUC, and the thresholds by F1.

    Args:
        task: `multilabel` or `multiclass`.
        grid: values of k, ascending; those above the number of training records are left out, with a note. Of several
            equally good ones the largest is taken.

    Attributes:
        k_: the chosen k.
        selection_: `k` and, as `grid`, the validation macro AUC of every k.
        thresholds_: K probabilities from which a class is called; None for multiclass.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(self, task: Task, grid: tuple[int, ...] = K_GRID) -> None:
        self.task, self.grid = task, grid

    def fit(
        self,
        features_ND: Features,
        labels_NK: Labels,
        validation_features_ND: Float[ndarray, "v d"],
        validation_labels_NK: Bool[ndarray, "v k"],
    ) -> "KNearestProbe":
        """Keep the training records, choose k by validation records.

        Raises:
            ValueError: features are not finite or have no record, fewer records than the smallest k, or a part has no
                class with positives and negatives.
        """
        check_parts(features_ND, labels_NK, validation_features_ND, validation_labels_NK)
        learned_K = learned_classes(labels_NK, self.task)
        grid, self.notes_ = possible_sizes(self.grid, len(features_ND))
        self.scaler_, self.values_MK = fit_scaler(features_ND), labels_NK.astype(np.float64)
        self.directions_MD = directions(self.scaler_, features_ND)
        votes_GNK = votes(self.directions_MD, self.values_MK, directions(self.scaler_, validation_features_ND), grid)
        aucs = [macro_auc(validation_labels_NK, votes_NK) for votes_NK in votes_GNK]
        best = len(aucs) - 1 - int(np.argmax(aucs[::-1]))
        self.k_ = grid[best]
        self.selection_: dict[str, Any] = {"k": self.k_, "grid": [list(pair) for pair in zip(grid, aucs, strict=True)]}
        self.thresholds_ = choose_thresholds(validation_labels_NK, votes_GNK[best], learned_K, self.task)
        self.notes_ += end_of_grid("k", self.k_, grid)
        return self

    def predict_proba(self, features_ND: Features) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        check_finite(features_ND, "prediction")
        found_NK = votes(self.directions_MD, self.values_MK, directions(self.scaler_, features_ND), (self.k_,))[0]
        return np.clip(found_NK, 0.0, 1.0)  # a sum of weights over the sum of the same weights may be 1 + 2e-16

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)


class KNearestRegression:
    """Mean of the k nearest training records, weighted as in `KNearestProbe`; validation records choose k by MAE.

    Args:
        grid: as of `KNearestProbe`.

    Attributes:
        k_, notes_: as of `KNearestProbe`.
        selection_: `k` and, as `grid`, the validation MAE of every k.
        thresholds_: None, as nothing is called.
    """

    def __init__(self, grid: tuple[int, ...] = K_GRID) -> None:
        self.grid = grid

    def fit(
        self,
        features_ND: Features,
        values_N: Float[ndarray, "n"],
        validation_features_ND: Float[ndarray, "v d"],
        validation_values_N: Float[ndarray, "v"],
    ) -> "KNearestRegression":
        """Keep the training records, choose k by validation records.

        Raises:
            ValueError: a number is not finite, a part has no record, or fewer records than the smallest k.
        """
        check_values(features_ND, values_N, "training")
        check_values(validation_features_ND, validation_values_N, "validation")
        grid, self.notes_ = possible_sizes(self.grid, len(features_ND))
        self.scaler_, self.values_M1 = fit_scaler(features_ND), values_N.astype(np.float64)[:, None]
        self.directions_MD = directions(self.scaler_, features_ND)
        means_GN1 = votes(self.directions_MD, self.values_M1, directions(self.scaler_, validation_features_ND), grid)
        errors = np.abs(means_GN1[..., 0] - validation_values_N).mean(axis=1).tolist()
        self.k_ = grid[len(errors) - 1 - int(np.argmin(errors[::-1]))]
        pairs = [list(pair) for pair in zip(grid, errors, strict=True)]
        self.selection_: dict[str, Any] = {"k": self.k_, "grid": pairs}
        self.thresholds_ = None
        self.notes_ += end_of_grid("k", self.k_, grid)
        return self

    def predict(self, features_ND: Features) -> Float64[ndarray, "n"]:
        """The value of every record, in the unit of the target."""
        check_finite(features_ND, "prediction")
        return votes(self.directions_MD, self.values_M1, directions(self.scaler_, features_ND), (self.k_,))[0, :, 0]


def possible_sizes(grid: tuple[int, ...], records: int) -> tuple[tuple[int, ...], list[str]]:
    """The values of k that so many training records allow, and a note if some do not.

    Raises:
        ValueError: none is allowed.
    """
    possible = tuple(k for k in grid if 1 <= k <= records)
    if not possible:
        raise ValueError(f"training: {records} records, expected at least k = {min(grid, default=1)} nearest ones")
    if len(possible) == len(grid):
        return possible, []
    return possible, [f"k was chosen of {list(possible)} only, as there are {records} training records."]


def votes(
    directions_MD: Float32[ndarray, "m d"],
    values_MK: Float64[ndarray, "m k"],
    query_ND: Float32[ndarray, "n d"],
    grid: tuple[int, ...],
) -> Float64[ndarray, "g n k"]:
    """Weighted mean of what the k nearest are, for every k of an ascending grid, (G, N, K).

    Exact: all similarities are computed, a block at a time. Of equally similar records the earlier is nearer, but at
    the very end of the neighbourhood it may be either.
    """
    result_GNK = np.empty((len(grid), len(query_ND), values_MK.shape[1]))
    rows = max(1, BLOCK_ELEMENTS // len(directions_MD))
    for start in range(0, len(query_ND), rows):
        nearest_NJ, weight_NJ = _nearest(directions_MD, query_ND[start : start + rows], grid[-1])
        for g, k in enumerate(grid):
            share_NJ = weight_NJ[:, :k].copy()
            share_NJ[share_NJ.sum(axis=1) == 0] = 1.0
            share_NJ /= share_NJ.sum(axis=1, keepdims=True)
            for n, (nearest_J, share_J) in enumerate(zip(nearest_NJ[:, :k], share_NJ, strict=True)):
                result_GNK[g, start + n] = share_J @ values_MK[nearest_J]
    return result_GNK


def _nearest(
    directions_MD: ndarray, query_ND: ndarray, k: int
) -> tuple[Int64[ndarray, "n j"], Float64[ndarray, "n j"]]:
    """The k most similar, most similar first, and their similarities, at least 0."""
    similarity_NM = query_ND @ directions_MD.T
    some_NJ = np.sort(np.argpartition(similarity_NM, -k, axis=1)[:, -k:], axis=1)
    found_NJ = np.take_along_axis(similarity_NM, some_NJ, axis=1)
    order_NJ = np.argsort(-found_NJ, axis=1, kind="stable")
    weight_NJ = np.take_along_axis(found_NJ, order_NJ, axis=1).astype(np.float64)
    return np.take_along_axis(some_NJ, order_NJ, axis=1), np.clip(weight_NJ, 0.0, None)
