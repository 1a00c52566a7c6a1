"""Where the ECGs of an index come from, so that they can be drawn: stores, and files that are still where they were."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ecgjepa.data.readers import SUFFIXES
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


@dataclass(frozen=True)
class Archive:
    """Stores by the names of their records.

    Attributes:
        stores: folders of stores.
        rows: of each store, the row of every record's name.
        sources: of each store, the source of every row; None where it says none.
        names: what each store is called, for records that several have.
    """

    stores: tuple[Path, ...]
    rows: tuple[dict[str, int], ...]
    names: tuple[str, ...]
    sources: tuple[pa.ChunkedArray | None, ...]

    @classmethod
    def open(cls, stores: Sequence[Path]) -> "Archive":
        """Read the names of all records.

        Raises:
            StoreError: a folder is no store.
        """
        opened = [Store.open(path) for path in stores]
        rows = [{record: row for row, record in enumerate(store.column("record").to_pylist())} for store in opened]
        names = tuple(store.info["dataset"] for store in opened)
        sources = tuple(store.column("source") if store.has_column("source") else None for store in opened)
        return cls(tuple(stores), tuple(rows), names, sources)

    def locate(self, row: IndexRow) -> Entry | None:
        """What to read for a row of the index: what it was made of if that is still there, else a store's record.

        A record that several stores have is that of the row's source, and none if no store is called so. Neither a
        store that holds another record in this row by now nor one that says another source is taken.
        """
        path = Path(row.path)
        if row.store_row is not None and (path / DESCRIPTION).is_file() and _still_holds(row):
            return Entry(row.record, row.path, row.store_row)
        if row.store_row is None and path.name.lower().endswith(tuple(SUFFIXES)) and path.is_file():
            return Entry(row.record, row.path, row.file_row)
        found = [number for number, rows in enumerate(self.rows) if row.record in rows and self._may_be(number, row)]
        if len(found) > 1:
            found = [number for number in found if self.names[number] == row.source]
        if len(found) != 1:
            return None
        return Entry(row.record, str(self.stores[found[0]]), self.rows[found[0]][row.record])

    def _may_be(self, number: int, row: IndexRow) -> bool:
        """Whether the record of this name in a store may be that of the row."""
        sources = self.sources[number]
        said = None if sources is None else sources[self.rows[number][row.record]].as_py()
        return said is None or row.source is None or said == row.source

    def can_draw(self, rows: Sequence[IndexRow]) -> bool:
        """Whether any of some rows can be read."""
        return any(self.locate(row) is not None for row in rows)


def _still_holds(row: IndexRow) -> bool:
    """Whether a row's own store has the record where it was; of records of one name, which are called by their paths,
    only whether there is one."""
    assert row.store_row is not None, "asked of rows of stores only"
    names = _names_of(row.path)
    renamed = row.record.endswith(f"[{row.store_row}]")
    return row.store_row < len(names) and (renamed or names[row.store_row].as_py() == row.record)


@functools.lru_cache(maxsize=4)
def _names_of(store: str) -> pa.ChunkedArray:
    return Store.open(store).column("record")


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
        folder = f"{Path(entry.path).parent}/"  # where the operator keeps it is nobody's
        raise RefusedRecordError(row.record, found.reason, found.detail.replace(folder, ""))
    if row.window is None:
        return found
    if row.window >= len(found):
        expected = f"{len(found)} windows, expected one of number {row.window}"
        raise RefusedRecordError(row.record, "short", expected)
    return [found[row.window]]
