"""What an evaluation says of itself, and its tables, whatever made the predictions.

Axes: M test records, D features, K classes.
"""

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.leaks import overlap_warnings
from ecgjepa.evaluate.published import comparison_warnings, published_numbers
from ecgjepa.evaluate.targets import SPLITS, EvaluationProtocol, RegressionTargets, Targets

PACKAGES = ("ecgjepa", "torch", "numpy", "scipy", "scikit-learn")


def summarise(
    about: dict[str, Any],
    store: Store,
    asked: Targets | RegressionTargets,
    *,
    statistics: dict[str, int],
    overlap: dict[str, Any],
    warnings: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """What `result.json` says.

    Args:
        about: `dataset`, `level`, `task`, `protocol` and whatever else is known; scores among it.
        asked: all records that took part.
        statistics: `resamples` and `seed` of the intervals.
        overlap: see `find_overlap`.
        warnings: what a reader must know, but for overlap and comparison with published numbers.
    """
    dataset, level, task, protocol = (about[key] for key in ("dataset", "level", "task", "protocol"))
    published = published_numbers(dataset, level, task)
    return {
        **about,
        "versions": versions(),
        "seconds": round(seconds, 1),
        **asked.counts(),
        "left_out": asked.left_out,
        "bootstrap": {"resamples": statistics["resamples"], "unit": "patient", "seed": statistics["seed"]},
        "overlap": overlap,
        "published": [
            {"model": row.model, "value": row.value, "metric": f"AUC, {row.how}", "source": row.source}
            for row in published
        ],
        "warnings": [
            *comparison_warnings(dataset, level, task, _present_records(store), protocol),
            *overlap_warnings(overlap),
            *warnings,
        ],
    }


def with_difference(scores: dict[str, Any], model: str) -> dict[str, Any]:
    """Scores with what one model is above the reference as `difference` and `difference_frequent`, if there is one."""
    kept = {key: value for key, value in scores.items() if not key.startswith("differences")}
    for key in ("differences", "differences_frequent"):
        if model in scores.get(key, {}):
            kept[key.replace("differences", "difference")] = scores[key][model]
    return kept


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    return {"python": platform.python_version()} | {package: version(package) for package in PACKAGES}


def absent_classes(targets: Targets, protocol: EvaluationProtocol) -> list[str]:
    """A note for every split in which a class has no positive record."""
    consequences = {
        "train": "so nothing to learn",
        "validation": "so no say in what is chosen, and threshold 0.5 where one is needed",
        "test": "so no score and no part in the macro mean",
    }
    notes = []
    for split in SPLITS if protocol == "strict" else ("train", "test"):
        there_K = targets.labels_NK[targets.of(split)].any(axis=0)
        if absent := [name for name, there in zip(targets.classes, there_K, strict=True) if not there]:
            notes.append(f"No positive {split} record, {consequences[split]}: {', '.join(absent)}.")
    return notes


def thresholds_of(targets: Targets, thresholds_K: Float64[ndarray, "k"] | None) -> dict[str, float]:
    """Class -> threshold; none where the most probable class is called."""
    return {} if thresholds_K is None else dict(zip(targets.classes, thresholds_K.tolist(), strict=True))


def label_predictions(store: Store, test: Targets, probabilities: Mapping[str, Float[ndarray, "m k"]]) -> pd.DataFrame:
    """One row a record: record, patient, split, and per class `label:CLASS` and `MODEL:CLASS`."""
    columns = _who(store, test)
    for k, name in enumerate(test.classes):
        columns[f"label:{name}"] = test.labels_NK[:, k].astype(np.int8)
        columns |= {f"{model}:{name}": each_MK[:, k] for model, each_MK in probabilities.items()}
    return pd.DataFrame(columns)


def number_predictions(
    store: Store, test: RegressionTargets, values: Mapping[str, Float[ndarray, "m"]]
) -> pd.DataFrame:
    """One row a record: record, patient, split, `value:NAME` and `MODEL:NAME`."""
    columns = _who(store, test) | {f"value:{test.name}": test.values_N}
    return pd.DataFrame(columns | {f"{model}:{test.name}": each_M for model, each_M in values.items()})


def embedding_table(
    store: Store, test: Targets | RegressionTargets, features_MD: Float32[ndarray, "m d"]
) -> pd.DataFrame:
    """One row a record: record, split, labels (or none), and the features as `pretrained`."""
    labels: list[list[str]] = [[] for _ in test.rows_N]
    if isinstance(test, Targets):
        names = np.array(test.classes, dtype=object)
        labels = [names[there].tolist() for there in test.labels_NK]
    who = _who(store, test)
    return pd.DataFrame(
        {"record": who["record"], "split": who["split"], "labels": labels, "pretrained": list(features_MD)}
    )


def _who(store: Store, test: Targets | RegressionTargets) -> dict[str, Any]:
    records = store.records["record"].to_numpy()[test.rows_N]
    return {"record": records, "patient": test.patients_N, "split": test.split_N}


def _present_records(store: Store) -> int:
    """Records of the data set whose files were there, kept or refused."""
    refused = dict(store.info.get("account", {}).get("refused", {}))
    refused.pop("file_absent", None)
    return len(store) + sum(refused.values())
