"""The columns of a table of predictions, and what stands beside it about the classifier.

    OUT               a row per ECG, or per window
    OUT.model.json    which classifier, encoder, thresholds and versions
    OUT.failed.csv    every ECG without a prediction

Axes: K classes.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ecgjepa.embed.table import WINDOW_COLUMNS
from ecgjepa.evaluate.head import Head
from ecgjepa.finetune.classifier_folder import LoadedClassifier

PROBABILITY, CALLED, VALUE = "prob:", "called:", "value:"
# Names of the classes that are called.
NAMES, BETWEEN = "called", ";"
EMBEDDING = "embedding"
MODEL_SUFFIX = ".model.json"


def prediction_schema(head: Head, width: int | None) -> pa.Schema:
    """Columns of a table of predictions.

    Args:
        width: of the embeddings that are kept; None keeps none.
    """
    fields = [pa.field(name, kind) for name, kind in WINDOW_COLUMNS]
    if head.task == "regression":
        units = units_of(head)
        told = [{"unit": units[name]} if name in units else None for name in head.classes]
        fields += [
            pa.field(f"{VALUE}{name}", pa.float64(), metadata=unit)
            for name, unit in zip(head.classes, told, strict=True)
        ]
    else:
        fields += [pa.field(f"{PROBABILITY}{name}", pa.float64()) for name in head.classes]
        fields += [pa.field(f"{CALLED}{name}", pa.bool_()) for name in head.classes]
        fields.append(pa.field(NAMES, pa.string()))
    if width is not None:
        fields.append(pa.field(EMBEDDING, pa.list_(pa.float32(), width)))
    return pa.schema(fields)


def units_of(head: Head) -> dict[str, str]:
    """Of the values of a regression, where the head says it."""
    unit = head.about.get("unit") if head.task == "regression" else None
    return dict.fromkeys(head.classes, unit) if unit else {}


def describe_classifier(classifier: LoadedClassifier) -> dict[str, Any]:
    """What the table says of its classifier, JSON values."""
    head = classifier.head
    thresholds = None if head.thresholds_K is None else dict(zip(head.classes, head.thresholds_K.tolist(), strict=True))
    return {
        "task": head.task,
        "classes": list(head.classes),
        "thresholds": thresholds,
        "units": units_of(head),
        "leads": list(classifier.leads),
        "pooling": "mean" if head.pooling is None else "attention",
        "head": dict(head.about),
    }


def head_sha256(head: Head) -> str:
    """A hash of everything that changes what a head says."""
    digest = hashlib.sha256()
    digest.update(json.dumps([head.task, list(head.classes), head.pooling_heads, head.about.get("leads")]).encode())
    tensors = {"weight": head.weight_KD, "bias": head.bias_K, "thresholds": head.thresholds_K, **(head.pooling or {})}
    for name, values in sorted(tensors.items()):
        if values is not None:
            digest.update(f"{name} {values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def model_file(out: Path) -> Path:
    """The file beside a table that says what made it."""
    return out.with_name(out.name + MODEL_SUFFIX)
