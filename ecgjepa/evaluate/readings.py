"""Frozen features and labels -> what a read-out says of the test records, and how it came to that.

Axes: N records that take part, M test records, D features, K classes.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float64
from numpy import ndarray

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts import (
    KNearestProbe,
    KNearestRegression,
    LinearProbe,
    NearestMeanProbe,
    PaperProbe,
    RidgeRegression,
    decide,
)
from ecgjepa.evaluate.readouts.attention import AttentionProbe
from ecgjepa.evaluate.readouts.tokens import TokenPart, TokenSource
from ecgjepa.evaluate.targets import EvaluationProtocol, RegressionTargets, Targets

Readout = Literal["linear", "knn", "nearest-mean", "attention"]
READOUTS: tuple[Readout, ...] = get_args(Readout)
# Those that give a number.
REGRESSION_READOUTS: tuple[Readout, ...] = ("linear", "knn")

# Features (N, D), or tokens of N records.
Material = ndarray | TokenSource


@dataclass(frozen=True)
class Prediction:
    """One model on the test records, and how it came to its decisions.

    Attributes:
        layer: weights (K, D) and bias (K) on features as they come, of a linear read-out.
    """

    probabilities_MK: Float64[ndarray, "m k"]
    predicted_MK: Bool[ndarray, "m k"]
    thresholds_K: Float64[ndarray, "k"] | None
    selection: dict[str, Any] | None
    notes: list[str]
    layer: tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]] | None = None


@dataclass(frozen=True)
class NumberPrediction:
    """One model's numbers for the test records."""

    values_M: Float64[ndarray, "m"]
    selection: dict[str, Any] | None
    notes: list[str]
    layer: tuple[Float64[ndarray, "1 d"], Float64[ndarray, "1"]] | None = field(default=None)


def check_reading(readout: Readout, kind: str, protocol: EvaluationProtocol, snr_db: float | None) -> None:
    """Found out before anything is embedded: ValueError for a read-out that task, protocol or signal does not have."""
    if snr_db is not None and not math.isfinite(snr_db):
        raise ValueError(f"noise: {snr_db} dB, expected a number")
    if protocol == "paper" and kind == "regression":
        raise ValueError("no regression is published with the paper protocol, expected strict")
    if protocol == "paper" and readout != "linear":
        raise ValueError(f"paper protocol: read-out {readout!r}, published is the linear one alone")
    if kind == "regression" and readout not in REGRESSION_READOUTS:
        raise ValueError(f"regression: read-out {readout!r}, expected one of {', '.join(REGRESSION_READOUTS)}")
    if readout == "attention" and snr_db is not None:
        raise ValueError("attention pooling: of signals as they are, without noise")


def read_labels(
    targets: Targets,
    material: Material,
    readout: Readout,
    task: Task,
    protocol: EvaluationProtocol,
    seed: int,
    device: str | torch.device = "cpu",
) -> Prediction:
    """Learn from train (and, strict, choose on validation), then predict test.

    `paper` knows the linear read-out only, and chooses nothing.

    Raises:
        ValueError: a read-out that the protocol does not have; see those of the read-outs.
    """
    train, validation, test = (targets.of(split) for split in ("train", "validation", "test"))
    if protocol == "paper":
        paper = PaperProbe(task, seed).fit(_part(material, train), targets.labels_NK[train])
        return _predicted(paper, _part(material, test), None, paper.raw_layer())
    probe: Any
    match readout:
        case "linear":
            probe = LinearProbe(task)
        case "knn":
            probe = KNearestProbe(task)
        case "nearest-mean":
            probe = NearestMeanProbe(task)
        case "attention":
            probe = AttentionProbe(task, seed, device=device)
    parts = [(_part(material, rows), targets.labels_NK[rows]) for rows in (train, validation)]
    probe.fit(*parts[0], *parts[1])
    layer = probe.raw_layer() if isinstance(probe, LinearProbe) else None
    return _predicted(probe, _part(material, test), probe.selection_, layer)


def read_numbers(targets: RegressionTargets, material: ndarray, readout: Readout) -> NumberPrediction:
    """The same for a number: ridge regression, or the mean of the nearest.

    Raises:
        ValueError: another read-out.
    """
    train, validation, test = (targets.of(split) for split in ("train", "validation", "test"))
    probe: Any = RidgeRegression() if readout == "linear" else KNearestRegression()
    parts = [(material[rows], targets.values_N[rows]) for rows in (train, validation)]
    probe.fit(*parts[0], *parts[1])
    layer = None
    if isinstance(probe, RidgeRegression):
        weight_D, bias = probe.raw_layer()
        layer = np.asarray(weight_D).reshape(1, -1), np.asarray([bias], dtype=np.float64).reshape(1)
    return NumberPrediction(probe.predict(material[test]), probe.selection_, probe.notes_, layer)


def _part(material: Any, positions: ndarray) -> Any:
    return material[positions] if isinstance(material, ndarray) else TokenPart(material, positions)


def _predicted(probe: Any, test: Any, selection: dict[str, Any] | None, layer: Any) -> Prediction:
    probabilities_MK = probe.predict_proba(test)
    predicted_MK = decide(probabilities_MK, probe.thresholds_)
    return Prediction(probabilities_MK, predicted_MK, probe.thresholds_, selection, probe.notes_, layer)
