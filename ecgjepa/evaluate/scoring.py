"""Scores of models on test records: values, intervals over patients, paired differences, as JSON values.

All models are scored on the same resamples of the test patients. `docs/statistics.md` says what each number is.

Axes: N test records, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped
from numpy import ndarray

from ecgjepa.evaluate.class_scores import (
    MACRO,
    MACRO_FREQUENT,
    PER_CLASS,
    ClassScores,
    check_scored,
    check_test,
    metrics_of,
)
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.metrics import macro
from ecgjepa.evaluate.regression_metrics import METRICS as REGRESSION
from ecgjepa.evaluate.regression_metrics import regression_metrics
from ecgjepa.evaluate.resampled import Resampled, Statistic, resample
from ecgjepa.evaluate.segmentation_metrics import METRICS as SEGMENTATION
from ecgjepa.evaluate.segmentation_metrics import sample_accuracy, segmentation_metrics
from ecgjepa.evaluate.subgroups import MIN_RECORDS, score_groups
from ecgjepa.evaluate.targets import Targets

MIN_POSITIVES = 10
AVERAGES = {"macro": MACRO, "macro_frequent": MACRO_FREQUENT}


@dataclass(frozen=True)
class Scored:
    """What one model says of the test records."""

    probabilities_NK: Float64[ndarray, "n k"]
    predicted_NK: Bool[ndarray, "n k"]


@runtime_checkable
class MeasuredTargets(Protocol):
    """What `score_regression` needs of its targets."""

    @property
    def values_N(self) -> Float64[ndarray, "n"]:
        """The true values, (N,)."""

    @property
    def patients_N(self) -> Shaped[ndarray, "n"]:
        """Who each record belongs to, (N,)."""


def score_models(
    test: Targets,
    models: Mapping[str, Scored],
    *,
    task: Task,
    resamples: int = 1000,
    seed: int = 0,
    reference: str | None = None,
    min_positives: int = MIN_POSITIVES,
    subgroups: Mapping[str, Bool[ndarray, "n"]] | None = None,
    min_records: int = MIN_RECORDS,
) -> dict[str, Any]:
    """Scores of every model, per class and as means over all and over frequent classes, with 95 % intervals.

    Returns `models`, `differences` (of the macro means, each model minus `reference`), `differences_frequent` (of the
    means over frequent classes) and, if asked for, `subgroups`.

    Args:
        reference: the model that the others are compared with.
        min_positives: a class with fewer positive test records is `rare`, and not part of `macro_frequent`.
        subgroups: masks over the test records, such as those of `subgroups.store_groups`.
        min_records: a subgroup of fewer is not scored.

    Raises:
        ValueError: what cannot be scored: no records, no class with both positive and negative ones, probabilities
            that are no numbers in [0, 1], arrays of another shape, or (multiclass) not one class per record.
    """
    scores = resample_classes(test, models, task, resamples, seed, min_positives)
    _check_reference(models, reference)
    positives_K = test.labels_NK.sum(axis=0).tolist()
    found: dict[str, Any] = {"models": {}}
    for name in models:
        classes = {
            class_: {"positives": positives_K[k], "rare": positives_K[k] < min_positives}
            | {metric: scores.interval(name, metric, k) for metric in PER_CLASS}
            for k, class_ in enumerate(test.classes)
        }
        found["models"][name] = _averages(scores, name) | {"classes": classes}
    found |= _differences(scores, reference)
    if subgroups is not None:

        def score(group: Targets, positions: ndarray) -> Resampled:
            of_group = {
                name: Scored(each.probabilities_NK[positions], each.predicted_NK[positions])
                for name, each in models.items()
            }
            return resample_classes(group, of_group, task, resamples, seed, min_positives)

        found["subgroups"] = score_groups(test, subgroups, score, reference, min_records)
    return found


def resample_classes(
    test: Targets, models: Mapping[str, Scored], task: Task, resamples: int, seed: int, min_positives: int
) -> Resampled:
    """The numbers behind `score_models`: columns are the classes, then `MACRO` and `MACRO_FREQUENT`."""
    check_test(test, task)
    for name, each in models.items():
        check_scored(test, name, each.probabilities_NK, each.predicted_NK)
    frequent_K = test.labels_NK.sum(axis=0) >= min_positives
    statistics: dict[str, Statistic] = {
        name: ClassScores(test.labels_NK, each.probabilities_NK, each.predicted_NK, frequent_K, task)
        for name, each in models.items()
    }
    return resample(_some(statistics), metrics_of(task), test.patients_N, resamples, seed)


def score_regression(
    test: MeasuredTargets,
    predictions: Mapping[str, Float64[ndarray, "n"]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    reference: str | None = None,
) -> dict[str, Any]:
    """Errors of every model in the unit of the values, R2 and Pearson's r, with 95 % intervals.

    The form of `score_models`, without classes: the numbers stand under `macro`.

    Raises:
        ValueError: no records, another number of predictions, or a value that is not finite.
    """
    scores = resample_values(test, predictions, resamples, seed)
    _check_reference(predictions, reference)
    only = {"macro": 0}
    return {"models": {name: _averages(scores, name, only) for name in predictions}} | _differences(
        scores, reference, only
    )


def resample_values(
    test: MeasuredTargets, predictions: Mapping[str, Float64[ndarray, "n"]], resamples: int, seed: int
) -> Resampled:
    """The numbers behind `score_regression`: one column."""
    statistics: dict[str, Statistic] = {}
    for name, predicted_N in predictions.items():
        if len(predicted_N) != len(test.values_N):
            raise ValueError(f"model {name!r}: {len(predicted_N)} predictions, expected {len(test.values_N)}")

        def statistic(weights_RN: ndarray | None, predicted_N: ndarray = predicted_N) -> ndarray:
            return regression_metrics(test.values_N, predicted_N, weights_RN)[:, :, None]

        statistics[name] = statistic
    return resample(_some(statistics), REGRESSION, test.patients_N, resamples, seed)


def score_segmentation(
    classes: Sequence[str],
    patients_N: Shaped[ndarray, "n"],
    confusions: Mapping[str, Int[ndarray, "n c c"]],
    *,
    resamples: int = 1000,
    seed: int = 0,
    reference: str | None = None,
    min_positives: int = MIN_POSITIVES,
) -> dict[str, Any]:
    """Intersection over union and F1 of every model, per class and as means, and accuracy, with 95 % intervals.

    Args:
        confusions: samples of each record by true (first) and called class, see `confusion_counts`.
        min_positives: a class that fewer records have is `rare`, and not part of `macro_frequent`.

    Raises:
        ValueError: no records, counts of another shape, or models that disagree on the true classes.
    """
    expected = (len(patients_N), len(classes), len(classes))
    true_NC = None
    for name, counts_NCC in confusions.items():
        if counts_NCC.shape != expected:
            raise ValueError(f"model {name!r}: counts of shape {counts_NCC.shape}, expected {expected}")
        if true_NC is not None and (differ := (counts_NCC.sum(axis=2) != true_NC).any(axis=1)).any():
            raise ValueError(f"model {name!r}: other true classes than the first, in row {np.flatnonzero(differ)[0]}")
        true_NC = counts_NCC.sum(axis=2)
    records_C = np.zeros(len(classes), int) if true_NC is None else (true_NC > 0).sum(axis=0)
    frequent_C = records_C >= min_positives
    statistics: dict[str, Statistic] = {}
    for name, counts_NCC in confusions.items():

        def statistic(weights_RN: ndarray | None, counts_NCC: ndarray = counts_NCC) -> ndarray:
            per_class = segmentation_metrics(counts_NCC, weights_RN).transpose(1, 0, 2)
            table = [np.column_stack([each, macro(each), macro(each[:, frequent_C])]) for each in per_class]
            right_R = sample_accuracy(counts_NCC, weights_RN)
            no_class = np.full((len(right_R), len(classes)), np.nan)
            return np.stack([*table, np.column_stack([no_class, right_R, right_R])], axis=1)

        statistics[name] = statistic
    scores = resample(_some(statistics), (*SEGMENTATION, "accuracy"), patients_N, resamples, seed)
    _check_reference(confusions, reference)
    models = {}
    for name in confusions:
        per_class = {
            class_: {"positives": int(records_C[c]), "rare": bool(not frequent_C[c])}
            | {metric: scores.interval(name, metric, c) for metric in SEGMENTATION}
            for c, class_ in enumerate(classes)
        }
        models[name] = _averages(scores, name) | {"classes": per_class}
    return {"models": models} | _differences(scores, reference)


def _averages(scores: Resampled, model: str, columns: Mapping[str, int] = AVERAGES) -> dict[str, Any]:
    return {
        key: {metric: scores.interval(model, metric, column) for metric in scores.metrics}
        for key, column in columns.items()
    }


def _differences(
    scores: Resampled, reference: str | None, columns: Mapping[str, int] = AVERAGES
) -> dict[str, dict[str, Any]]:
    others = [name for name in scores.models if reference is not None and name != reference]
    return {
        key.replace("macro", "differences"): {
            name: {metric: scores.difference(name, str(reference), metric, column) for metric in scores.metrics}
            for name in others
        }
        for key, column in columns.items()
    }


def _check_reference(models: Mapping[str, Any], reference: str | None) -> None:
    if reference is not None and reference not in models:
        raise ValueError(f"reference {reference!r}: no such model, found {', '.join(models)}")


def _some(statistics: dict[str, Statistic]) -> dict[str, Statistic]:
    if not statistics:
        raise ValueError("scores: no model, expected at least one")
    return statistics
