"""Estimators of scikit-learn as one linear layer on features as they come.

Axes: D features, K classes.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts import CONSTANT_LOGIT

Layer = tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]


def layer_of(estimator: Any) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"], list[Any], Task]:
    """Weights (K, D), bias (K), the K classes that the estimator saw, and how probabilities are made of the logits.

    Raises:
        ValueError: another kind of estimator, not fitted, or one whose probabilities no single layer gives.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator)
    if isinstance(estimator, Pipeline):
        *scalers, last = [step for _, step in estimator.steps if step not in (None, "passthrough")]
        if not all(isinstance(scaler, StandardScaler) for scaler in scalers):
            raise ValueError(f"scikit-learn: a pipeline of {_kinds(scalers)} before the classifier, expected scalers")
        weight_KD, bias_K, classes, task = layer_of(last)
        for scaler in reversed(scalers):
            weight_KD, bias_K = _behind(scaler, weight_KD, bias_K)
        return weight_KD, bias_K, classes, task
    if isinstance(estimator, OneVsRestClassifier):
        return _one_vs_rest(estimator)
    if not isinstance(estimator, LogisticRegression):
        raise ValueError(
            f"scikit-learn: {type(estimator).__name__}, expected LogisticRegression, alone, behind a StandardScaler in "
            "a pipeline, or in a OneVsRestClassifier"
        )
    weight_KD, bias_K = estimator.coef_.astype(np.float64), np.broadcast_to(estimator.intercept_, len(estimator.coef_))
    if len(weight_KD) == 1:  # of two classes the second alone has a logit
        weight_KD, bias_K = np.vstack([np.zeros_like(weight_KD), weight_KD]), np.array([0.0, bias_K[0]])
    elif estimator.solver == "liblinear" or getattr(estimator, "multi_class", None) == "ovr":
        raise ValueError("scikit-learn: one-vs-rest over exclusive classes has no softmax; expected another solver")
    return weight_KD, np.array(bias_K, dtype=np.float64), list(estimator.classes_), "multiclass"


def _one_vs_rest(estimator: Any) -> tuple[ndarray, ndarray, list[Any], Task]:
    if not estimator.multilabel_:
        raise ValueError(
            "scikit-learn: OneVsRestClassifier over exclusive classes divides its probabilities by their sum, which no "
            "layer gives; expected one fitted to indicators (records, classes)"
        )
    layers: list[Layer | float] = []
    for each in estimator.estimators_:
        if hasattr(each, "y_"):  # a column with one value
            layers.append(CONSTANT_LOGIT if np.ravel(each.y_)[0] else -CONSTANT_LOGIT)
        else:
            weight_2D, bias_2, _, _ = layer_of(each)
            layers.append((weight_2D[1:] - weight_2D[:1], bias_2[1:] - bias_2[:1]))
    width = next((layer[0].shape[1] for layer in layers if isinstance(layer, tuple)), 0)
    if not width:
        raise ValueError("scikit-learn: every class is constant, so there is no layer")
    full = [layer if isinstance(layer, tuple) else (np.zeros((1, width)), np.array([layer])) for layer in layers]
    weight_KD, bias_K = (np.concatenate(parts) for parts in zip(*full, strict=True))
    return weight_KD, bias_K, list(estimator.classes_), "multilabel"


def _behind(scaler: Any, weight_KD: ndarray, bias_K: ndarray) -> Layer:
    """The same layer on features before `(x - mean) / scale`."""
    if scaler.scale_ is not None:
        weight_KD = weight_KD / scaler.scale_
    return weight_KD, bias_K if scaler.mean_ is None or not scaler.with_mean else bias_K - weight_KD @ scaler.mean_


def _kinds(steps: list[Any]) -> str:
    return ", ".join(type(step).__name__ for step in steps)
