"""How well samples are assigned to classes, from counts per record, of many resamples at once.

Axes: R resamples, N records, M metrics, C classes; of (C, C) counts the first is the true class, the second the called.
"""

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

METRICS = ("iou", "f1")


def confusion_counts(
    true_NS: Int[ndarray, "n s"], called_NS: Int[ndarray, "n s"], classes: int
) -> Int[ndarray, "n classes classes"]:
    """How many samples of each record have which true and which called class, (N, C, C).

    Samples whose true class is negative are not annotated, and not counted.

    Raises:
        ValueError: a class is not below `classes`, or a called one is negative.
    """
    known_NS = true_NS >= 0
    for name, found_NS in (("true", true_NS), ("called", called_NS)):
        wrong_NS = known_NS & ((found_NS >= classes) | (found_NS < 0))
        if wrong_NS.any():
            raise ValueError(
                f"segmentation: {name} class {found_NS[wrong_NS][0]} in row {np.flatnonzero(wrong_NS.any(axis=1))[0]}, "
                f"expected 0 to {classes - 1}"
            )
    cell_NS = classes**2 * np.arange(len(true_NS))[:, None] + classes * true_NS + called_NS
    return np.bincount(cell_NS[known_NS], minlength=len(true_NS) * classes**2).reshape(-1, classes, classes)


def segmentation_metrics(
    confusion_NCC: Int[ndarray, "n c c"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 2 c"]:
    """Intersection over union, and F1 (Dice) of each class over all samples of a resample, (R, M, C).

    NaN for a class that is neither there nor called.
    """
    records, classes = confusion_NCC.shape[:2]
    weights_RN = np.ones((1, records)) if weights_RN is None else weights_RN.astype(np.float64)
    cells_RCC = (weights_RN @ confusion_NCC.reshape(records, -1).astype(np.float64)).reshape(-1, classes, classes)
    hits_RC = np.diagonal(cells_RCC, axis1=1, axis2=2)
    both_RC = cells_RCC.sum(axis=2) + cells_RCC.sum(axis=1)
    union_RC = both_RC - hits_RC
    seen = union_RC > 0
    iou_RC = np.where(seen, hits_RC / np.maximum(union_RC, 1), np.nan)
    return np.stack([iou_RC, np.where(seen, 2 * hits_RC / np.maximum(both_RC, 1), np.nan)], axis=1)


def sample_accuracy(
    confusion_NCC: Int[ndarray, "n c c"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2"]:
    """Share of the samples that are called right, (R,); NaN for a resample of no sample."""
    weights_RN = np.ones((1, len(confusion_NCC))) if weights_RN is None else weights_RN.astype(np.float64)
    total_R = weights_RN @ confusion_NCC.sum(axis=(1, 2)).astype(np.float64)
    right_R = weights_RN @ np.trace(confusion_NCC, axis1=1, axis2=2).astype(np.float64)
    return np.where(total_R > 0, right_R / np.maximum(total_R, 1), np.nan)
