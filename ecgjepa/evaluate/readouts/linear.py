"""Logistic regression on standardised features: the linear read-out of the strict protocol.

Axes: N records, D features, K classes.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from sklearn.preprocessing import StandardScaler

from ecgjepa.evaluate.logistic import LogisticFit, LogisticPath, Task
from ecgjepa.evaluate.readouts.checks import (
    CONSTANT_LOGIT,
    Features,
    Labels,
    check_finite,
    check_parts,
    choose_thresholds,
    decide,
    end_of_grid,
    learned_classes,
    macro_auc,
)

# Features of random or little trained weights are nearly collinear, and need values of C of 100 and more.
C_GRID = tuple(10.0**exponent for exponent in range(-5, 5))
# The largest values take longest: the search ends after this many in a row that are worse than the best.
PATIENCE = 3


class GridPoint(NamedTuple):
    """One regularisation and how well it did on validation."""

    regularization_c: float
    macro_auc: float


class LinearProbe:
    """Logistic regression on standardised features; validation records choose C by macro AUC, and the thresholds by F1.

    Multilabel: one binary regression per class, one C for all. Multiclass: one softmax, decided by its arg-max. A class
    that no training record has (or, multilabel, every one) gets probability 0 (or 1) for all records.

    Args:
        task: `multilabel` or `multiclass`.
        grid: values of C, ascending; of several equally good ones the smallest is taken.
        patience: the search ends after this many in a row that are no better than the best.

    Attributes:
        C_: the chosen C.
        grid_: macro AUC on validation for every C that was tried.
        selection_: both of them as JSON values.
        thresholds_: K probabilities from which a class is called; None for multiclass.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(self, task: Task, grid: tuple[float, ...] = C_GRID, patience: int = PATIENCE) -> None:
        self.task, self.grid, self.patience = task, grid, patience

    def fit(
        self,
        features_ND: Features,
        labels_NK: Labels,
        validation_features_ND: Float[ndarray, "v d"],
        validation_labels_NK: Bool[ndarray, "v k"],
    ) -> "LinearProbe":
        """Learn from training records, choose by validation records.

        Raises:
            ValueError: features are not finite or have no record, or a part has no class with positives and negatives.
        """
        check_parts(features_ND, labels_NK, validation_features_ND, validation_labels_NK)
        self.learned_K = learned_classes(labels_NK, self.task)
        self.constant_K = labels_NK.all(axis=0).astype(float)
        self.scaler_ = StandardScaler().fit(features_ND.astype(np.float64))
        path = LogisticPath(self._scaled(features_ND), labels_NK[:, self.learned_K], self.task)
        self.grid_, self.best_, best_auc = [], 0, -np.inf
        for i, c in enumerate(self.grid):
            if i > self.best_ + self.patience:
                break
            fit = path.fit(c)
            probabilities_NK = self._probabilities(validation_features_ND, fit)
            auc = macro_auc(validation_labels_NK, probabilities_NK)
            self.grid_.append(GridPoint(c, auc))
            if auc > best_auc:
                self.best_, self.fit_, best_auc = i, fit, auc
        self.C_ = self.grid[self.best_]
        self.selection_: dict[str, Any] = {"C": self.C_, "grid": [list(point) for point in self.grid_]}
        self.thresholds_ = choose_thresholds(
            validation_labels_NK, self.predict_proba(validation_features_ND), self.learned_K, self.task
        )
        self.notes_ = end_of_grid("C", self.C_, self.grid)
        if not self.fit_.converged:
            self.notes_.append(f"The logistic regression with C = {self.C_:g} did not converge.")
        return self

    def predict_proba(self, features_ND: Features) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        check_finite(features_ND, "prediction")
        return self._probabilities(features_ND, self.fit_)

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)

    def raw_layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weights (K, D) and bias (K) on features as they come: the standardisation is folded in.

        A class that could not be learned has weights of 0 and a bias of -+`CONSTANT_LOGIT`.
        """
        bias_K = np.where(self.constant_K > 0, CONSTANT_LOGIT, -CONSTANT_LOGIT)
        weight_KD = np.zeros((len(bias_K), len(self.scaler_.scale_)))
        weight_KD[self.learned_K] = (self.fit_.weights_DK / self.scaler_.scale_[:, None]).T
        bias_K[self.learned_K] = self.fit_.bias_K - weight_KD[self.learned_K] @ self.scaler_.mean_
        return weight_KD, bias_K

    def _scaled(self, features_ND: ndarray) -> ndarray:
        return self.scaler_.transform(features_ND.astype(np.float64))

    def _probabilities(self, features_ND: ndarray, fit: LogisticFit) -> ndarray:
        probabilities_NK = np.tile(self.constant_K, (len(features_ND), 1))
        probabilities_NK[:, self.learned_K] = fit.probabilities(self._scaled(features_ND), self.task)
        return probabilities_NK
