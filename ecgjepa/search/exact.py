"""Nearest rows by comparing with all of them, or with those that may be found; and the exact order of candidates.

Axes: Q queries, R rows, N rows that are compared, C candidates, K neighbours, D width.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from ecgjepa.search.metric import Metric

# Rows that are standardised at once: 12 MB at a width of 768.
_AT_ONCE = 4096


class Ranked(NamedTuple):
    """Rows nearest first, -1 where there are no more; cosines to them, -inf there."""

    rows_QK: Int64[ndarray, "q k"]
    cosines_QK: Float32[ndarray, "q k"]


def nearest_of(
    vectors_RD: Float32[ndarray, "r d"],
    metric: Metric,
    queries_QD: Float32[ndarray, "q d"],
    rows_N: Int64[ndarray, "n"] | None,
    k: int,
) -> Ranked:
    """The K nearest of some rows, of all if None.

    Args:
        vectors_RD: embeddings as in their table.
        queries_QD: directions, see `Metric.directions`.
    """
    best = none_ranked(len(queries_QD), k)
    for start in range(0, len(vectors_RD) if rows_N is None else len(rows_N), _AT_ONCE):
        piece = slice(start, start + _AT_ONCE)
        rows = np.arange(len(vectors_RD))[piece] if rows_N is None else rows_N[piece]
        embeddings_ND = vectors_RD[piece] if rows_N is None else vectors_RD[rows]
        cosines_QN = queries_QD @ metric.directions(embeddings_ND).T
        found = np.broadcast_to(rows, cosines_QN.shape)
        best = sort_ranked(np.hstack([best.rows_QK, found]), np.hstack([best.cosines_QK, cosines_QN]), k)
    return best


def rank_candidates(
    vectors_RD: Float32[ndarray, "r d"],
    metric: Metric,
    queries_QD: Float32[ndarray, "q d"],
    candidates_QC: Int64[ndarray, "q c"],
    k: int,
) -> Ranked:
    """The K nearest of each query's own candidates (-1: none)."""
    cosines_QC = np.full(candidates_QC.shape, -np.inf, dtype=np.float32)
    for query_D, candidates_C, cosines_C in zip(queries_QD, candidates_QC, cosines_QC, strict=True):
        there_C = candidates_C >= 0
        cosines_C[there_C] = metric.directions(vectors_RD[candidates_C[there_C]]) @ query_D
    return sort_ranked(candidates_QC, cosines_QC, k)


def none_ranked(queries: int, k: int) -> Ranked:
    """No rows."""
    return Ranked(np.full((queries, k), -1, np.int64), np.full((queries, k), -np.inf, np.float32))


def sort_ranked(rows_QN: Int64[ndarray, "q n"], cosines_QN: Float32[ndarray, "q n"], k: int) -> Ranked:
    """The K best of them; of equals the lower row first."""
    if rows_QN.shape[1] > k:
        keep_QK = np.argpartition(-cosines_QN, k - 1, axis=1)[:, :k]
        rows_QN, cosines_QN = (np.take_along_axis(each, keep_QK, axis=1) for each in (rows_QN, cosines_QN))
    order_QK = np.lexsort((rows_QN, -cosines_QN), axis=1)
    rows_QK, cosines_QK = (np.take_along_axis(each, order_QK, axis=1) for each in (rows_QN, cosines_QN))
    missing = k - rows_QK.shape[1]
    if missing <= 0:
        return Ranked(rows_QK, cosines_QK)
    beside = ((0, 0), (0, missing))
    return Ranked(np.pad(rows_QK, beside, constant_values=-1), np.pad(cosines_QK, beside, constant_values=-np.inf))
