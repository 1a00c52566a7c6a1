"""Where the ECGs of an index come from, so that they can be drawn: stores, and files that are still where they were."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgjepa.data.readers import MANY_SUFFIXES, SUFFIXES
from ecgjepa.data.store import DESCRIPTION, Store
from ecgjepa.embed.entries import Entry
from ecgjepa.embed.reading import ReadingJob, Refusal, read_windows
from ecgjepa.errors import RefusedRecordError
from ecgjepa.patches import Windows
from ecgjepa.search import IndexRow
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window

# Rows that are looked at to say whether an index can be drawn.
LOOKED_AT = 16
# What `embed` calls a record of a file that holds many.
_ROW = re.compile(r"\[(\d+)\]$")


@dataclass(frozen=True)
class Archive:
    """Stores by the names of their records.

    Attributes:
        stores: folders of stores.
        rows: of each store, the row of every record's name.
        names: what each store is called, for records that several have.
    """

    stores: tuple[Path, ...]
    rows: tuple[dict[str, int], ...]
    names: tuple[str, ...]

    @classmethod
    def open(cls, stores: Sequence[Path]) -> "Archive":
        """Read the names of all records.

        Raises:
            StoreError: a folder is no store.
        """
        opened = [Store.open(path) for path in stores]
        rows = [{record: row for row, record in enumerate(store.column("record").to_pylist())} for store in opened]
        return cls(tuple(stores), tuple(rows), tuple(store.info["dataset"] for store in opened))

    def locate(self, row: IndexRow) -> Entry | None:
        """What to read for a row of the index: what it was made of if that is still there, else a store's record.

        A record that several stores have is that of the row's source, and none if no store is called so.
        """
        path = Path(row.path)
        if row.store_row is not None and (path / DESCRIPTION).is_file():
            return Entry(row.record, row.path, row.store_row)
        if row.store_row is None and path.name.lower().endswith(tuple(SUFFIXES)) and path.is_file():
            named = _ROW.search(row.record) if path.name.lower().endswith(tuple(MANY_SUFFIXES)) else None
            return Entry(row.record, row.path, None if named is None else int(named[1]))
        found = [number for number, rows in enumerate(self.rows) if row.record in rows]
        if len(found) > 1:
            found = [number for number in found if self.names[number] == row.source]
        if len(found) != 1:
            return None
        return Entry(row.record, str(self.stores[found[0]]), self.rows[found[0]][row.record])

    def can_draw(self, rows: Sequence[IndexRow]) -> bool:
        """Whether any of some rows can be read."""
        return any(self.locate(row) is not None for row in rows)


def rows_to_look_at(count: int) -> list[int]:
    """Some rows from all over an index of so many."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(LOOKED_AT, count)).astype(int)).tolist()


def read_row(entry: Entry, row: IndexRow, contract: SignalContract, patch_samples: int) -> list[Window]:
    """The window that a row of the index is of, or all windows where the row is the mean of a recording.

    Raises:
        RefusedRecordError: the ECG cannot be read any more, or has no such window.
    """
    windows: Windows = "all" if row.window is None or row.window > 0 else "first"
    found = read_windows(entry, ReadingJob(contract, patch_samples, windows))
    if isinstance(found, Refusal):
        raise RefusedRecordError(row.record, found.reason, found.detail)
    if row.window is None:
        return found
    if row.window >= len(found):
        expected = f"{len(found)} windows, expected one of number {row.window}"
        raise RefusedRecordError(row.record, "short", expected)
    return [found[row.window]]
