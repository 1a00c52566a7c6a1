"""The nearest class mean: how like a record is to the typical one of each class.

Axes: N records, D features, K classes.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64
from numpy import ndarray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, softmax

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts.checks import (
    Features,
    Labels,
    check_finite,
    check_parts,
    choose_thresholds,
    decide,
    learned_classes,
    macro_auc,
)
from ecgjepa.evaluate.readouts.directions import directions, fit_scaler

# Bounds of log temperature: a similarity is between -1 and 1.
LOG_TEMPERATURE = (-7.0, 5.0)
# The order of the records is that of their similarity, whatever validation says.
LEAST_SLOPE = 1e-3


class NearestMeanProbe:
    """Cosine similarity to the mean direction of each class, on standardised features of length 1.

    Multilabel: similarity to the mean of the records with the class, less that to the mean of those without; a logistic
    curve that is fitted to this one number on validation (Platt 1999, with his smoothed targets; rising) makes
    it a probability. Multiclass: a softmax over the similarities, its temperature fitted on validation. The thresholds
    are those of best F1 on validation. A class that could not be learned has probability 0, or 1 if all have it.

    Args:
        task: `multilabel` or `multiclass`.

    Attributes:
        selection_: `slope` and `intercept` of every class (None if not learned), or `temperature`; and `macro_auc`.
        thresholds_: K probabilities from which a class is called; None for multiclass.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def fit(
        self,
        features_ND: Features,
        labels_NK: Labels,
        validation_features_ND: Float[ndarray, "v d"],
        validation_labels_NK: Bool[ndarray, "v k"],
    ) -> "NearestMeanProbe":
        """Take the means of training records, make similarities probabilities by validation records.

        Raises:
            ValueError: features are not finite or have no record, or a part has no class with positives and negatives.
        """
        check_parts(features_ND, labels_NK, validation_features_ND, validation_labels_NK)
        self.learned_K, self.constant_K = learned_classes(labels_NK, self.task), labels_NK.all(axis=0).astype(float)
        self.scaler_ = fit_scaler(features_ND)
        directions_ND, learned_NK = directions(self.scaler_, features_ND), labels_NK[:, self.learned_K]
        self.means_KD = mean_directions(directions_ND, learned_NK)
        if self.task == "multilabel":
            self.means_KD = self.means_KD - mean_directions(directions_ND, ~learned_NK)
        scores_NK, expected_NK = self._scores(validation_features_ND), validation_labels_NK[:, self.learned_K]
        self.notes_: list[str] = []
        if self.task == "multilabel":
            self.slope_K, self.intercept_K = np.transpose(
                [platt(scores_NK[:, k], expected_NK[:, k]) for k in range(scores_NK.shape[1])]
            )
            self.selection_: dict[str, Any] = {
                "slope": self._of_all(self.slope_K),
                "intercept": self._of_all(self.intercept_K),
            }
            if one_sided := int((~expected_NK.any(axis=0) | expected_NK.all(axis=0)).sum()):
                self.notes_.append(
                    f"{one_sided} classes have only positive or only negative validation records, so that their "
                    "probabilities say little; the order of the records is not touched by this."
                )
        else:
            self.temperature_ = fit_temperature(scores_NK, expected_NK)
            self.selection_ = {"temperature": self.temperature_}
        probabilities_NK = self.predict_proba(validation_features_ND)
        self.selection_["macro_auc"] = macro_auc(validation_labels_NK, probabilities_NK)
        self.thresholds_ = choose_thresholds(validation_labels_NK, probabilities_NK, self.learned_K, self.task)
        return self

    def predict_proba(self, features_ND: Features) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        check_finite(features_ND, "prediction")
        scores_NK = self._scores(features_ND)
        probabilities_NK = np.tile(self.constant_K, (len(features_ND), 1))
        if self.task == "multilabel":
            probabilities_NK[:, self.learned_K] = expit(self.slope_K * scores_NK + self.intercept_K)
        else:
            probabilities_NK[:, self.learned_K] = softmax(scores_NK / self.temperature_, axis=1)
        return probabilities_NK

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)

    def _scores(self, features_ND: ndarray) -> ndarray:
        return directions(self.scaler_, features_ND).astype(np.float64) @ self.means_KD.T

    def _of_all(self, values: ndarray) -> list[float | None]:
        learned = iter(values.tolist())
        return [next(learned) if is_learned else None for is_learned in self.learned_K]


def mean_directions(
    directions_ND: Float32[ndarray, "n d"], members_NK: Bool[ndarray, "n k"]
) -> Float64[ndarray, "k d"]:
    """Direction of the mean of the records of each class, of length 1 (0 where they cancel), (K, D)."""
    total_KD = members_NK.T.astype(np.float64) @ directions_ND
    length_K1 = np.linalg.norm(total_KD, axis=1, keepdims=True)
    return total_KD / np.where(length_K1 > 0, length_K1, 1.0)


def platt(scores_N: Float64[ndarray, "n"], labels_N: Bool[ndarray, "n"]) -> tuple[float, float]:
    """Slope (above 0) and intercept of the logistic curve of a score that fits some labels best.

    The targets are (positives + 1) / (positives + 2) and 1 / (negatives + 2), so that it is finite for any labels.

    Source: Platt (1999), Probabilistic outputs for support vector machines, section 2.2.
    """
    positives, negatives = int(labels_N.sum()), int((~labels_N).sum())
    target_N = np.where(labels_N, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, spread = scores_N.mean(), scores_N.std() or 1.0
    scaled_N = (scores_N - centre) / spread

    def loss_and_gradient(curve: ndarray) -> tuple[float, ndarray]:
        logit_N = curve[0] * scaled_N + curve[1]
        error_N = expit(logit_N) - target_N
        loss = (np.logaddexp(0, logit_N) - target_N * logit_N).mean()
        return float(loss), np.array([(error_N * scaled_N).mean(), error_N.mean()])

    start = np.array([1.0, np.log((positives + 1) / (negatives + 1))])
    bounds = [(LEAST_SLOPE, None), (None, None)]
    found = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"gtol": 1e-7})
    slope, intercept = found.x
    return float(slope / spread), float(intercept - slope * centre / spread)


def fit_temperature(scores_NK: Float64[ndarray, "n k"], labels_NK: Bool[ndarray, "n k"]) -> float:
    """The temperature of a softmax over scores that fits some labels best; records without a class are left out.

    Raises:
        ValueError: no record has one of the classes.
    """
    known_N = labels_NK.any(axis=1)
    if not known_N.any():
        raise ValueError("validation: no record has a class that training records have, so nothing can be chosen")
    scores_NK, class_N = scores_NK[known_N], labels_NK[known_N].argmax(axis=1)

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(scores_NK / np.exp(log_temperature), axis=1)[np.arange(len(class_N)), class_N].mean())

    return float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURE, method="bounded").x))
