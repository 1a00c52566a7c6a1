"""A frozen encoder and its twin with random weights, side by side on the same records, read out one way.

Axes: N records that take part, M test records, D features, K classes.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.conditions import LeadSubset, NoisyStore
from ecgjepa.evaluate.feature_cache import FeatureCache
from ecgjepa.evaluate.features import Pooling, contract_warnings
from ecgjepa.evaluate.frozen import FrozenEncoder
from ecgjepa.evaluate.head import Head, describe_encoder
from ecgjepa.evaluate.leaks import find_overlap
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readings import (
    Material,
    NumberPrediction,
    Prediction,
    Readout,
    check_reading,
    read_labels,
    read_numbers,
)
from ecgjepa.evaluate.result import ProbeResult
from ecgjepa.evaluate.scoring import Scored, score_models, score_regression
from ecgjepa.evaluate.subgroups import store_groups
from ecgjepa.evaluate.summary import (
    absent_classes,
    embedding_table,
    label_predictions,
    number_predictions,
    summarise,
    thresholds_of,
    with_difference,
)
from ecgjepa.evaluate.targets import (
    EvaluationProtocol,
    RegressionTargets,
    Targets,
    arrange_splits,
    read_targets,
    take_training_fraction,
)
from ecgjepa.model.encoder import Encoder

DEFAULT_CACHE = FeatureCache()
HEAD_SAYS = (
    "dataset", "level", "protocol", "label_fraction", "seed",
    "encoder", "checkpoint", "width", "contract", "weights_sha256",
)  # fmt: skip


@dataclass(frozen=True)
class Conditions:
    """How the signal is read, and how much of the labels is learned from.

    Attributes:
        readout: what learns on the frozen features.
        pooling: of the tokens; see `embed_rows`.
        label_fraction: part of the training records to learn from.
        leads: those that are there; all of the contract where None. For encoders of ours.
        snr_db: noise over the test records, see `NoisyStore`; none where None.
        seed: of held-out patients, label fraction, noise, the layer of `paper` and attention pooling, and resamples.
    """

    readout: Readout = "linear"
    pooling: Pooling = "mean"
    label_fraction: float = 1.0
    leads: tuple[str, ...] | None = None
    snr_db: float | None = None
    seed: int = 0


def run_probe(
    store: Store,
    encoder: FrozenEncoder,
    random_encoder: FrozenEncoder | None,
    *,
    level: str,
    task: Task = "multilabel",
    targets: Targets | RegressionTargets | None = None,
    protocol: EvaluationProtocol = "strict",
    conditions: Conditions = Conditions(),
    encoder_name: str = "teacher",
    resamples: int = 1000,
    min_positives: int = 10,
    cache: FeatureCache = DEFAULT_CACHE,
    command: str = "",
    checkpoint: str = "",
    seen: Seen | None = None,
    allow_overlap: bool = False,
) -> ProbeResult:
    """Evaluate a frozen encoder on a labelled store, and the same encoder with random weights beside it.

    `strict`: learn on the train split, choose strength and thresholds on validation, read test once. `paper`: as
    published, learn on train and validation, choose nothing. For the intervals see `score_models`.

    Args:
        random_encoder: None where there is none, as for an ONNX file.
        level: label level of the store, or the name of `targets`.
        targets: what is asked where it is no label level of the store: a number, sex, labels of a table.
        encoder_name: `teacher`, `student`, `published`, or what another encoder is called, for the result.
        resamples: of the test patients.
        min_positives: classes with fewer positive test records are marked, and left out of a second macro mean.
        cache: where features are kept.
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
    kind = "regression" if isinstance(targets, RegressionTargets) else task
    check_reading(conditions.readout, kind, protocol, conditions.snr_db)
    seed = conditions.seed
    contract_notes = contract_warnings(store.contract, encoder.contract)
    asked = read_targets(store, level, task) if targets is None else targets
    asked = take_training_fraction(arrange_splits(asked, protocol, seed), conditions.label_fraction, seed)
    overlap = find_overlap(store, asked, seen, allow=allow_overlap)

    networks = {"pretrained": encoder} | ({"random": random_encoder} if random_encoder is not None else {})
    materials = {name: _material(each, store, asked, conditions, cache, name) for name, each in networks.items()}
    about: dict[str, Any] = {
        "dataset": str(store.info["dataset"]),
        "level": level,
        "task": "regression" if isinstance(asked, RegressionTargets) else task,
        "protocol": protocol,
        "encoder": encoder_name,
        "readout": conditions.readout,
        "pooling": conditions.pooling,
        "leads": None if conditions.leads is None else list(conditions.leads),
        "snr_db": conditions.snr_db,
        "seed": seed,
        "label_fraction": conditions.label_fraction,
        "command": command,
    }
    statistics = {"resamples": resamples, "seed": seed}
    reading: Reading
    if isinstance(asked, RegressionTargets):
        reading = _read_numbers(store, asked, materials, about, statistics)
    else:
        reading = _read_labels(store, asked, materials, about, statistics | {"min_positives": min_positives}, cache)
    summary = summarise(
        about | reading.found | {"selection": reading.ours.selection},
        store,
        asked,
        statistics=statistics,
        overlap=overlap,
        warnings=[*contract_notes, *asked.warnings, *reading.notes],
        seconds=time.monotonic() - started,
    )
    test, ours = asked.taking(asked.of("test")), materials["pretrained"]
    embeddings = embedding_table(store, test, ours[asked.of("test")]) if isinstance(ours, ndarray) else None
    head = None
    if isinstance(encoder, Encoder) and conditions.pooling == "mean" and conditions.leads is None:
        head = _head(reading.ours, asked, about | describe_encoder(encoder, encoder_name, checkpoint))
    return ProbeResult(summary, reading.table, embeddings, head)


class Reading(NamedTuple):
    """What the models said of the test records, and how well."""

    found: dict[str, Any]
    table: pd.DataFrame
    ours: Prediction | NumberPrediction
    notes: list[str]


def _read_labels(
    store: Store,
    asked: Targets,
    materials: dict[str, Material],
    about: dict[str, Any],
    statistics: dict[str, int],
    cache: FeatureCache,
) -> Reading:
    task, protocol = about["task"], about["protocol"]
    read = {
        name: read_labels(asked, each, about["readout"], task, protocol, about["seed"], cache.device)
        for name, each in materials.items()
    }
    # Only from here on are the labels of the test records read.
    test = asked.taking(asked.of("test"))
    scored = {name: Scored(each.probabilities_MK, each.predicted_MK) for name, each in read.items()}
    reference, groups = "random" if "random" in read else None, store_groups(store, test.rows_N)
    found = score_models(test, scored, task=task, reference=reference, subgroups=groups, **statistics)
    found = with_difference(found, "pretrained")
    for name, each in read.items():
        found["models"][name] |= {"thresholds": thresholds_of(test, each.thresholds_K), "selection": each.selection}
    ours = read["pretrained"]
    found |= {"classes": list(asked.classes), "thresholds": thresholds_of(test, ours.thresholds_K)}
    probabilities = {name: each.probabilities_MK for name, each in read.items()}
    notes = [*absent_classes(asked, protocol), *_notes(read)]
    return Reading(found, label_predictions(store, test, probabilities), ours, notes)


def _read_numbers(
    store: Store,
    asked: RegressionTargets,
    materials: dict[str, Material],
    about: dict[str, Any],
    statistics: dict[str, int],
) -> Reading:
    read = {}
    for name, material in materials.items():
        assert isinstance(material, ndarray), "tokens are refused above"
        read[name] = read_numbers(asked, material, about["readout"])
    test = asked.taking(asked.of("test"))
    values = {name: each.values_M for name, each in read.items()}
    reference = "random" if "random" in read else None
    found = with_difference(score_regression(test, values, reference=reference, **statistics), "pretrained")
    for name, each in read.items():
        found["models"][name] |= {"selection": each.selection}
    found |= {"unit": asked.unit}
    return Reading(found, number_predictions(store, test, values), read["pretrained"], _notes(read))


def _notes(read: Mapping[str, Prediction | NumberPrediction]) -> list[str]:
    said = {"pretrained": "", "random": "Random weights: "}
    return [f"{said[name]}{note}" for name, each in read.items() for note in each.notes]


def _head(
    ours: Prediction | NumberPrediction, asked: Targets | RegressionTargets, about: dict[str, Any]
) -> Head | None:
    """The layer as a file, of read-outs that have one."""
    if ours.layer is None:
        return None
    said = {key: about[key] for key in HEAD_SAYS}
    if isinstance(ours, Prediction):
        assert isinstance(asked, Targets)
        return Head(*ours.layer, asked.classes, about["task"], ours.thresholds_K, said)
    assert isinstance(asked, RegressionTargets)
    return Head(*ours.layer, (asked.name,), "regression", None, said | {"unit": asked.unit})


def _material(
    encoder: FrozenEncoder,
    store: Store,
    asked: Targets | RegressionTargets,
    conditions: Conditions,
    cache: FeatureCache,
    name: str,
) -> Material:
    """Features, or tokens, of all records that take part; noise is over those of the test split only."""
    if conditions.leads is not None:
        if not isinstance(encoder, Encoder):
            raise ValueError(f"leads: {type(encoder).__name__} takes all leads of its contract; only ours takes fewer")
        encoder = LeadSubset(encoder, conditions.leads)
    if conditions.readout == "attention":
        return cache.tokens(encoder, store, asked.rows_N)
    described = f"embedding, {name} weights"
    take = {"pooling": conditions.pooling, "description": described}
    features_ND: Float32[ndarray, "n d"] = cache.features(encoder, store, asked.rows_N, **take)  # type: ignore[arg-type]
    if conditions.snr_db is not None:
        noisy, test = NoisyStore.over(store, conditions.snr_db, conditions.seed), asked.of("test")
        features_ND[test] = cache.features(encoder, noisy, asked.rows_N[test], **take)  # type: ignore[arg-type]
    return features_ND
