"""What a store knows already of a listing: which records are new, and of which others something has changed since."""

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int8, UInt64
from numpy import ndarray

from ecgjepa.data.listings.listing import PIECE, DatasetError, name_hashes
from ecgjepa.data.listings.splits import SPLIT_CODES, patients_in_two_splits
from ecgjepa.data.store import REFUSED, Store
from ecgjepa.files import atomic_path

STALE = "stale.csv"
# Refused for reasons that may have passed while the file stayed as it was.
PASSING = frozenset({"missing_package", "io_error", "file_absent"})
# Not what a listing says of a record, but how it is found and read.
_NOT_SAID = ("path", "row", "sampling_rate_hz", "leads", "unit", "gain_per_mv", "file_state")


class Known:
    """The records of a store, kept and refused: some 35 bytes for each.

    Args:
        said_by_files: columns that a listing leaves empty because the files fill them.

    Attributes:
        updates: what a listing now says of kept records and did not when they were prepared: `at` (their row), and the
            columns of a listing; once all pieces were seen.
    """

    def __init__(self, store: Store, said_by_files: Iterable[str] = ()) -> None:
        self.store, self._not_said = store, {*_NOT_SAID, *said_by_files}
        refused = list(_refused(store.path / REFUSED))
        hashes = [name_hashes(store.column("record")), *(names for names, _ in refused)]
        states = [store.column("file_state").to_numpy(), *(states for _, states in refused)]
        order = np.argsort(np.concatenate(hashes), kind="stable")
        self._hashes, self._states = np.concatenate(hashes)[order], np.concatenate(states)[order]
        self._row = np.where(order < len(store), order, -1)  # -1: refused
        self._said = store.column("listed_state").to_numpy() if store.has_column("listed_state") else None
        self._listed, self._there = np.zeros(len(order), bool), np.zeros(len(order), bool)
        self._changed: list[pa.Array] = []
        self._updates: list[pa.Table] = []
        self._new: list[tuple[ndarray, ndarray]] = []

    def new_rows(self, pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The rows to prepare: unknown ones, and refused ones that may be taken now.

        Raises:
            DatasetError: with them, and with what the listing now says of the others, a patient would be in two splits.
        """
        for piece in pieces:
            hashes, states = name_hashes(piece["record"]), piece["file_state"].to_numpy()
            at = np.minimum(np.searchsorted(self._hashes, hashes), max(len(self._hashes) - 1, 0))
            is_known = self._hashes[at] == hashes if len(self._hashes) else np.zeros(len(piece), bool)
            at = at if len(self._hashes) else np.zeros(len(piece), np.int64)
            is_there, is_kept = piece["path"].is_valid().to_numpy(), np.zeros(len(piece), bool)
            is_kept[is_known] = self._row[at[is_known]] >= 0
            self._listed[at[is_known]] = True
            self._there[at[is_known & is_there]] = True
            is_other = is_known & is_there
            is_other[is_other] = self._states[at[is_other]] != states[is_other]
            self._changed += piece["record"].filter(pa.array(is_other & is_kept)).chunks
            self._note_updates(piece, at, is_kept)
            new = piece.filter(pa.array(~is_known | (is_other & ~is_kept)))
            self._new.append((name_hashes(new["patient"]), _codes(new)))
            yield new
        self._refuse_torn_patients()

    def _note_updates(self, piece: pa.Table, at: ndarray, is_kept: ndarray) -> None:
        if self._said is None:
            return
        rows = self._row[at[is_kept]]
        is_other = self._said[rows] != piece["listed_state"].to_numpy()[is_kept]
        if is_other.any():
            said = piece.drop_columns([name for name in piece.schema.names if name in self._not_said])
            said = said.filter(pa.array(is_kept)).append_column("at", pa.array(rows))
            self._updates.append(said.filter(pa.array(is_other)).combine_chunks())

    @property
    def updates(self) -> pa.Table | None:
        """See the class; None if there are none."""
        return pa.concat_tables(self._updates).combine_chunks().sort_by("at") if self._updates else None

    def _refuse_torn_patients(self) -> None:
        patients, splits = name_hashes(self.store.column("patient")), _codes(self.store)
        before = patients_in_two_splits(patients, splits)
        if (updates := self.updates) is not None:
            at = updates["at"].to_numpy()
            patients[at], splits[at] = name_hashes(updates["patient"]), _codes(updates)
        every = [(patients, splits), *self._new]
        torn = patients_in_two_splits(*(np.concatenate(columns) for columns in zip(*every, strict=True)))
        if len(torn := np.setdiff1d(torn, before)):
            row = int(np.flatnonzero(np.isin(patients, torn))[0])
            name, record = (self.store.column(column)[row].as_py() for column in ("patient", "record"))
            raise DatasetError(
                f"{len(torn)} patients would be in two splits, {name} first: record {record} of {self.store.path} "
                "and another that the listing has now. Give all of their records one split, or --overwrite to prepare "
                "everything anew"
            )

    def write_stale(self, path: Path) -> dict[str, int]:
        """Name the kept records whose files have changed, are absent, or are no longer listed; how many of each."""
        is_kept = self._row >= 0
        found = {
            "changed": pa.chunked_array(self._changed, pa.string()),
            "absent": self._names(is_kept & self._listed & ~self._there),
            "not_listed": self._names(is_kept & ~self._listed),
        }
        counts = {what: len(names) for what, names in found.items() if len(names)}
        if not counts:
            path.unlink(missing_ok=True)
            return {}
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["record", "what"])
            writer.writerows([name.as_py(), what] for what, names in found.items() for name in names)
        return counts

    def _names(self, chosen: ndarray) -> pa.ChunkedArray:
        return self.store.column("record").take(pa.array(np.sort(self._row[chosen])))


def _codes(table: pa.Table | Store) -> Int8[ndarray, "n"]:
    """Splits as numbers."""
    column = table.column("split")
    return np.array([SPLIT_CODES[split] for split in column.to_pylist()], np.int8)


def _refused(path: Path) -> Iterator[tuple[UInt64[ndarray, "n"], UInt64[ndarray, "n"]]]:
    """Name hashes and file states of the refused records, some thousands at a time; 1 where another try is due."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        while some := list(itertools.islice(rows, PIECE)):
            states = [1 if row["reason"] in PASSING and row["path"] else int(row["file_state"]) for row in some]
            yield name_hashes(pa.array([row["record"] for row in some])), np.array(states, np.uint64)
