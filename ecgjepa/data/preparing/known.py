"""What a store knows already of a listing: which records are new, which files have changed since or are gone."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import UInt64
from numpy import ndarray

from ecgjepa.data.listings.listing import PIECE, name_hashes
from ecgjepa.data.store import REFUSED, Store
from ecgjepa.files import atomic_path

STALE = "stale.csv"


class Known:
    """The records of a store, kept and refused: 25 bytes for each.

    Attributes:
        changed: kept records whose files are others now, once `take_new` has seen them.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        refused = list(_refused(store.path / REFUSED))
        hashes = [name_hashes(store.column("record")), *(names for names, _ in refused)]
        states = [store.column("file_state").to_numpy(), *(states for _, states in refused)]
        order = np.argsort(np.concatenate(hashes), kind="stable")
        self._hashes, self._states = np.concatenate(hashes)[order], np.concatenate(states)[order]
        self._row = np.where(order < len(store), order, -1)  # -1: refused
        self._seen = np.zeros(len(order), bool)
        self.changed = pa.chunked_array([], pa.string())

    def take_new(self, piece: pa.Table) -> pa.Table:
        """The rows of a piece to prepare: unknown ones, and refused ones whose files are there and others now."""
        if not len(self._hashes):
            return piece
        hashes, states = name_hashes(piece["record"]), piece["file_state"].to_numpy()
        at = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        is_known = self._hashes[at] == hashes
        is_there, is_kept = piece["path"].is_valid().to_numpy(), self._row[at] >= 0
        self._seen[at[is_known & is_there]] = True
        has_changed = is_known & is_there & (self._states[at] != states)
        changed = piece["record"].filter(pa.array(has_changed & is_kept))
        self.changed = pa.chunked_array([*self.changed.chunks, *changed.chunks], pa.string())
        return piece.filter(pa.array(~is_known | (has_changed & ~is_kept)))

    def gone(self) -> pa.ChunkedArray:
        """Kept records that no piece had, or had without a file."""
        rows = np.sort(self._row[(self._row >= 0) & ~self._seen])
        return self.store.column("record").take(pa.array(rows))

    def write_stale(self, path: Path) -> dict[str, int]:
        """Name the records whose files have changed or are gone, if there are any; how many of each."""
        found = {"changed": self.changed, "gone": self.gone()}
        counts = {what: len(names) for what, names in found.items() if len(names)}
        if not counts:
            path.unlink(missing_ok=True)
            return {}
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["record", "source_file"])
            writer.writerows([name.as_py(), what] for what, names in found.items() for name in names)
        return counts


def _refused(path: Path) -> Iterator[tuple[UInt64[ndarray, "n"], UInt64[ndarray, "n"]]]:
    """Name hashes and file states of the refused records, some thousands at a time."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        while some := [(row["record"], int(row["file_state"])) for row in itertools.islice(rows, PIECE)]:
            yield name_hashes(pa.array([name for name, _ in some])), np.array([state for _, state in some], np.uint64)
