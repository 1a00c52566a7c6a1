"""How many cells a search must look into, measured on rows of the index itself.

Axes: R rows, Q queries, K neighbours, D width.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from ecgjepa.search.engine import Engine
from ecgjepa.search.exact import nearest_of, rank_candidates
from ecgjepa.search.metric import Metric

# Of the ten nearest rows, the part that must be found; above what is promised, 0.99, as it is measured on a sample.
WANTED_RECALL, NEIGHBOURS, QUERIES = 0.995, 10, 256
_FIRST, _FACTOR = 8, 1.5


class Tuned(NamedTuple):
    """The fewest probes that reach the recall, and the recall that they reach."""

    probes: int
    recall: float
    queries: int


def tune_probes(engine: Engine, vectors_RD: Float32[ndarray, "r d"], metric: Metric, seed: int) -> Tuned:
    """Compare with exact search on some rows; each is left out of its own neighbours.

    All cells are looked into if fewer do not reach the recall.
    """
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors_RD), min(QUERIES, len(vectors_RD)), replace=False))
    queries_QD = metric.directions(vectors_RD[rows])
    true_QK = _without_itself(nearest_of(vectors_RD, metric, queries_QD, None, NEIGHBOURS + 1).rows_QK, rows)
    probes = min(_FIRST, engine.cells)
    while True:
        candidates_QC = engine.candidates(queries_QD, NEIGHBOURS + 1, probes=probes)
        ranked = rank_candidates(vectors_RD, metric, queries_QD, candidates_QC, NEIGHBOURS + 1)
        recall = recall_of(_without_itself(ranked.rows_QK, rows), true_QK)
        if recall >= WANTED_RECALL or probes == engine.cells:
            return Tuned(probes, recall, len(rows))
        probes = min(engine.cells, round(_FACTOR * probes))


def recall_of(found_QK: Int64[ndarray, "q k"], true_QK: Int64[ndarray, "q k"]) -> float:
    """The part of the true neighbours that was found; -1 is no neighbour."""
    there_QK = true_QK >= 0
    hit_QK = (true_QK[:, :, None] == found_QK[:, None, :]).any(axis=2)
    return float(hit_QK[there_QK].mean()) if there_QK.any() else 1.0


def _without_itself(found_QK: ndarray, rows_Q: ndarray) -> ndarray:
    """One neighbour fewer: itself, or the last where itself was not found."""
    itself_QK = found_QK == rows_Q[:, None]
    itself_QK[~itself_QK.any(axis=1), -1] = True
    return found_QK[~itself_QK].reshape(len(found_QK), -1)
