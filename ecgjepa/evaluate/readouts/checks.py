"""What all read-outs have in common: what they refuse, which classes can be learned, how a class is called.

Axes: N records, D features, K classes.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.metrics import auroc, best_f1_thresholds, macro

Features = Float[ndarray, "n d"]
Labels = Bool[ndarray, "n k"]

# Logit of a class that could not be learned, as a layer holds it: finite, and exactly 0 or 1 as a probability.
CONSTANT_LOGIT = 1e4


def check_parts(features_ND: ndarray, labels_NK: ndarray, validation_ND: ndarray, validation_NK: ndarray) -> None:
    """Raises ValueError where training or validation records cannot be used, or do not fit each other."""
    check_part(features_ND, labels_NK, "training")
    check_part(validation_ND, validation_NK, "validation")
    for name, found, expected in (
        ("features", validation_ND.shape[1], features_ND.shape[1]),
        ("classes", validation_NK.shape[1], labels_NK.shape[1]),
    ):
        if found != expected:
            raise ValueError(f"validation: {found} {name}, expected {expected} as in training")


def check_part(features_ND: ndarray, labels_NK: ndarray, part: str) -> None:
    """Raises ValueError for a part without records or classes, of unequal length, or with a feature not finite."""
    check_labels(len(features_ND), labels_NK, part)
    check_finite(features_ND, part)


def check_labels(records: int, labels_NK: ndarray, part: str) -> None:
    """Raises ValueError for a part without records or classes, or of unequal length."""
    if not records or not labels_NK.shape[1]:
        raise ValueError(f"{part}: {records} records and {labels_NK.shape[1]} classes, expected at least one")
    if len(labels_NK) != records:
        raise ValueError(f"{part}: {records} records with features and {len(labels_NK)} with labels")


def check_values(features_ND: ndarray, values_N: ndarray, part: str) -> None:
    """The same for regression: one finite number per record."""
    if not len(features_ND) or len(values_N) != len(features_ND):
        raise ValueError(
            f"{part}: {len(features_ND)} records and {len(values_N)} values, expected as many, one or more"
        )
    check_finite(features_ND, part)
    if broken := int((~np.isfinite(values_N)).sum()):
        raise ValueError(f"{part}: {broken} of {len(values_N)} values are not finite")


def check_finite(features_ND: ndarray, part: str) -> None:
    """Raises ValueError where a feature is NaN or infinite."""
    if broken := int((~np.isfinite(features_ND).all(axis=1)).sum()):
        raise ValueError(f"{part}: {broken} of {len(features_ND)} records have features that are not finite")


def learned_classes(labels_NK: Labels, task: Task) -> Bool[ndarray, "k"]:
    """Classes with positive records and (multilabel) negative ones, (K,).

    Raises:
        ValueError: there is none of them (multiclass: fewer than two).
    """
    learned_K = np.asarray(labels_NK.any(axis=0))
    if task == "multilabel":
        learned_K = learned_K & ~labels_NK.all(axis=0)
    if learned_K.sum() < (2 if task == "multiclass" else 1):
        raise ValueError("training: no class has positive and negative records, so there is nothing to learn")
    return learned_K


def macro_auc(labels_NK: Labels, probabilities_NK: Float64[ndarray, "n k"]) -> float:
    """Mean AUC on validation, over the classes for which there is one.

    Raises:
        ValueError: there is none for any class, so nothing can be chosen.
    """
    auc = float(macro(auroc(labels_NK, probabilities_NK))[0])
    if np.isnan(auc):
        raise ValueError("validation: no class has positive and negative records, so nothing can be chosen")
    return auc


def choose_thresholds(
    labels_NK: Labels, probabilities_NK: Float64[ndarray, "n k"], learned_K: Bool[ndarray, "k"], task: Task
) -> Float64[ndarray, "k"] | None:
    """Probabilities of best F1 on validation, 0.5 for a class that could not be learned; None for multiclass."""
    if task == "multiclass":
        return None
    return np.where(learned_K, best_f1_thresholds(labels_NK, probabilities_NK), 0.5)


def decide(
    probabilities_NK: Float64[ndarray, "n k"], thresholds_K: Float64[ndarray, "k"] | None
) -> Bool[ndarray, "n k"]:
    """Classes at or above their threshold; without thresholds the most probable one alone."""
    if thresholds_K is not None:
        return probabilities_NK >= thresholds_K
    return np.eye(probabilities_NK.shape[1], dtype=bool)[probabilities_NK.argmax(axis=1)]


def end_of_grid(name: str, chosen: float, grid: tuple[float, ...]) -> list[str]:
    """A note where the best of several values stands at an end of them."""
    if len(grid) < 2 or chosen not in (grid[0], grid[-1]):
        return []
    return [f"The chosen {name} = {chosen:g} is an end of the grid {grid[0]:g} to {grid[-1]:g}."]
