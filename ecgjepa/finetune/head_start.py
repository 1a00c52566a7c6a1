"""The head of two-stage fine-tuning before its first step: the linear probe of the strict protocol.

A random head would pull the pretrained features towards itself while it is still wrong (Kumar et al. 2022,
arXiv:2202.10054); a solved one leaves little to pull. Only training and validation records are read.

Axes: N records, D features, K classes.
"""

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.evaluate.readouts import LinearProbe
from ecgjepa.evaluate.targets import Targets
from ecgjepa.finetune.material import Material
from ecgjepa.finetune.records import TrainingRecords
from ecgjepa.model.classifier import Classifier

# Logit of a class that could not be learned: a probability of 0.7 % or 99.3 %, from which training can move it.
CONSTANT_START = 5.0
RECORDS_AT_ONCE = 64


@torch.no_grad()
def solve_head(classifier: Classifier, material: Material) -> float:
    """Give the linear layer the weights of a logistic regression on the frozen features, and return its C.

    Raises:
        ValueError: see `LinearProbe.fit`.
    """
    targets, validation = material.targets, material.validation
    assert isinstance(targets, Targets), "a solved head is of classes"
    assert validation is not None, "the strict protocol has validation records"
    parts = [
        (features_of(classifier, records), targets.labels_NK[targets.of(split)])
        for split, records in (("train", material.train), ("validation", validation))
    ]
    probe = LinearProbe("multiclass" if material.train.settings.task == "multiclass" else "multilabel")
    probe.fit(*parts[0], *parts[1])
    weight_KD, bias_K = probe.raw_layer()
    mean_D, scale_D = (
        values.double().cpu().numpy() for values in (classifier.feature_mean_D, classifier.feature_scale_D)
    )
    learned_K = probe.learned_K
    bias_K = np.where(learned_K, bias_K + weight_KD @ mean_D, np.clip(bias_K, -CONSTANT_START, CONSTANT_START))
    classifier.linear.weight.copy_(torch.from_numpy(weight_KD * scale_D))
    classifier.linear.bias.copy_(torch.from_numpy(bias_K))
    return float(probe.C_)


def features_of(classifier: Classifier, records: TrainingRecords) -> Float32[ndarray, "n d"]:
    """Pooled features of all records, as the classifier's encoder gives them now."""
    device = classifier.linear.weight.device
    features = []
    for positions in np.array_split(np.arange(len(records)), max(1, -(-len(records) // RECORDS_AT_ONCE))):
        signal_mv_BLS = records.signals(positions).to(device)
        features.append(classifier.features(signal_mv_BLS, records.leads).float().cpu().numpy())
    return np.concatenate(features)
