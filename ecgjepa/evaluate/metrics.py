"""Scores of many resamples at once.

A resample is a row of weights: how often each record was drawn. All functions take (R, N) weights and return one result
per resample; without weights R is 1 and every record counts once. Undefined values are NaN, left out of macro means.

Axes: R resamples, N records, K classes, M metrics.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int
from numpy import ndarray

from ecgjepa.evaluate.ranking import SPECIFICITY, by_record, rank, rank_classes


def auroc(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 k"]:
    """Area under the ROC of each class (one-vs-rest), (R, K): how often a positive scores above a negative; ties half.

    NaN where a resample has no positive or no negative.

    Raises:
        ValueError: a score is NaN.
    """
    _check(scores_NK)
    weights_NR = by_record(weights_RN, len(labels_NK))
    ranked_K = rank_classes(labels_NK, scores_NK)
    return np.stack([ranked.auroc(weights_NR) for ranked in ranked_K], axis=1)


def ranking_metrics(
    labels_NK: Bool[ndarray, "n k"],
    scores_NK: Float[ndarray, "n k"],
    weights_RN: Int[ndarray, "r n"] | None = None,
    specificity: float = SPECIFICITY,
) -> Float64[ndarray, "r2 3 k"]:
    """AUROC, average precision and sensitivity at a specificity of each class, (R, 3, K), in one pass.

    Average precision is that of scikit-learn: the sum over thresholds of the step in recall times the precision there.
    The sensitivity is the largest of any threshold whose specificity is at least the given one. NaN without positives;
    AUROC and sensitivity also without negatives.

    Raises:
        ValueError: a score is NaN.
    """
    _check(scores_NK)
    weights_NR = by_record(weights_RN, len(labels_NK))
    ranked_K = rank_classes(labels_NK, scores_NK)
    return np.stack([ranked.measure(weights_NR, specificity) for ranked in ranked_K], axis=-1).transpose(1, 0, 2)


def auroc_one_vs_one(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2"]:
    """Macro AUROC over all pairs of classes that are both there, (R,); one class per record (Hand and Till 2001)."""
    return macro(auroc_of_pairs(labels_NK, scores_NK, weights_RN)[0])


def auroc_of_pairs(
    labels_NK: Bool[ndarray, "n k"], scores_NK: Float[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> tuple[Float64[ndarray, "r2 pairs"], list[tuple[int, int]]]:
    """AUROC of every pair of classes among the records of the two, (R, pairs), and which pairs; one class per record.

    The mean of two: how well the score of each class tells its records from those of the other.
    """
    weights_NR = by_record(weights_RN, len(labels_NK))
    records_K = [np.flatnonzero(labels_N) for labels_N in labels_NK.T]
    pairs = [(a, b) for a in range(labels_NK.shape[1]) for b in range(a)]
    values = np.empty((weights_NR.shape[1], len(pairs)))
    for place, (a, b) in enumerate(pairs):
        of_a = rank(records_K[a], records_K[b], scores_NK[:, a]).auroc(weights_NR)
        of_b = rank(records_K[b], records_K[a], scores_NK[:, b]).auroc(weights_NR)
        values[:, place] = (of_a + of_b) / 2
    return values, pairs


def f1(
    labels_NK: Bool[ndarray, "n k"], predicted_NK: Bool[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 k"]:
    """F1 per class, (R, K); NaN where a resample has no positive, as recall is then undefined."""
    return f1_of(f1_parts(labels_NK, predicted_NK), by_record(weights_RN, len(labels_NK)))


def f1_parts(labels_NK: Bool[ndarray, "n k"], predicted_NK: Bool[ndarray, "n k"]) -> Float32[ndarray, "n parts"]:
    """What F1 is made of, for each record: hits of every class, then its positives, then what is called, (N, 3 K)."""
    return np.concatenate([labels_NK & predicted_NK, labels_NK, predicted_NK], axis=1).astype(np.float32)


def f1_of(parts: Float32[ndarray, "n parts"], weights_NR: Float[ndarray, "n r"]) -> Float64[ndarray, "r k"]:
    """F1 per class, (R, K), from `f1_parts`."""
    hits_RK, positives_RK, called_RK = np.split((weights_NR.T @ parts).astype(np.float64), 3, axis=1)
    return np.where(positives_RK > 0, 2 * hits_RK / np.maximum(positives_RK + called_RK, 1), np.nan)


def accuracy(
    labels_NK: Bool[ndarray, "n k"], predicted_NK: Bool[ndarray, "n k"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2"]:
    """Share of the records whose class is called, (R,); one class per record. NaN for a resample of no record."""
    weights_NR = by_record(weights_RN, len(labels_NK))
    total_R = weights_NR.sum(axis=0, dtype=np.float64)
    right_R = (labels_NK & predicted_NK).any(axis=1).astype(weights_NR.dtype) @ weights_NR
    return np.where(total_R > 0, right_R / np.maximum(total_R, 1), np.nan)


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


def _check(scores_NK: ndarray) -> None:
    if np.isnan(scores_NK).any():
        raise ValueError(f"scores: {int(np.isnan(scores_NK).sum())} of {scores_NK.size} are NaN, expected numbers")
