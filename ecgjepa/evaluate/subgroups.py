"""Groups of test records by sex, age, device and site, and how the models score in each.

Axes: N test records, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.class_scores import MACRO, MACRO_FREQUENT
from ecgjepa.evaluate.resampled import Resampled
from ecgjepa.evaluate.targets import Targets

# Name and first year of each band.
AGE_BANDS = (("<40", 0), ("40-59", 40), ("60-79", 60), (">=80", 80))
UNKNOWN = "unknown"
GROUP_METRICS = ("auc", "f1", "ece")
# A group of fewer records is named and counted, but not scored.
MIN_RECORDS = 50


def store_groups(store: Store, rows_N: Int64[ndarray, "n"]) -> dict[str, Bool[ndarray, "n"]]:
    """Groups of some rows of a store, by name: `sex female`, `age 40-59`, `device X`, `site X`.

    Device and site where the store has such columns. Who is unknown is a group of its own, if there is any; a column
    in which nobody is known makes no groups.

    Raises:
        ValueError: an age is negative.
    """
    groups: dict[str, ndarray] = {}
    for column in ("sex", "age", "device", "site"):
        if column not in store.records:
            continue
        values = store.records[column].iloc[rows_N]
        names = [_band(value) if column == "age" else _name(value) for value in values]
        if set(names) == {UNKNOWN}:
            continue
        names_N = np.array(names, dtype=object)
        order = [name for name, _ in AGE_BANDS] if column == "age" else sorted(set(names) - {UNKNOWN})
        groups |= {f"{column} {name}": names_N == name for name in [*order, UNKNOWN] if name in names}
    return groups


def score_groups(
    test: Targets,
    groups: Mapping[str, Bool[ndarray, "n"]],
    score: Callable[[Targets, ndarray], Resampled],
    reference: str | None,
    min_records: int = MIN_RECORDS,
) -> dict[str, Any]:
    """Macro scores of every model in every group, with intervals, as JSON values.

    A group that is not scored says why: too few records, or no class with both positive and negative ones.

    Args:
        score: from the targets of a group and its positions to the scores of all models.
        reference: the model that the others are compared with.

    Raises:
        ValueError: a mask is not as long as there are test records.
    """
    found: dict[str, Any] = {}
    for name, mask_N in groups.items():
        if len(mask_N) != len(test):
            raise ValueError(f"subgroup {name!r}: a mask of {len(mask_N)} records, expected {len(test)}")
        positions = np.flatnonzero(mask_N)
        group = test.taking(positions)
        positives_K = group.labels_NK.sum(axis=0)
        entry: dict[str, Any] = {
            "records": len(group),
            "patients": len(set(group.patients_N)),
            "positives": dict(zip(test.classes, positives_K.tolist(), strict=True)),
        }
        found[name] = entry
        if len(group) < min_records:
            entry |= {"scored": False, "why": f"fewer than {min_records} records"}
        elif not ((positives_K > 0) & (positives_K < len(group))).any():
            entry |= {"scored": False, "why": "no class has both positive and negative records"}
        else:
            entry |= {"scored": True} | _scores(score(group, positions), reference)
    return found


def _scores(scores: Resampled, reference: str | None) -> dict[str, Any]:
    columns = {"macro": MACRO, "macro_frequent": MACRO_FREQUENT}
    models = {
        model: {
            key: {metric: scores.interval(model, metric, column) for metric in GROUP_METRICS}
            for key, column in columns.items()
        }
        for model in scores.models
    }
    others: Sequence[str] = [model for model in scores.models if reference is not None and model != reference]
    differences = {
        model: {metric: scores.difference(model, str(reference), metric, MACRO) for metric in GROUP_METRICS}
        for model in others
    }
    return {"models": models, "differences": differences}


def _band(age: Any) -> str:
    if age is None or pd.isna(age):
        return UNKNOWN
    if age < 0:
        raise ValueError(f"subgroups: age {age}, expected a number of years or none")
    return [name for name, first in AGE_BANDS if age >= first][-1]


def _name(value: Any) -> str:
    return UNKNOWN if value is None or pd.isna(value) or not str(value).strip() else str(value).strip()
