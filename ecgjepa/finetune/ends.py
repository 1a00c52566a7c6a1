"""How a run ends, by what it trained: how that is saved, and what it says of the test records.

Axes: N records of test and validation, V validation records, L leads, S samples, K outputs, C classes of a sample.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray

from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.readouts.checks import choose_thresholds, learned_classes
from ecgjepa.evaluate.result import PREDICTIONS
from ecgjepa.evaluate.segmentation_metrics import confusion_counts
from ecgjepa.evaluate.segmentation_targets import WAVE_CLASSES, SegmentationTargets
from ecgjepa.evaluate.summary import absent_classes
from ecgjepa.evaluate.targets import Targets
from ecgjepa.files import atomic_path
from ecgjepa.finetune.building import as_labels, names_of
from ecgjepa.finetune.classifier_folder import LoadedClassifier, load_classifier, save_classifier
from ecgjepa.finetune.material import Material
from ecgjepa.finetune.predicting import predict_rows
from ecgjepa.finetune.records import take_leads
from ecgjepa.finetune.result import count_table, prediction_table, score, score_waves
from ecgjepa.finetune.segmenter_folder import LoadedSegmenter, load_segmenter, save_segmenter, segment_rows
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.finetune.training import Training
from ecgjepa.model.classifier import Classifier
from ecgjepa.model.segmenter import Segmenter

SEGMENTATIONS = "segmentations.npz"


@dataclass(frozen=True)
class End:
    """Two functions.

    Attributes:
        save: (folder, training, material, about, seen, notes, progress) -> the network as it is now, on disk.
        predict: (run folder, which part of it, device, material, settings, resamples, progress) -> scores of the test
            records, and notes; writes the predictions.
    """

    save: Callable[[Path, Training, Material, dict[str, Any], Path | None, dict[str, Any], bool], None]
    predict: Callable[
        [Path, str, torch.device, Material, FinetuneSettings, int, bool], tuple[dict[str, Any], list[str]]
    ]


def _save_classifier(
    folder: Path,
    training: Training,
    material: Material,
    about: dict[str, Any],
    seen: Path | None,
    notes: dict[str, Any],
    progress: bool,
) -> None:
    """With thresholds by its own predictions of the validation records."""
    settings, network = training.settings, training.network
    assert isinstance(network, Classifier)
    head = make_head(network, names_of(material.targets), settings, about)
    if settings.task == "multilabel" and settings.protocol == "strict":
        classifier = LoadedClassifier(network.encoder, head, {}, folder)
        head = replace(head, thresholds_K=_thresholds(classifier, training.device, material, progress))
    save_classifier(folder, network.encoder, head, seen=seen, overwrite=True, **notes)


def make_head(
    classifier: Classifier, names: tuple[str, ...], settings: FinetuneSettings, about: dict[str, Any]
) -> Head:
    """The classifier's pooling and layer as a head, with all constants folded in."""
    assert settings.task != "segmentation"
    pool = classifier.pool
    pooling = None if pool is None else {name: value.cpu().numpy() for name, value in pool.state_dict().items()}
    heads = 1 if pool is None else pool.heads
    return Head(*classifier.layer(), names, settings.task, None, about, pooling, heads)


def _thresholds(
    classifier: LoadedClassifier, device: torch.device, material: Material, progress: bool
) -> Float64[ndarray, "k"] | None:
    targets = material.targets
    assert isinstance(targets, Targets)
    positions = targets.of("validation")
    rows, labels_VK = targets.rows_N[positions], targets.labels_NK[positions]
    probabilities_VK = predict_rows(
        classifier, material.store, rows, device=device, progress=progress, description="thresholds"
    )
    learned_K = learned_classes(targets.labels_NK[targets.of("train")], "multilabel")
    return choose_thresholds(labels_VK, probabilities_VK, learned_K, "multilabel")


def _classify(
    run: Path,
    part: str,
    device: torch.device,
    material: Material,
    settings: FinetuneSettings,
    resamples: int,
    progress: bool,
) -> tuple[dict[str, Any], list[str]]:
    chosen, targets = load_classifier(run / part), material.targets
    assert not isinstance(targets, SegmentationTargets)
    shown = targets.taking(np.flatnonzero(np.isin(targets.split_N, ("validation", "test"))))
    outputs_NK = predict_rows(chosen, material.store, shown.rows_N, device=device, progress=progress)
    with atomic_path(run / PREDICTIONS) as file:
        prediction_table(material.store, shown, outputs_NK).to_parquet(file, index=False)
    test = shown.of("test")
    found = score(shown.taking(test), outputs_NK[test], chosen.head, resamples=resamples, seed=settings.seed)
    return found, absent_classes(targets, settings.protocol) if isinstance(targets, Targets) else []


def _save_segmenter(
    folder: Path,
    training: Training,
    material: Material,
    about: dict[str, Any],
    seen: Path | None,
    notes: dict[str, Any],
    progress: bool,
) -> None:
    assert isinstance(training.network, Segmenter)
    segmenter = LoadedSegmenter(training.network, WAVE_CLASSES, about, notes, folder)
    save_segmenter(folder, segmenter, seen=seen, overwrite=True)


def _segment(
    run: Path,
    part: str,
    device: torch.device,
    material: Material,
    settings: FinetuneSettings,
    resamples: int,
    progress: bool,
) -> tuple[dict[str, Any], list[str]]:
    """Writes every sample's class as `segmentations.npz`, and the counts of each record as the table."""
    chosen, targets = load_segmenter(run / part), material.targets
    assert isinstance(targets, SegmentationTargets)
    shown = targets.taking(np.flatnonzero(np.isin(targets.split_N, ("validation", "test"))))
    called_NLS = segment_rows(chosen, material.store, shown.rows_N, device=device, progress=progress)
    true_NLS = take_leads(shown.mask_NLS, material.store.contract, settings.leads)
    counts_NCC = confusion_counts(
        true_NLS.reshape(len(shown), -1).astype(np.int64),
        called_NLS.reshape(len(shown), -1).astype(np.int64),
        len(WAVE_CLASSES),
    )
    table = count_table(material.store, shown, counts_NCC)
    with atomic_path(run / PREDICTIONS) as file:
        table.to_parquet(file, index=False)
    with atomic_path(run / SEGMENTATIONS) as file:
        records = np.array(table["record"].tolist(), dtype=np.str_)
        np.savez_compressed(file, record=records, called=called_NLS, annotated=true_NLS, leads=np.array(chosen.leads))
    test = shown.of("test")
    found = score_waves(shown.taking(test), counts_NCC[test], resamples=resamples, seed=settings.seed)
    return found, absent_classes(as_labels(targets), settings.protocol)


CLASSIFIER_END = End(_save_classifier, _classify)
SEGMENTER_END = End(_save_segmenter, _segment)
