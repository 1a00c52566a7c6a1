"""From an encoder and settings to the network that a run begins with, and its loss.

Axes: N records, K outputs.
"""

import copy
import hashlib
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from numpy import ndarray

from ecgjepa.checkpoint import generator_of
from ecgjepa.evaluate.segmentation_targets import WAVE_CLASSES, SegmentationTargets
from ecgjepa.evaluate.targets import RegressionTargets, Targets
from ecgjepa.finetune.losses import Loss, balanced_sample_weights, balanced_weights, make_loss
from ecgjepa.finetune.records import TrainingRecords
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.model.classifier import Classifier
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.segmenter import Segmenter

Asked = Targets | RegressionTargets | SegmentationTargets

NEW_WEIGHTS, SAMPLE = 14, 15  # streams of chance of one seed
# Training records of which mean and spread of the pooled features are taken.
SCALED_BY = 256


def prepare_encoder(encoder: Encoder, settings: FinetuneSettings) -> Encoder:
    """A copy of an encoder with the filter of the settings in its contract; with fresh weights for `scratch`."""
    contract = encoder.contract
    if settings.filter is not None:
        contract = replace(contract, filter=settings.filter)
    if settings.mode == "scratch":
        return Encoder(encoder.config, contract, generator=generator_of(settings.seed))
    prepared = copy.deepcopy(encoder)
    prepared.contract = contract
    return prepared


def numbers_of(targets: Asked) -> Shaped[ndarray, "n *form"]:
    """What is learned, as numbers: (N, K) 0 and 1 of classes, (N, 1) values of a regression, (N, L, S) masks."""
    if isinstance(targets, SegmentationTargets):
        return targets.mask_NLS
    if isinstance(targets, RegressionTargets):
        return targets.values_N.astype(np.float32)[:, None]
    return targets.labels_NK.astype(np.float32)


def as_labels(targets: SegmentationTargets) -> Targets:
    """Which classes each record has a sample of: what an account of the records needs."""
    labels_NC = np.stack([(targets.mask_NLS == c).any(axis=(1, 2)) for c in range(len(WAVE_CLASSES))], axis=1)
    parts = {name: getattr(targets, name) for name in ("patients_N", "split_N", "left_out", "warnings")}
    return Targets(WAVE_CLASSES, targets.rows_N, labels_NC, **parts)


def digest_of_targets(targets: Asked) -> str:
    """What is learned of which row in which split, as a SHA-256."""
    digest = hashlib.sha256("\n".join([*names_of(targets), *targets.split_N.tolist()]).encode())
    digest.update(targets.rows_N.astype("<i8").tobytes())
    digest.update(np.ascontiguousarray(numbers_of(targets)).tobytes())
    return digest.hexdigest()


def names_of(targets: Asked) -> tuple[str, ...]:
    """What the K outputs are."""
    if isinstance(targets, SegmentationTargets):
        return WAVE_CLASSES
    return (targets.name,) if isinstance(targets, RegressionTargets) else targets.classes


def make_network(
    encoder: Encoder, records: TrainingRecords, settings: FinetuneSettings, device: torch.device
) -> Classifier | Segmenter:
    """The network of step 0: new weights are a function of the seed, constants are those of training records."""
    if settings.task == "segmentation":
        return Segmenter(encoder, generator=generator_of(settings.seed, NEW_WEIGHTS)).to(device)
    outputs = records.targets.shape[1]
    classifier = Classifier(encoder, outputs, settings.pooling, generator=generator_of(settings.seed, NEW_WEIGHTS)).to(
        device
    )
    if settings.task == "regression":
        mean_K, scale_K = _spread(records.targets)
        classifier.scale_outputs(torch.from_numpy(mean_K), torch.from_numpy(scale_K))
    if settings.standardise:
        order = torch.randperm(len(records), generator=generator_of(settings.seed, SAMPLE))
        some = order[:SCALED_BY].sort().values
        with torch.no_grad():
            features = [
                classifier.features(records.signals(batch.numpy()).to(device), records.leads)
                for batch in some.split(settings.batch_size)
            ]
        classifier.standardise(torch.cat(features))
    return classifier


def loss_of(records: TrainingRecords, settings: FinetuneSettings, device: torch.device) -> Loss:
    """The loss, with weights of classes or the unit of values taken from the training records."""
    weights_K = scale_K = None
    if settings.class_weights == "balanced":
        if settings.task == "segmentation":
            found_K = balanced_sample_weights(records.targets, len(WAVE_CLASSES))
        else:
            found_K = balanced_weights(records.targets > 0, settings.task)
        weights_K = torch.from_numpy(found_K).to(device)
    if settings.task == "regression":
        scale_K = torch.from_numpy(_spread(records.targets)[1]).to(device)
    return make_loss(settings.task, weights_K, scale_K)


def _spread(values_NK: Float32[ndarray, "n k"]) -> tuple[Float32[ndarray, "k"], Float32[ndarray, "k"]]:
    """Mean and standard deviation, 1 where all are the same."""
    values_NK = values_NK.astype(np.float64)
    scale_K = values_NK.std(axis=0)
    return values_NK.mean(axis=0).astype(np.float32), np.where(scale_K > 0, scale_K, 1.0).astype(np.float32)
