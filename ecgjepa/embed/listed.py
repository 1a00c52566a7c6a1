"""The entries of a table in a file, a record batch for each run: what processes and nodes read instead of being sent.

OUT.parts/entries.arrow
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from ecgjepa.data.listings.listing import FIELDS, hints_of
from ecgjepa.embed.entries import Entries, Entry
from ecgjepa.files import atomic_path

LISTING = "entries.arrow"
_HINTS = ("sampling_rate_hz", "leads", "unit", "gain_per_mv")
# Names and paths as bytes: a name on disk need not be text.
_SCHEMA = pa.schema(
    [("record", pa.binary()), ("path", pa.binary()), ("row", pa.int64()), *((name, FIELDS[name]) for name in _HINTS)]
)


def write_entries(path: Path, entries: Entries, size: int) -> None:
    """Write runs of `size` entries, the last perhaps smaller."""
    with (
        atomic_path(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, _SCHEMA) as writer,
    ):
        for start in range(0, len(entries), size):
            writer.write_batch(_to_batch(entries[start : start + size]))


def _to_batch(entries: Iterable[Entry]) -> pa.RecordBatch:
    rows = [
        {"record": os.fsencode(entry.record), "path": os.fsencode(entry.path), "row": entry.row}
        | {name: getattr(entry.hints, name) for name in _HINTS}
        for entry in entries
    ]
    return pa.RecordBatch.from_pylist(rows, _SCHEMA)


class ListedEntries:
    """Runs of entries by number, read from the file when they are asked for; crosses process borders as its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: pa.ipc.RecordBatchFileReader | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return ListedEntries, (self.path,)

    @property
    def _batches(self) -> pa.ipc.RecordBatchFileReader:
        if self._file is None:
            self._file = pa.ipc.open_file(pa.memory_map(str(self.path)))
        return self._file

    @property
    def runs(self) -> int:
        """How many there are."""
        return self._batches.num_record_batches

    def length(self, run: int) -> int:
        """Entries of a run."""
        return self._batches.get_batch(run).num_rows

    def take(self, run: int, start: int = 0, count: int | None = None) -> list[Entry]:
        """Entries of a run; all, or `count` of them from the place `start` on, as far as there are."""
        batch = self._batches.get_batch(run)
        rows = batch.slice(min(start, batch.num_rows), count).to_pylist()
        return [Entry(os.fsdecode(row["record"]), os.fsdecode(row["path"]), row["row"], hints_of(row)) for row in rows]
