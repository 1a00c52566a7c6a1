"""What is made small: one loss per task, with weights of the classes if asked for.

Axes: N training records, B records of a batch, K outputs, L leads, S samples, C classes of a sample.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32, Int8
from numpy import ndarray
from torch import Tensor

from ecgjepa.evaluate.segmentation_targets import NOT_ANNOTATED
from ecgjepa.evaluate.targets import Kind

Loss = Callable[[Tensor, Tensor], Tensor]


def balanced_weights(labels_NK: Bool[ndarray, "n k"], task: Kind) -> Float32[ndarray, "k"]:
    """Weights of the classes by how rare they are in training, (K,).

    multilabel: of a class's positives, negatives over positives, so that both sides weigh the same. multiclass: of a
    class's records, N / (K * its records), as of scikit-learn. 1 for a class without records.
    """
    positives_K = labels_NK.sum(axis=0)
    wanted_K = len(labels_NK) - positives_K if task == "multilabel" else len(labels_NK) / labels_NK.shape[1]
    weights_K = np.where((positives_K > 0) & (wanted_K > 0), wanted_K / np.maximum(positives_K, 1), 1.0)
    return weights_K.astype(np.float32)


def balanced_sample_weights(mask_NLS: Int8[ndarray, "n l s"], classes: int) -> Float32[ndarray, "c"]:
    """The same of the classes of annotated samples, (C,): all over C times those of a class."""
    counts_C = np.bincount(mask_NLS[mask_NLS >= 0], minlength=classes)
    return np.where(counts_C > 0, counts_C.sum() / (classes * np.maximum(counts_C, 1)), 1.0).astype(np.float32)


def make_loss(task: Kind, weights_K: Float32[Tensor, "k"] | None, scale_K: Float32[Tensor, "k"] | None) -> Loss:
    """From (outputs, targets), both (B, K), to a number, in float32; of a segmentation (B, L, S, C) and (B, L, S).

    multilabel: binary cross-entropy. multiclass: cross-entropy. regression: squared error in units of `scale_K`.
    segmentation: cross-entropy over the annotated samples.
    """

    def loss(outputs_BK: Tensor, target_BK: Tensor) -> Tensor:
        outputs_BK = outputs_BK.float()
        if task == "segmentation":
            logits_BCLS, classes_BLS = outputs_BK.movedim(3, 1), target_BK.long()
            summed = F.cross_entropy(
                logits_BCLS, classes_BLS, weight=weights_K, ignore_index=NOT_ANNOTATED, reduction="sum"
            )
            # Not its own mean, which is NaN where a batch has no annotated sample.
            annotated_A = classes_BLS[classes_BLS != NOT_ANNOTATED]
            each_A = torch.ones_like(annotated_A, dtype=summed.dtype) if weights_K is None else weights_K[annotated_A]
            return summed / each_A.sum().clamp(min=1e-6)
        if task == "multilabel":
            return F.binary_cross_entropy_with_logits(outputs_BK, target_BK, pos_weight=weights_K)
        if task == "multiclass":
            return F.cross_entropy(outputs_BK, target_BK.argmax(dim=1), weight=weights_K)
        unit_K = torch.ones_like(target_BK[0]) if scale_K is None else scale_K
        return ((outputs_BK - target_BK) / unit_K).square().mean()

    return loss
