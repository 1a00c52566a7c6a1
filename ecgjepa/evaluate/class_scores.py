"""All scores of one model on classes, ready for any number of resamples.

Axes: R resamples, N records, K classes, M metrics, C columns: classes, the mean of all, the mean of the frequent ones.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy import ndarray

from ecgjepa.evaluate.calibration import binned_residuals, mean_distance
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.metrics import accuracy, auroc_of_pairs, f1_of, f1_parts, macro
from ecgjepa.evaluate.ranking import by_record, rank_classes
from ecgjepa.evaluate.targets import Targets

PER_CLASS = ("auc", "f1", "auprc", "sensitivity_at_90_specificity", "ece", "brier")
# Of all classes together; multiclass only.
OVERALL = ("accuracy", "auc_one_vs_one")
# Columns after the classes.
MACRO, MACRO_FREQUENT = -2, -1


def metrics_of(task: Task) -> tuple[str, ...]:
    """The metrics along M."""
    return PER_CLASS + OVERALL if task == "multiclass" else PER_CLASS


class ClassScores:
    """Scores of one model; everything that is the same for all resamples is computed once, here."""

    def __init__(
        self,
        labels_NK: Bool[ndarray, "n k"],
        probabilities_NK: Float64[ndarray, "n k"],
        predicted_NK: Bool[ndarray, "n k"],
        frequent_K: Bool[ndarray, "k"],
        task: Task,
    ) -> None:
        self.labels_NK, self.probabilities_NK, self.predicted_NK = labels_NK, probabilities_NK, predicted_NK
        self.frequent_K, self.task = frequent_K, task
        self.ranked_K = rank_classes(labels_NK, probabilities_NK)
        self.f1_parts = f1_parts(labels_NK, predicted_NK)
        self.residuals_NC = binned_residuals(labels_NK, probabilities_NK)
        self.squares_NK = (labels_NK - probabilities_NK) ** 2

    def __call__(self, weights_RN: Int[ndarray, "r n"] | None) -> Float64[ndarray, "r2 m c"]:
        """Scores of some resamples, (R, M, K + 2); NaN where one is not defined."""
        weights_NR = by_record(weights_RN, len(self.labels_NK))
        total_R1 = weights_NR.sum(axis=0, dtype=np.float64)[:, None]
        ranking_3KR = np.stack([ranked.measure(weights_NR) for ranked in self.ranked_K], axis=1)
        auc_RK, auprc_RK, sensitivity_RK = ranking_3KR.transpose(0, 2, 1)
        per_class = [auc_RK, f1_of(self.f1_parts, weights_NR), auprc_RK, sensitivity_RK]
        per_class += [mean_distance(self.residuals_NC, weights_NR, len(self.frequent_K))]
        per_class += [weights_NR.T @ self.squares_NK / total_R1]
        table = [
            np.column_stack([values_RK, macro(values_RK), macro(values_RK[:, self.frequent_K])])
            for values_RK in per_class
        ]
        if self.task == "multiclass":
            table += self._overall(weights_RN)
        return np.stack(table, axis=1)

    def _overall(self, weights_RN: Any) -> list[ndarray]:
        """Accuracy and one-vs-one AUROC; among frequent classes, of the records and the pairs of these."""
        of_frequent_N = self.labels_NK[:, self.frequent_K].any(axis=1)
        frequent_RN = None if weights_RN is None else weights_RN[:, of_frequent_N]
        right_R = accuracy(self.labels_NK, self.predicted_NK, weights_RN)
        right_frequent_R = accuracy(self.labels_NK[of_frequent_N], self.predicted_NK[of_frequent_N], frequent_RN)
        values_RP, pairs = auroc_of_pairs(self.labels_NK, self.probabilities_NK, weights_RN)
        both_P = np.array([self.frequent_K[a] and self.frequent_K[b] for a, b in pairs], dtype=bool)
        no_class = np.full((len(right_R), len(self.frequent_K)), np.nan)
        return [
            np.column_stack([no_class, right_R, right_frequent_R]),
            np.column_stack([no_class, macro(values_RP), macro(values_RP[:, both_P])]),
        ]


def check_test(test: Targets, task: Task) -> None:
    """Raises ValueError for test records that cannot be scored."""
    if not len(test):
        raise ValueError("scores: no test record, expected at least one")
    count_N = test.labels_NK.sum(axis=1)
    if task == "multiclass" and (count_N != 1).any():
        row = np.flatnonzero(count_N != 1)[0]
        raise ValueError(f"scores: test record {row} has {count_N[row]} classes, expected one (multiclass)")
    positives_K = test.labels_NK.sum(axis=0)
    if not ((positives_K > 0) & (positives_K < len(test))).any():
        raise ValueError(
            f"scores: none of {len(test.classes)} classes has both positive and negative records among {len(test)}"
        )


def check_scored(test: Targets, name: str, probabilities_NK: ndarray, predicted_NK: ndarray) -> None:
    """Raises ValueError for a model whose probabilities cannot be scored on these records."""
    for what, found in (("probabilities", probabilities_NK), ("decisions", predicted_NK)):
        if found.shape != test.labels_NK.shape:
            raise ValueError(f"model {name!r}: {what} of shape {found.shape}, expected {test.labels_NK.shape}")
    wrong_NK = ~((probabilities_NK >= 0) & (probabilities_NK <= 1))
    if wrong_NK.any():
        n, k = np.argwhere(wrong_NK)[0]
        raise ValueError(
            f"model {name!r}: {int(wrong_NK.sum())} of {wrong_NK.size} probabilities are not in [0, 1], the first is "
            f"{probabilities_NK[n, k]} for class {test.classes[k]!r} in row {n}"
        )
