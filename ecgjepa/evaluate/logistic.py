"""Logistic regression of all classes at once, along a path of regularisations.

The objective is that of `sklearn.linear_model.LogisticRegression` (binary per class, or multinomial; L2, free
intercept), and so is the solution, to about 1e-3 in the probabilities. Features of a frozen encoder are strongly
correlated, which makes a plain L-BFGS slow. Along their principal axes, scaled by the expected curvature, the problem
is nearly round, and all classes share each pass over the data. 17,400 x 768 features on two cores, C from 1e-5 to 10 in
seven steps: 78 s for one class with scikit-learn 1.9, 6 s for five classes here.

Axes: N records, D features, A principal axes (A <= D), K classes.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from ecgjepa.evaluate.columns import minimise_columns

Task = Literal["multilabel", "multiclass"]

# Gradient in rounded coordinates, in nats: a fit stops when no coordinate can gain more than about its square.
TOLERANCE_NATS = 1e-4
MAX_ITERATIONS = 1000
MEMORY = 20
# Expected curvature of a class per unit of squared feature, p (1 - p), is not taken to be smaller than this.
MIN_VARIANCE = 1e-6


@dataclass(frozen=True)
class LogisticFit:
    """Weights of one fit; `converged` is False if it ran out of iterations."""

    weights_DK: Float64[ndarray, "features classes"]
    bias_K: Float64[ndarray, "classes"]
    converged: bool

    def probabilities(self, features_ND: Float[ndarray, "n features"], task: Task) -> Float64[ndarray, "n classes"]:
        """Independent probabilities (multilabel), or ones that sum to 1 over the classes (multiclass)."""
        return _probabilities(features_ND @ self.weights_DK + self.bias_K, task)


class LogisticPath:
    """Logistic regressions of the same data at several regularisations, each started from the one before.

    Args:
        features_ND: centred features, best also of unit variance.
        labels_NK: every class must be there at least once, and (multilabel) not everywhere.
        task: `multilabel` fits every class alone, `multiclass` one softmax over all of them.
    """

    def __init__(
        self, features_ND: Float64[ndarray, "n features"], labels_NK: Bool[ndarray, "n classes"], task: Task
    ) -> None:
        prior_K = labels_NK.mean(axis=0)
        assert ((prior_K > 0) & (prior_K < 1)).all(), "every class needs both values"
        energy_D, axes_DD = np.linalg.eigh(features_ND.T @ features_ND)
        filled = energy_D > energy_D[-1] * len(energy_D) * np.finfo(float).eps  # the solution lies in their span
        self._task, self._labels_NK = task, labels_NK.astype(np.float64)
        self._sign_NK = 2 * self._labels_NK - 1
        self._axes_DA = np.ascontiguousarray(axes_DD[:, filled])
        self._rotated_NA = features_ND @ self._axes_DA
        self._energy_A = energy_D[filled]
        self._weights_AK = np.zeros((len(self._energy_A), len(prior_K)))
        self._bias_K = np.log(prior_K) - (np.log1p(-prior_K) if task == "multilabel" else 0.0)

    def fit(self, regularization_c: float) -> LogisticFit:
        """Minimise `sum of losses + |weights|^2 / (2 C)`, C as in scikit-learn; the next fit starts here."""
        probability_NK = _probabilities(self._rotated_NA @ self._weights_AK + self._bias_K, self._task)
        variance_K = np.maximum((probability_NK * (1 - probability_NK)).mean(axis=0), MIN_VARIANCE)
        scale_AK = 1 / np.sqrt(self._energy_A[:, None] * variance_K + 1 / regularization_c)
        bias_scale_K = 1 / np.sqrt(len(probability_NK) * variance_K)
        start_AK = np.vstack([self._weights_AK / scale_AK, self._bias_K / bias_scale_K])
        scales_AK = np.vstack([scale_AK, bias_scale_K])  # the last row is the bias
        if self._task == "multilabel":
            rounded_AK, converged_K = self._fit_columns(start_AK, scales_AK, regularization_c)
            converged = bool(converged_K.all())
        else:
            rounded_AK, converged = self._fit_jointly(start_AK, scales_AK, regularization_c)
        point_AK = rounded_AK * scales_AK
        self._weights_AK, self._bias_K = point_AK[:-1], point_AK[-1]
        return LogisticFit(self._axes_DA @ self._weights_AK, self._bias_K, converged)

    def _fit_columns(self, start_AK: ndarray, scales_AK: ndarray, regularization_c: float) -> tuple[ndarray, ndarray]:
        """Every class alone, all in one matrix product."""

        def loss_and_gradient(rounded_AK: ndarray, columns_K: ndarray) -> tuple[ndarray, ndarray]:
            point_AK = rounded_AK * scales_AK[:, columns_K]
            sign_NK = self._sign_NK[:, columns_K]
            # The negative of the margin: one exponential serves the loss and its slope.
            against_NK = -sign_NK * (self._rotated_NA @ point_AK[:-1] + point_AK[-1])
            loss_K = np.logaddexp(0, against_NK).sum(axis=0) + (point_AK[:-1] ** 2).sum(axis=0) / (2 * regularization_c)
            error_NK = -sign_NK * expit(against_NK)
            gradient_AK = np.vstack([self._rotated_NA.T @ error_NK, error_NK.sum(axis=0)])
            gradient_AK[:-1] += point_AK[:-1] / regularization_c
            return loss_K, gradient_AK * scales_AK[:, columns_K]

        return minimise_columns(
            loss_and_gradient, start_AK, tolerance=TOLERANCE_NATS, max_iterations=MAX_ITERATIONS, memory=MEMORY
        )

    def _fit_jointly(self, start_AK: ndarray, scales_AK: ndarray, regularization_c: float) -> tuple[ndarray, bool]:
        """One softmax over all classes."""

        def loss_and_gradient(flat: ndarray) -> tuple[float, ndarray]:
            point_AK = flat.reshape(start_AK.shape) * scales_AK
            logits_NK = self._rotated_NA @ point_AK[:-1] + point_AK[-1]
            loss = logsumexp(logits_NK, axis=1).sum() - (logits_NK * self._labels_NK).sum()
            error_NK = _probabilities(logits_NK, self._task) - self._labels_NK
            gradient_AK = np.vstack([self._rotated_NA.T @ error_NK, error_NK.sum(axis=0)])
            gradient_AK[:-1] += point_AK[:-1] / regularization_c
            loss += (point_AK[:-1] ** 2).sum() / (2 * regularization_c)
            return float(loss), (gradient_AK * scales_AK).ravel()

        options: dict[str, float] = {"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "maxcor": MEMORY}
        options |= {"gtol": TOLERANCE_NATS, "ftol": 0.0}
        found = minimize(loss_and_gradient, start_AK.ravel(), jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(start_AK.shape), bool(found.success)


def _probabilities(logits_NK: ndarray, task: Task) -> ndarray:
    if task == "multilabel":
        return expit(logits_NK)
    return np.exp(logits_NK - logsumexp(logits_NK, axis=1, keepdims=True))
