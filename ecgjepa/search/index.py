"""An index, opened for searching: which rows are nearest, what is known of them, where they are on the map.

Axes: Q queries, K neighbours, C candidates, R rows, D width, V vertices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Int64
from numpy import ndarray
from safetensors import SafetensorError

from ecgjepa.search.description import MAP, METRIC_FILE, RECORDS, VECTORS, IndexFolderError, read_description
from ecgjepa.search.embeddings import map_array
from ecgjepa.search.engine import Engine
from ecgjepa.search.exact import Ranked, nearest_of, rank_candidates
from ecgjepa.search.filters import NO_FILTERS, Filters, QuestionError
from ecgjepa.search.groups import (
    Colours,
    GroupDescription,
    colour_rows,
    count_labels,
    describe_rows,
    inside_polygon,
)
from ecgjepa.search.metric import Metric
from ecgjepa.search.rows import IndexRow, RowTable, check_rows

MAX_NEIGHBOURS = 1000
# Numbers (rows times width) that are compared one by one sooner than by the engine: some 10 ms.
EXACT_VALUES = 5_000_000
# Rows that are left out of what was found; more of them are a filter.
FEW_LEFT_OUT = 100


@dataclass(frozen=True)
class Neighbours:
    """Nearest rows of each query, nearest first.

    Attributes:
        rows_QK: -1 where fewer than K rows may be found.
        distances_QK: one minus the cosine, 0 to 2, by the index's metric; NaN where there is no row.
    """

    rows_QK: Int64[ndarray, "q k"]
    distances_QK: Float32[ndarray, "q k"]


class SearchIndex:
    """An index folder, opened for reading; threads may share it.

    Attributes:
        folder: where it is.
        info: what `index.json` says.
        width, weights_sha256, contract: of the encoder that embedded its rows.
        layer: of the encoder that the embeddings are taken from; None for its output.
        metric: name of the distance.
        level: levels of the labels, joined by a comma where those of stores differ; None without a store.
        places_R2: float32 places on the map; None if none was made.
    """

    def __init__(self, folder: Path, info: dict[str, Any]) -> None:
        self.folder, self.info = folder, info
        self.width: int = info["width"]
        self.weights_sha256: str = info["weights_sha256"]
        self.contract: dict[str, Any] = info["contract"]
        self.layer: int | None = info["embedding"]["options"].get("layer")
        self.metric: str = info["metric"]
        self.level: str | None = ", ".join(dict.fromkeys(filter(None, info["levels"].values()))) or None
        try:
            self._metric = Metric.load(folder / METRIC_FILE)
        except (SafetensorError, KeyError) as error:
            raise IndexFolderError(f"{folder / METRIC_FILE}: {error}") from error
        if {self._metric.mean_D.shape, self._metric.scale_D.shape} != {(self.width,)}:
            raise IndexFolderError(f"{folder / METRIC_FILE}: of another width than the index, which has {self.width}")
        self._vectors_RD = map_array(folder / VECTORS, (info["rows"], self.width))
        self.places_R2: ndarray | None = None if info["map"] is None else map_array(folder / MAP, (info["rows"], 2))
        about = info["engine"]
        self._engine = None if about is None else Engine.open(folder, about, info["rows"])
        self._rows = RowTable(folder / RECORDS)
        if len(self._rows) != len(self):
            raise IndexFolderError(f"{folder / RECORDS}: {len(self._rows)} rows, expected {len(self)}")

    @classmethod
    def open(cls, folder: Path | str) -> "SearchIndex":
        """Open an index; vectors and engine stay on disk and are read where they lie.

        Raises:
            IndexFolderError: the folder is not a whole index.
        """
        return cls(Path(folder), read_description(Path(folder)))

    def __len__(self) -> int:
        return self.info["rows"]

    def nearest(
        self,
        queries_QD: Float32[ndarray, "q d"],
        k: int,
        *,
        filters: Filters = NO_FILTERS,
        leave_out: Sequence[int] = (),
    ) -> Neighbours:
        """The K nearest rows of each embedding.

        Args:
            queries_QD: embeddings of the same encoder.
            filters: which rows may be found.
            leave_out: rows that may not, such as the query itself.

        Raises:
            ValueError: another width, an embedding that is not finite, K out of range, or a filter by what no row has.
            IndexError: no such row to leave out.
        """
        directions_QD = self._directions(queries_QD)
        if not 0 <= k <= MAX_NEIGHBOURS:
            raise QuestionError(f"k: found {k}, expected 0 to {MAX_NEIGHBOURS}")
        left_out = np.unique(check_rows(leave_out, len(self)))
        allowed_R = None if filters == NO_FILTERS else self._rows.passing(filters)
        if self._engine is None or allowed_R is not None or len(left_out) > FEW_LEFT_OUT:
            allowed_R = np.ones(len(self), dtype=bool) if allowed_R is None else allowed_R.copy()
            allowed_R[left_out] = False
            left_out = left_out[:0]
        ranked = self._ranked(directions_QD, k, allowed_R, left_out)
        distances_QK = np.where(ranked.rows_QK < 0, np.float32(np.nan), np.maximum(0, 1 - ranked.cosines_QK))
        return Neighbours(ranked.rows_QK, distances_QK)

    def _ranked(
        self, directions_QD: ndarray, k: int, allowed_R: ndarray | None, left_out: Int64[ndarray, "n"]
    ) -> Ranked:
        """Exact where few rows are allowed, else of the engine's candidates; a few rows are left out afterwards."""
        count = len(self) if allowed_R is None else int(allowed_R.sum())
        if self._engine is None or count * self.width <= EXACT_VALUES:
            rows = None if allowed_R is None or count == len(self) else np.flatnonzero(allowed_R)
            return nearest_of(self._vectors_RD, self._metric, directions_QD, rows, k)
        candidates_QC = self._engine.candidates(directions_QD, k + len(left_out), allowed_R)
        candidates_QC[np.isin(candidates_QC, left_out)] = -1
        return rank_candidates(self._vectors_RD, self._metric, directions_QD, candidates_QC, k)

    def _directions(self, queries_QD: ndarray) -> Float32[ndarray, "q d"]:
        if queries_QD.ndim != 2 or queries_QD.shape[1] != self.width:
            raise QuestionError(f"queries: shape {queries_QD.shape}, expected (queries, {self.width})")
        if not np.isfinite(queries_QD).all():
            raise QuestionError("queries: an embedding is not finite")
        return self._metric.directions(queries_QD.astype(np.float32, copy=False))

    def embeddings(self, rows: Sequence[int] | Int[ndarray, "n"]) -> Float32[ndarray, "n d"]:
        """Embeddings of some rows, as they are in their table.

        Raises:
            IndexError: there is no such row.
        """
        return np.array(self._vectors_RD[check_rows(rows, len(self))])

    def records(self, rows: Sequence[int] | Int[ndarray, "n"]) -> list[IndexRow]:
        """What is known of some rows, in the order asked for.

        Raises:
            IndexError: there is no such row.
        """
        return self._rows.take(rows)

    def find(
        self, text: str = "", filters: Filters = NO_FILTERS, offset: int = 0, limit: int = 50
    ) -> tuple[list[int], int]:
        """Rows whose record's name contains a text, in upper or lower case: some of them, and how many there are.

        Raises:
            ValueError: a filter by what no row has.
        """
        passes_R = self._rows.passing(filters)
        found = np.flatnonzero(passes_R & self._rows.named(text) if text else passes_R)
        return found[offset : offset + limit].tolist(), len(found)

    def place_of(self, neighbours: Neighbours) -> Float32[ndarray, "q 2"]:
        """A place on the map for each query: the mean of its neighbours'; NaN without any.

        Raises:
            ValueError: the index has no map.
        """
        places_R2 = self._map()
        there_QK = neighbours.rows_QK >= 0
        places_QK2 = np.where(there_QK[..., None], places_R2[neighbours.rows_QK], 0)
        count_Q = there_QK.sum(axis=1, keepdims=True)
        none = np.full((len(there_QK), 2), np.nan)
        return np.divide(places_QK2.sum(axis=1), count_Q, out=none, where=count_Q > 0).astype(np.float32)

    def inside(self, polygon_V2: Float[ndarray, "v 2"]) -> Int64[ndarray, "n"]:
        """Rows whose place lies in a polygon on the map.

        Raises:
            ValueError: fewer than three corners, one that is not finite, or the index has no map.
        """
        return inside_polygon(self._map(), polygon_V2)

    def describe(self, rows: Sequence[int] | Int[ndarray, "n"]) -> GroupDescription:
        """Labels, sexes, sources and ages of a group.

        Raises:
            IndexError: there is no such row.
        """
        return describe_rows(self._rows, rows)

    def colours(self, by: str) -> Colours:
        """What the points of the map are coloured by: `label` (the first of each row), `age`, `sex` or `source`.

        Raises:
            ValueError: anything else.
        """
        return colour_rows(self._rows, by)

    @cached_property
    def label_counts(self) -> list[tuple[str, int]]:
        """All labels with the number of their rows, most frequent first."""
        return [(each.label, each.count) for each in count_labels(self._rows, np.ones(len(self), dtype=bool))]

    @property
    def sexes(self) -> list[str]:
        """Those that occur."""
        return self._rows.sex.names

    @property
    def sources(self) -> list[str]:
        """Data sets that occur."""
        return self._rows.source.names

    def _map(self) -> ndarray:
        if self.places_R2 is None:
            raise QuestionError(f"index {self.folder} has no map; it was made with --no-map")
        return self.places_R2
