"""AUROC and F1 of many resamples at once.

A resample is a row of weights: how often each record was drawn. All functions take (R, N) weights and return one result
per resample; without weights R is 1 and every record counts once. Undefined values are NaN, left out of macro means.

Axes: R resamples, N records, K classes, M metrics.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from numpy import ndarray


def auroc(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 k"]:
    """Area under the ROC of each class (one-vs-rest), (R, K): how often a positive scores above a negative; ties half.

    NaN where a resample has no positive or no negative.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores_NK).any():
        raise ValueError(f"scores: {int(np.isnan(scores_NK).sum())} of {scores_NK.size} are NaN, expected numbers")
    weights_NR = _by_record(weights_RN, len(labels_NK))
    columns = [_auroc(labels_NK[:, k], scores_NK[:, k], weights_NR) for k in range(labels_NK.shape[1])]
    return np.stack(columns, axis=1)


def auroc_one_vs_one(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2"]:
    """Macro AUROC over all pairs of classes that are both there, (R,); one class per record (Hand and Till 2001)."""
    weights_NR = _by_record(weights_RN, len(labels_NK))
    class_N = labels_NK.argmax(axis=1)
    pairs = []
    for a in range(labels_NK.shape[1]):
        for b in range(a):
            rows = np.flatnonzero((class_N == a) | (class_N == b))
            is_a, weights = class_N[rows] == a, weights_NR[rows]
            auroc_a, auroc_b = _auroc(is_a, scores_NK[rows, a], weights), _auroc(~is_a, scores_NK[rows, b], weights)
            pairs.append((auroc_a + auroc_b) / 2)
    return macro(np.stack(pairs, axis=1))


def f1(
    labels_NK: Bool[ndarray, "n k"], predicted_NK: Bool[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 k"]:
    """F1 per class, (R, K); NaN where a resample has no positive, as recall is then undefined."""
    weights_RN = _by_record(weights_RN, len(labels_NK)).T
    hits_RK = weights_RN @ (labels_NK & predicted_NK).astype(np.float64)
    positives_RK = weights_RN @ labels_NK.astype(np.float64)
    called_RK = weights_RN @ predicted_NK.astype(np.float64)
    return np.where(positives_RK > 0, 2 * hits_RK / np.maximum(positives_RK + called_RK, 1), np.nan)


def macro(values_RK: Float64[ndarray, "r k"]) -> Float64[ndarray, "r"]:
    """Mean over the classes whose value is defined, (R,); NaN if none is."""
    defined = ~np.isnan(values_RK)
    total_R = np.where(defined, values_RK, 0.0).sum(axis=1)
    return np.where(defined.any(axis=1), total_R / np.maximum(defined.sum(axis=1), 1), np.nan)


def measure(
    labels_NK: Bool[ndarray, "n k"],
    probabilities_NK: Float[ndarray, "n k"],
    predicted_NK: Bool[ndarray, "n k"],
    one_vs_one: bool = False,
    weights_RN: Int[ndarray, "r n"] | None = None,
) -> Float64[ndarray, "r2 m k_and_macro"]:
    """AUROC, F1 and, if asked for, one-vs-one AUROC of one model, (R, M, K + 1); the last column is the macro mean.

    One-vs-one AUROC has no value per class.
    """
    metrics = [auroc(labels_NK, probabilities_NK, weights_RN), f1(labels_NK, predicted_NK, weights_RN)]
    table = [np.column_stack([values, macro(values)]) for values in metrics]
    if one_vs_one:
        per_class = np.full_like(metrics[0], np.nan)
        table.append(np.column_stack([per_class, auroc_one_vs_one(labels_NK, probabilities_NK, weights_RN)]))
    return np.stack(table, axis=1)


def best_f1_thresholds(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], default: float = 0.5
) -> Float64[ndarray, "k"]:
    """Per class the score at or above which calling a record positive gives the highest F1, (K,).

    Of several equally good ones the highest; `default` for a class without positives.
    """
    thresholds_K = np.full(labels_NK.shape[1], default)
    for k in np.flatnonzero(labels_NK.any(axis=0)):
        order = np.argsort(-scores_NK[:, k], kind="stable")
        scores_N, hits_N = scores_NK[order, k], np.cumsum(labels_NK[order, k])
        f1_N = 2 * hits_N / (np.arange(1, len(order) + 1) + hits_N[-1])
        last_of_tie_N = np.append(scores_N[1:] != scores_N[:-1], True)
        thresholds_K[k] = scores_N[np.argmax(np.where(last_of_tie_N, f1_N, -1.0))]
    return thresholds_K


def _by_record(weights_RN: ndarray | None, records: int) -> ndarray:
    if weights_RN is None:
        return np.ones((records, 1))
    return np.ascontiguousarray(weights_RN.T, dtype=np.float64)


def _auroc(labels_N: ndarray, scores_N: ndarray, weights_NR: ndarray) -> ndarray:
    """Mann-Whitney: the weight of the negatives below each positive, by a cumulative sum over the sorted negatives."""
    positives, negatives = np.flatnonzero(labels_N), np.flatnonzero(~labels_N)
    negatives = negatives[np.argsort(scores_N[negatives], kind="stable")]
    below_NR = np.zeros((len(negatives) + 1, weights_NR.shape[1]))
    np.cumsum(weights_NR[negatives], axis=0, out=below_NR[1:])
    first = np.searchsorted(scores_N[negatives], scores_N[positives], side="left")
    last = np.searchsorted(scores_N[negatives], scores_N[positives], side="right")
    weights_PR = weights_NR[positives]
    won_R = np.einsum("pr,pr->r", weights_PR, below_NR[first] + below_NR[last])
    pairs_R = 2 * weights_PR.sum(axis=0) * below_NR[-1]
    return np.where(pairs_R > 0, won_R / np.maximum(pairs_R, 1), np.nan)
