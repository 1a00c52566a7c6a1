"""Two results on the same test records, compared: paired differences with intervals and p.

Axes: N test records, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Shaped
from numpy import ndarray

from ecgjepa.evaluate.class_scores import PER_CLASS
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.paired_files import ComparisonError, Predictions
from ecgjepa.evaluate.resampled import Resampled
from ecgjepa.evaluate.scoring import AVERAGES, MIN_POSITIVES, Scored, resample_classes, resample_values
from ecgjepa.evaluate.targets import Targets

TASKS = ("multilabel", "multiclass", "regression")


@dataclass(frozen=True)
class _Values:
    values_N: Float64[ndarray, "n"]
    patients_N: Shaped[ndarray, "n"]


def compare_predictions(
    a: Predictions,
    b: Predictions,
    *,
    common: bool = False,
    task: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    min_positives: int = MIN_POSITIVES,
) -> dict[str, Any]:
    """Scores of A and B and B minus A, on the same resamples of the same test patients, as JSON values.

    Args:
        common: compare on the records that both have, if they differ.
        task: of two tables that do not say it.
        min_positives: classes with fewer positive records are left out of `macro_frequent`.

    Raises:
        ComparisonError: another data set, level, task, class, test record, patient or label.
        ValueError: what cannot be scored.
    """
    task, warnings = _agree(a, b, task)
    a, b, notes = _align(a, b, common)
    warnings += notes
    found: dict[str, Any] = {
        "a": _about(a),
        "b": _about(b),
        "task": task,
        "records": len(a.records_N),
        "patients": len(set(a.patients_N)),
        "bootstrap": {"resamples": resamples, "unit": "patient", "seed": seed},
    }
    if task == "regression":
        found["classes"] = {}
        for k, name in enumerate(a.columns):
            values = _Values(a.labels_NK[:, k], a.patients_N)
            both = {"a": a.predicted_NK[:, k], "b": b.predicted_NK[:, k]}
            scores = resample_values(values, both, resamples, seed)
            found["classes"][name] = {metric: _three(scores, metric, 0) for metric in scores.metrics}
        return found | {"warnings": warnings}
    kind: Task = "multiclass" if task == "multiclass" else "multilabel"
    labels_NK = a.labels_NK == 1
    nobody = np.full(len(a.records_N), "test", dtype=object)
    test = Targets(a.columns, np.arange(len(labels_NK)), labels_NK, a.patients_N, nobody, {})
    scored = {}
    for name, each in (("a", a), ("b", b)):
        scored[name], notes = _decide(each, kind)
        warnings += notes
    scores = resample_classes(test, scored, kind, resamples, seed, min_positives)
    for key, column in AVERAGES.items():
        found[key] = {metric: _three(scores, metric, column) for metric in scores.metrics}
    positives_K = labels_NK.sum(axis=0).tolist()
    found["min_positives"] = min_positives
    found["classes"] = {
        name: {"positives": positives_K[k], "rare": positives_K[k] < min_positives}
        | {metric: _three(scores, metric, k) for metric in PER_CLASS}
        for k, name in enumerate(a.columns)
    }
    return found | {"warnings": warnings}


def _agree(a: Predictions, b: Predictions, task: str | None) -> tuple[str, list[str]]:
    """The task of both, and what a reader must know."""
    warnings = []
    if a.entry is not None and b.entry is not None:
        for key, title in (("dataset", "data set"), ("level", "level"), ("task", "task")):
            one, other = getattr(a.entry, key), getattr(b.entry, key)
            if one != other:
                raise ComparisonError(f"another {title}: {a.path} is of {one!r}, {b.path} of {other!r}")
        for key, title in (("protocol", "protocols"), ("label_fraction", "parts of the labels")):
            one, other = getattr(a.entry, key), getattr(b.entry, key)
            if one != other:
                warnings.append(f"Different {title}: A {one}, B {other}; the difference is not of the models alone.")
    else:
        unknown = [str(each.path) for each in (a, b) if each.entry is None]
        warnings.append(
            f"{' and '.join(unknown)}: a table alone does not say its data set, level and protocol, so only records, "
            "patients and labels were compared."
        )
    said = {each.entry.task for each in (a, b) if each.entry is not None} | ({task} if task else set())
    if len(said) > 1:
        raise ComparisonError(f"another task: found {' and '.join(sorted(said))}")
    if not said:
        raise ComparisonError("task: two tables do not say it, expected --task multilabel, multiclass or regression")
    if (only := said.pop()) not in TASKS:
        raise ComparisonError(f"task {only!r} cannot be compared record by record, expected one of {', '.join(TASKS)}")
    return only, warnings


def _align(a: Predictions, b: Predictions, common: bool) -> tuple[Predictions, Predictions, list[str]]:
    """B with the columns and records of A, or both with the common records."""
    if set(a.columns) != set(b.columns):
        first = sorted(set(a.columns) ^ set(b.columns))[0]
        owner = a if first in a.columns else b
        raise ComparisonError(
            f"other classes: {a.path} has {len(a.columns)}, {b.path} has {len(b.columns)}; "
            f"{first!r} is in {owner.path} alone"
        )
    columns = [b.columns.index(name) for name in a.columns]
    b = replace(b, columns=a.columns, labels_NK=b.labels_NK[:, columns], predicted_NK=b.predicted_NK[:, columns])
    place = {record: n for n, record in enumerate(b.records_N)}
    shared_N = np.array([record in place for record in a.records_N], dtype=bool)
    warnings = []
    if not shared_N.all() or len(shared_N) != len(place):
        shared = int(shared_N.sum())
        counts = f"A has {len(a.records_N):,}, B {len(b.records_N):,}, in common {shared:,}"
        if not common or not shared:
            known = set(a.records_N)
            alone = [(record, "A") for record in a.records_N if record not in place]
            alone += [(record, "B") for record in b.records_N if record not in known]
            advice = "" if common else "; --common takes those in common"
            raise ComparisonError(
                f"other test records: {counts}; the first that differs is {alone[0][0]}, in {alone[0][1]} alone{advice}"
            )
        warnings.append(f"Only the test records in common were compared: {counts}.")
        a = a.taking(np.flatnonzero(shared_N))
    b = b.taking(np.array([place[record] for record in a.records_N]))
    _check_same(a, b)
    return a, b, warnings


def _check_same(a: Predictions, b: Predictions) -> None:
    differ_N = a.patients_N != b.patients_N
    if differ_N.any():
        n = np.flatnonzero(differ_N)[0]
        raise ComparisonError(
            f"other patients: record {a.records_N[n]} is of {a.patients_N[n]} in A, of {b.patients_N[n]} in B"
        )
    differ_NK = a.labels_NK != b.labels_NK
    if differ_NK.any():
        n, k = np.argwhere(differ_NK)[0]
        raise ComparisonError(
            f"other labels: {int(differ_NK.any(axis=1).sum())} records, the first is {a.records_N[n]}, which has "
            f"{a.labels_NK[n, k]:g} for {a.columns[k]!r} in A and {b.labels_NK[n, k]:g} in B"
        )


def _decide(each: Predictions, task: Task) -> tuple[Scored, list[str]]:
    """Which classes are called: as `readouts.decide`, whose room needs torch; and what a reader must know."""
    probabilities_NK = each.predicted_NK
    if task == "multiclass":
        most_probable_N = probabilities_NK.argmax(axis=1)
        return Scored(probabilities_NK, np.eye(len(each.columns), dtype=bool)[most_probable_N]), []
    if each.thresholds is None:
        note = f"{each.name}: no thresholds are known, F1 is at probability 0.5."
        return Scored(probabilities_NK, probabilities_NK >= 0.5), [note]
    if missing := [name for name in each.columns if name not in each.thresholds]:
        raise ComparisonError(f"{each.name}: no threshold of class {missing[0]!r} in its result.json")
    thresholds_K = np.array([each.thresholds[name] for name in each.columns])
    return Scored(probabilities_NK, probabilities_NK >= thresholds_K), []


def _three(scores: Resampled, metric: str, column: int) -> dict[str, Any]:
    return {
        "a": scores.interval("a", metric, column),
        "b": scores.interval("b", metric, column),
        "difference": scores.difference("b", "a", metric, column),
    }


def _about(each: Predictions) -> dict[str, Any]:
    said = {} if each.entry is None else each.entry.model_dump(include=set(ABOUT))
    return {"path": str(each.path), "model": each.model} | said


ABOUT: Sequence[str] = ("dataset", "level", "protocol", "encoder", "seed", "label_fraction")
