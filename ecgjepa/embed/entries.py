"""The ECGs that were pointed at, one entry each, as columns."""

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy import ndarray

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.listings.listing import printable as printable  # for the tables of embeddings

# Of the list of entries without an embedding, beside the table of embeddings.
FAILED_SUFFIX = ".failed.csv"
# Entries that are objects at once.
PIECE = 4096


class InputError(ValueError):
    """A path that leads to no ECG; the message says what was looked for."""


@dataclass(frozen=True)
class Entry:
    """One ECG to read.

    Attributes:
        record: what it is called; unique among the inputs.
        path: its file, or the store that holds it.
        row: row of a file or store that holds many, else None.
        hints: what the file does not say about itself.
    """

    record: str
    path: str
    row: int | None = None
    hints: Hints = NO_HINTS


class Entries(Sequence[Entry]):
    """Entries in columns: ten million of them are names and paths, not ten million objects."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        rows = np.array([], dtype=np.int64)
        hints: dict[Hints, int] = {}
        pieces: list[tuple[pa.Array, pa.Array, ndarray, ndarray]] = []
        entries = iter(entries)
        while some := list(itertools.islice(entries, PIECE)):
            numbers = [hints.setdefault(entry.hints, len(hints)) for entry in some]
            rows = np.array([-1 if entry.row is None else entry.row for entry in some])
            names, paths = (
                pa.array([os.fsencode(getattr(entry, name)) for entry in some], pa.binary())
                for name in ("record", "path")  # a name on disk need not be text
            )
            pieces.append((names, paths, rows, np.array(numbers, dtype=np.int32)))
        self._records, self._paths = (pa.chunked_array([piece[k] for piece in pieces], pa.binary()) for k in (0, 1))
        self._rows, self._hint_numbers = (np.concatenate([piece[k] for piece in pieces] or [rows]) for k in (2, 3))
        self._hints = list(hints)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        row = int(self._rows[place])
        hints = self._hints[self._hint_numbers[place]]
        place %= len(self)
        record, path = (os.fsdecode(column[place].as_py()) for column in (self._records, self._paths))
        return Entry(record, path, None if row < 0 else row, hints)

    def with_unique_names(self) -> "Entries":
        """The same, those of one name called by their whole path.

        Raises:
            InputError: one ECG is there twice.
        """
        twice = _values_there_twice(self._records)
        if not twice:
            return self
        named = Entries(
            replace(each, record=each.path + (f"[{each.row}]" if each.row is not None else ""))
            if each.record in twice
            else each
            for each in self
        )
        if still := _values_there_twice(named._records):
            raise InputError(f"named twice among the inputs: {', '.join(sorted(still)[:3])}")
        return named


def _values_there_twice(values: pa.ChunkedArray) -> set[str]:
    if pc.count_distinct(values).as_py() == len(values):
        return set()
    return {os.fsdecode(each["values"]) for each in pc.value_counts(values).to_pylist() if each["counts"] > 1}
