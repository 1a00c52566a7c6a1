"""Which training records a label fraction takes: an order of all of them, of which every beginning is balanced.

The order is drawn once for a seed, and a fraction takes its beginning, so that 1 % of the records lies within 10 %.

Records are stratified by their sets of labels, and the rarest label decides first, as in iterative stratification
(Sechidis, Tsoumakas, Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011): records are grouped by
their rarest label, each group is ordered in the same way by the labels that are left, and the groups are merged so that
every beginning has of each its share. One record of every class comes first. Patients are not kept together: a fraction
is a part of the training records, which are apart from validation and test already.

Axes: N training records, K classes, M members of a group.
"""

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

# Numbers to predict are stratified by as many bins of equal count.
QUANTILE_BINS = 10


def draw_order(labels_NK: Bool[ndarray, "n k"], seed: int) -> Int64[ndarray, "n"]:
    """A balanced order of records: positions, each once.

    A beginning has of every group of equal labels its share, up to one record at each merge. The first records are one
    of every class that is there. Without classes (K = 0) the order is random.
    """
    rng = np.random.default_rng([seed, 1])
    rank_K = np.argsort(np.argsort(labels_NK.sum(axis=0), kind="stable"), kind="stable")
    sets = [tuple(sorted(rank_K[there].tolist())) for there in labels_NK]
    order_N = _merged(rng, rng.permutation(len(labels_NK)), sets, 0)
    first = _one_of_every_class(labels_NK[order_N])
    return np.concatenate([order_N[first], np.delete(order_N, first)])


def quantile_bins(values_N: Float[ndarray, "n"]) -> Bool[ndarray, "n bins"]:
    """Numbers as classes: bins of about equal count, equal values in one; bins that stay empty are left out."""
    ranks_N = np.searchsorted(np.sort(values_N), values_N)
    bins_N = ranks_N * QUANTILE_BINS // max(len(values_N), 1)
    return bins_N[:, None] == np.unique(bins_N)


def _merged(rng: np.random.Generator, members_M: ndarray, sets: list[tuple[int, ...]], depth: int) -> ndarray:
    """Members that share their `depth` rarest labels, in a balanced order."""
    groups: dict[int, list[int]] = {}
    for member in members_M.tolist():
        labels = sets[member]
        groups.setdefault(labels[depth] if depth < len(labels) else -1, []).append(member)
    ordered, place = [], []
    for label in sorted(groups):
        group_M = np.array(groups[label], dtype=np.int64)
        ordered.append(group_M if label < 0 else _merged(rng, group_M, sets, depth + 1))
        # Places evenly apart from 0 to 1; where they begin is chance, so that no group is always first.
        place.append((np.arange(len(group_M)) + rng.random()) / len(group_M))
    if not ordered:
        return members_M
    return np.concatenate(ordered)[np.argsort(np.concatenate(place), kind="stable")]


def _one_of_every_class(labels_NK: ndarray) -> ndarray:
    """Places of the first records that have every class which is there, the rarest looked for first; rising."""
    chosen: list[int] = []
    for k in np.argsort(labels_NK.sum(axis=0), kind="stable"):
        having = np.flatnonzero(labels_NK[:, k])
        if len(having) and not labels_NK[chosen, k].any():
            chosen.append(int(having[0]))
    return np.sort(np.array(chosen, dtype=np.int64))
