"""Linear evaluation: a frozen encoder and its twin with random weights, side by side on the same records.

Axes: N records, D features, K classes, M metrics; the last column of a table of metrics is the macro mean.
"""

import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.bootstrap import bootstrap, percentile_interval
from ecgjepa.evaluate.features import contract_warnings, embed_rows
from ecgjepa.evaluate.head import Head, describe_encoder
from ecgjepa.evaluate.leaks import find_overlap, overlap_warnings
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.metrics import measure
from ecgjepa.evaluate.protocols import LinearProbe, PaperProbe, decide
from ecgjepa.evaluate.published import comparison_warnings, published_numbers
from ecgjepa.evaluate.result import ProbeResult
from ecgjepa.evaluate.targets import (
    SPLITS,
    EvaluationProtocol,
    Targets,
    arrange_splits,
    read_targets,
    take_training_fraction,
)
from ecgjepa.model.encoder import Encoder

PACKAGES = ("ecgjepa", "torch", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Prediction:
    """One model on the test records, and how it came to its decisions."""

    probabilities_NK: Float64[ndarray, "n k"]
    predicted_NK: Bool[ndarray, "n k"]
    thresholds_K: Float64[ndarray, "k"] | None
    selection: dict[str, Any] | None
    notes: list[str]
    layer: tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]


def run_probe(
    store: Store,
    encoder: Encoder,
    random_encoder: Encoder,
    *,
    level: str,
    task: Task = "multilabel",
    protocol: EvaluationProtocol = "strict",
    encoder_name: str = "teacher",
    seed: int = 0,
    label_fraction: float = 1.0,
    resamples: int = 1000,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
    command: str = "",
    checkpoint: str = "",
    seen: Seen | None = None,
    allow_overlap: bool = False,
) -> ProbeResult:
    """Evaluate a frozen encoder on a labelled store, and the same encoder with random weights beside it.

    `strict`: learn on the train split, choose C and thresholds on validation, read test once. `paper`: as published,
    learn on train and validation, choose nothing. See `LinearProbe`, `PaperProbe` and, for the intervals, `bootstrap`.

    Args:
        level: label level of the store.
        encoder_name: `teacher`, `student` or `published`, for the result.
        seed: of the held-out patients, the label fraction, the layer of `paper`, and the resamples.
        label_fraction: part of the training records to learn from.
        resamples: of the test patients.
        command: what was typed, for the result.
        checkpoint: name of the encoder's run folder or file, for the head.
        seen: what the encoder was trained on, if that is known.
        allow_overlap: evaluate on test records that were seen in pretraining, too.

    Raises:
        ValueError: encoder and store do not fit, the level is unknown, a split is empty, or a feature is not finite.
        LeakError: test records or their patients were seen in pretraining.
    """
    started = time.monotonic()
    if task not in ("multilabel", "multiclass") or protocol not in ("strict", "paper"):
        raise ValueError(
            f"probe: task {task!r} and protocol {protocol!r}, expected multilabel or multiclass and strict or paper"
        )
    warnings = contract_warnings(store.contract, encoder.contract)
    targets = arrange_splits(read_targets(store, level, task), protocol, seed)
    targets = take_training_fraction(targets, label_fraction, seed)
    overlap = find_overlap(store, targets, seen, allow=allow_overlap)

    features: dict[str, Float32[ndarray, "n d"]] = {}
    for name, model in {"pretrained": encoder, "random": random_encoder}.items():
        features[name] = embed_rows(
            model,
            store,
            targets.rows_N,
            batch_size=batch_size,
            device=device,
            progress=progress,
            description=f"embedding, {name} weights",
        )
    predictions = {name: _predict(targets, each, task, protocol, seed) for name, each in features.items()}
    # Only from here on are the labels of the test records read.
    test = targets.taking(targets.of("test"))
    metrics = ["auc", "f1"] + ["auc_one_vs_one"] * (protocol == "paper" and task == "multiclass")
    models, difference = _score(test, predictions, metrics, resamples, seed)

    dataset, ours, random = str(store.info["dataset"]), predictions["pretrained"], predictions["random"]
    models["random"] |= {"thresholds": _thresholds(test, random), "selection": random.selection}
    notes = [*targets.warnings, *_absent_classes(targets, protocol), *ours.notes]
    notes += [f"Random weights: {note}" for note in random.notes]
    summary = {
        "dataset": dataset,
        "level": level,
        "task": task,
        "protocol": protocol,
        "encoder": encoder_name,
        "seed": seed,
        "label_fraction": label_fraction,
        "command": command,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        "seconds": round(time.monotonic() - started, 1),
        **targets.counts(),
        "left_out": targets.left_out,
        "classes": list(targets.classes),
        "thresholds": _thresholds(test, ours),
        "selection": ours.selection,
        "bootstrap": {"resamples": resamples, "unit": "patient", "seed": seed},
        "models": models,
        "difference": difference,
        "overlap": overlap,
        "published": [
            {"model": row.model, "value": row.value, "metric": f"AUC, {row.how}", "source": row.source}
            for row in published_numbers(dataset, level, task)
        ],
        "warnings": [
            *comparison_warnings(dataset, level, task, _present_records(store), protocol),
            *warnings,
            *overlap_warnings(overlap),
            *notes,
        ],
    }
    test_features_ND = features["pretrained"][targets.of("test")]
    about = {key: summary[key] for key in ("dataset", "level", "protocol", "label_fraction", "seed")}
    about |= describe_encoder(encoder, encoder_name, checkpoint)
    return ProbeResult(
        summary,
        _prediction_table(store, test, predictions),
        _embedding_table(store, test, test_features_ND),
        Head(*ours.layer, targets.classes, task, ours.thresholds_K, about),
    )


def _present_records(store: Store) -> int:
    """Records of the data set whose files were there, kept or refused."""
    refused = dict(store.info.get("account", {}).get("refused", {}))
    refused.pop("file_absent", None)
    return len(store) + sum(refused.values())


def _predict(
    targets: Targets, features_ND: Float32[ndarray, "n d"], task: Task, protocol: EvaluationProtocol, seed: int
) -> Prediction:
    """Learn from train (and validation), then predict test."""
    train, validation = targets.of("train"), targets.of("validation")
    learn = features_ND[train], targets.labels_NK[train]
    probe: LinearProbe | PaperProbe
    if protocol == "strict":
        probe = LinearProbe(task).fit(*learn, features_ND[validation], targets.labels_NK[validation])
        selection = {"C": probe.C_, "grid": [list(point) for point in probe.grid_]}
    else:
        probe, selection = PaperProbe(task, seed).fit(*learn), None
    probabilities_NK = probe.predict_proba(features_ND[targets.of("test")])
    predicted_NK = decide(probabilities_NK, probe.thresholds_)
    return Prediction(probabilities_NK, predicted_NK, probe.thresholds_, selection, probe.notes_, probe.raw_layer())


def _score(
    test: Targets, predictions: dict[str, Prediction], metrics: list[str], resamples: int, seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of every model, and pretrained minus random on the same resamples, with intervals."""

    def score(weights_RN: Int64[ndarray, "r n"] | None) -> ndarray:
        one_vs_one = "auc_one_vs_one" in metrics
        tables = [
            measure(test.labels_NK, each.probabilities_NK, each.predicted_NK, one_vs_one, weights_RN)
            for each in predictions.values()
        ]
        return np.stack([*tables, tables[0] - tables[1]], axis=1)

    value = score(None)[0]
    low, high = percentile_interval(bootstrap(score, test.patients_N, resamples, seed))

    def interval(model: int, metric: str, column: int) -> dict[str, float | None]:
        cell = model, metrics.index(metric), column
        numbers = {"value": float(value[cell]), "low": float(low[cell]), "high": float(high[cell])}
        return {name: None if np.isnan(number) else number for name, number in numbers.items()}

    models = {}
    for m, name in enumerate(predictions):
        classes = {
            class_: {"positives": int(test.labels_NK[:, k].sum())}
            | {metric: interval(m, metric, k) for metric in ("auc", "f1")}
            for k, class_ in enumerate(test.classes)
        }
        models[name] = {"macro": {metric: interval(m, metric, -1) for metric in metrics}, "classes": classes}
    return models, {metric: interval(2, metric, -1) for metric in metrics}


def _absent_classes(targets: Targets, protocol: EvaluationProtocol) -> list[str]:
    consequences = {
        "train": "so nothing to learn",
        "validation": "so no say in the choice of C, and threshold 0.5 where one is needed",
        "test": "so no score and no part in the macro mean",
    }
    notes = []
    for split in SPLITS if protocol == "strict" else ("train", "test"):
        there_K = targets.labels_NK[targets.of(split)].any(axis=0)
        if absent := [name for name, there in zip(targets.classes, there_K, strict=True) if not there]:
            notes.append(f"No positive {split} record, {consequences[split]}: {', '.join(absent)}.")
    return notes


def _thresholds(test: Targets, prediction: Prediction) -> dict[str, float]:
    if prediction.thresholds_K is None:
        return {}
    return dict(zip(test.classes, prediction.thresholds_K.tolist(), strict=True))


def _prediction_table(store: Store, test: Targets, predictions: dict[str, Prediction]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "record": store.records["record"].to_numpy()[test.rows_N],
        "patient": test.patients_N,
        "split": test.split_N,
    }
    for k, name in enumerate(test.classes):
        columns[f"label:{name}"] = test.labels_NK[:, k].astype(np.int8)
        columns |= {f"{model}:{name}": each.probabilities_NK[:, k] for model, each in predictions.items()}
    return pd.DataFrame(columns)


def _embedding_table(store: Store, test: Targets, features_ND: Float32[ndarray, "n d"]) -> pd.DataFrame:
    names = np.array(test.classes, dtype=object)
    return pd.DataFrame(
        {
            "record": store.records["record"].to_numpy()[test.rows_N],
            "split": test.split_N,
            "labels": [names[there].tolist() for there in test.labels_NK],
            "pretrained": list(features_ND),
        }
    )
