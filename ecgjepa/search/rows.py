"""What is known of every row of an index: a table in the order of the vectors.

Axes: R rows, T labels of all rows one after the other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Bool, Int, Int64
from numpy import ndarray

from ecgjepa.search.description import IndexFolderError
from ecgjepa.search.filters import Filters, QuestionError

SCHEMA = pa.schema(
    [
        ("record", pa.string()),
        ("path", pa.string()),
        ("store_row", pa.int64()),
        ("file_row", pa.int64()),
        ("window", pa.int32()),
        ("start_s", pa.float64()),
        ("labels", pa.list_(pa.string())),
        ("age", pa.float32()),
        ("sex", pa.string()),
        ("source", pa.string()),
    ]
)
# Filters whose rows are kept at hand: a page asks for the same ones again and again.
_FILTERS_KEPT = 16
# Names that a message lists, in place of hundreds of labels.
_NAMED = 12


@dataclass(frozen=True)
class IndexRow:
    """One row of an index.

    Attributes:
        row: its number.
        record, window, start_s: as in the table of embeddings.
        path: the store's folder if `store_row` is given, else as in the table of embeddings.
        store_row: its row in that store.
        file_row: its row in the file at `path`, where that is a file of many ECGs.
        labels, age, sex, source: empty or None where nothing is known; age in years.
    """

    row: int
    record: str
    path: str
    store_row: int | None
    file_row: int | None
    window: int | None
    start_s: float | None
    labels: tuple[str, ...]
    age: float | None
    sex: str | None
    source: str | None


@dataclass(frozen=True)
class Coded:
    """A column of words: a code of every value into their names, -1 where there is none."""

    names: list[str]
    codes: Int[ndarray, "values"]

    @classmethod
    def of(cls, column: pa.ChunkedArray | pa.Array) -> "Coded":
        """Names in alphabetical order."""
        words = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        coded = words.dictionary_encode()
        found = [str(name) for name in coded.dictionary.to_pylist()]
        rank = np.argsort(np.argsort(np.array(found, dtype=object))) if found else np.empty(0, np.int64)
        codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        there = codes >= 0
        codes[there] = rank[codes[there]]
        return cls(sorted(found), codes)

    def are(self, wanted: Iterable[str], what: str) -> Bool[ndarray, "values"]:
        """True where the value is one of some names.

        Raises:
            ValueError: there is no value of that name.
        """
        places = {name: code for code, name in enumerate(self.names)}
        if unknown := [name for name in wanted if name not in places]:
            some = ", ".join(self.names[:_NAMED]) + (", ..." if len(self.names) > _NAMED else "")
            raise QuestionError(
                f"{what} {unknown[0]!r} is not in the index, expected one of: {some or '(it has none)'}"
            )
        chosen = np.zeros(len(self.names) + 1, dtype=bool)  # the last is the -1
        chosen[[places[name] for name in wanted]] = True
        return chosen[self.codes]


def check_rows(rows: Sequence[int] | Int[ndarray, "n"], count: int) -> Int64[ndarray, "n"]:
    """Numbers of rows as an array.

    Raises:
        IndexError: there is no such row.
    """
    wanted = np.asarray(rows, dtype=np.int64)
    if wrong := wanted[(wanted < 0) | (wanted >= count)].tolist():
        raise IndexError(f"row {wrong[0]} of an index of {count} rows")
    return wanted


class RowTable:
    """The rows of an index in memory; safe to share between threads.

    Raises:
        IndexFolderError: the file is no such table.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._table = pq.read_table(file, schema=SCHEMA).combine_chunks()
        except pa.ArrowException as error:
            raise IndexFolderError(f"{file} is no table of rows: {error}") from error
        self._passing = lru_cache(_FILTERS_KEPT)(self._which_pass)

    def __len__(self) -> int:
        return len(self._table)

    def take(self, rows: Sequence[int] | Int[ndarray, "n"]) -> list[IndexRow]:
        """Some rows, in the order asked for.

        Raises:
            IndexError: there is no such row.
        """
        wanted = check_rows(rows, len(self))
        found = self._table.take(pa.array(wanted)).to_pylist()
        return [
            IndexRow(row=row, **{**each, "labels": tuple(each["labels"] or ())})
            for row, each in zip(wanted.tolist(), found, strict=True)
        ]

    @cached_property
    def age(self) -> ndarray:
        """(R,) float32 years, NaN where it is not known."""
        return self._column("age").to_numpy(zero_copy_only=False)

    @cached_property
    def sex(self) -> Coded:
        """(R,) codes."""
        return Coded.of(self._column("sex"))

    @cached_property
    def source(self) -> Coded:
        """(R,) codes."""
        return Coded.of(self._column("source"))

    @cached_property
    def label(self) -> Coded:
        """(T,) codes of the labels of all rows, one row after the other; see `label_row` and `first_label`."""
        return Coded.of(self._column("labels").flatten())

    @cached_property
    def label_row(self) -> Int[ndarray, "labels"]:
        """(T,) the row of each of these labels."""
        lengths = pc.list_value_length(self._column("labels")).fill_null(0).to_numpy(zero_copy_only=False)
        return np.repeat(np.arange(len(self)), lengths)

    def passing(self, filters: Filters) -> Bool[ndarray, "rows"]:
        """True for the rows that pass; not to be written to.

        Raises:
            ValueError: a label, sex or source that no row has.
        """
        return self._passing(filters)

    def _which_pass(self, filters: Filters) -> ndarray:
        passes_R = np.ones(len(self), dtype=bool)
        if filters.labels:
            passes_R[:] = False
            passes_R[self.label_row[self.label.are(filters.labels, "label")]] = True
        if filters.sexes:
            passes_R &= self.sex.are(filters.sexes, "sex")
        if filters.sources:
            passes_R &= self.source.are(filters.sources, "source")
        if filters.age_min is not None:
            passes_R &= self.age >= filters.age_min  # not where it is NaN
        if filters.age_max is not None:
            passes_R &= self.age <= filters.age_max
        passes_R.setflags(write=False)
        return passes_R

    def named(self, text: str) -> ndarray:
        """(R,) True where the record's name contains a text, in upper or lower case."""
        return pc.match_substring(self._column("record"), text, ignore_case=True).to_numpy(zero_copy_only=False)

    def _column(self, name: str) -> pa.Array:
        column = self._table.column(name)
        return column.chunk(0) if column.num_chunks else pa.array([], column.type)
