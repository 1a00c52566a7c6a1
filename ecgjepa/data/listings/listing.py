"""A listing: one row per record that a data set should have, in pieces, so that ten million need no memory.

Nothing of a record is read for it but its directory entry.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import UInt64
from numpy import ndarray

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.listings.labels import HeaderNotes

if TYPE_CHECKING:
    import pandas as pd

# Rows of a piece: what is known of them lies in memory at once.
PIECE = 4096
FIELDS = {
    "record": pa.string(),
    "path": pa.binary(),  # a name on disk need not be text
    "row": pa.int64(),
    "patient": pa.string(),
    "fold": pa.int64(),
    "split": pa.string(),
    "age": pa.float64(),
    "sex": pa.string(),
    "device": pa.string(),
    "site": pa.string(),
    "sampling_rate_hz": pa.float64(),
    "leads": pa.list_(pa.string()),
    "unit": pa.string(),
    "gain_per_mv": pa.float64(),
}
_LABELS = pa.list_(pa.string())
# What is told of a file because it does not say it.
TOLD = ["sampling_rate_hz", "leads", "unit", "gain_per_mv"]


class DatasetError(ValueError):
    """A folder that does not hold the data set it should; the message says what was looked for."""


@dataclass(frozen=True)
class Listing:
    """The records of a data set.

    Attributes:
        dataset: short name.
        pieces: begins again from the first record with every call; tables of `listing_schema(levels)`:
            `record` (unique), `path` (bytes, of the file; None if it is absent), `row` (of a file that holds many, else
            None), `patient`, `fold`, `split` (`train`, `validation`, `test` or None), `age`, `sex`, `device`, `site`,
            what the file does not say about itself (see `Hints`), and `labels_<level>`.
        levels: class names of each label level; None where only the records say which there are.
        header_labels: level -> labels from the notes of a WFDB header; age and sex are then taken from it too.
        options: what it was made with, as JSON takes it: another listing for other options.
    """

    dataset: str
    pieces: Callable[[], Iterable[pa.Table]]
    levels: dict[str, list[str] | None] = field(default_factory=dict)
    header_labels: dict[str, Callable[[HeaderNotes], list[str] | None]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_columns(
        cls,
        dataset: str,
        columns: Mapping[str, Any],
        levels: dict[str, list[str] | None],
        header_labels: Mapping[str, Callable[[HeaderNotes], list[str] | None]] | None = None,
        *,
        folder: Path | str,
    ) -> "Listing":
        """One that is known at once; columns as `to_piece` takes them.

        Raises:
            DatasetError: no file is there, or two records have one name.
        """
        piece = to_piece(columns, levels)
        listing = cls(dataset, lambda: [piece], levels, dict(header_labels or {}))
        for _ in checked_pieces(listing, folder, stated=False):
            pass
        return listing

    @property
    def records(self) -> "pd.DataFrame":
        """All rows at once, paths as text."""
        table = pa.concat_tables(self.pieces())
        paths = [None if path is None else os.fsdecode(path) for path in table["path"].to_pylist()]
        frame = table.drop_columns(["path"]).to_pandas().astype({"row": "Int64", "fold": "Int64"})
        for column in table.schema:
            if pa.types.is_list(column.type):
                frame[column.name] = np.array([*table[column.name].to_pylist(), None], dtype=object)[:-1]
        frame.insert(1, "path", np.array(paths, dtype=object))
        return frame


def listing_schema(levels: Iterable[str]) -> pa.Schema:
    """Columns of a piece."""
    return pa.schema([*FIELDS.items(), *((f"labels_{level}", _LABELS) for level in levels)])


def to_piece(columns: Mapping[str, Any], levels: Iterable[str]) -> pa.Table:
    """Columns by name -> a piece; those that are not there are empty, paths may be text.

    Args:
        columns: lists, arrays or pandas series of one length; NaN is nothing.
        levels: label levels.
    """
    schema = listing_schema(levels)
    assert set(columns) <= set(schema.names), f"columns that no listing has: {set(columns) - set(schema.names)}"
    rows = len(columns["record"])
    arrays = []
    for column in schema:
        values = columns.get(column.name)
        if column.name == "path" and values is not None:
            values = [None if path is None or path != path else os.fsencode(path) for path in values]
        arrays.append(
            pa.nulls(rows, column.type) if values is None else pa.array(values, column.type, from_pandas=True)
        )
    return pa.table(arrays, schema=schema)


def printable(name: str) -> str:
    """A name as text: bytes of a file's name that are none are written as `\\udcff`."""
    return name.encode("utf-8", errors="backslashreplace").decode("utf-8")


def hints_of(row: Mapping[str, Any]) -> Hints:
    """What a row tells of its file."""
    told = {name: row[name] for name in TOLD if row[name] is not None}
    return Hints(**told) if told else NO_HINTS


def with_states(piece: pa.Table) -> pa.Table:
    """Add two columns of numbers that change with what they stand for.

    `file_state`: size and time of a record's files and what is told of them; 0 if there is none. `listed_state`: what
    the listing says besides, patient, split and labels among it.
    """
    paths = piece["path"].to_pylist()
    state_of = {path: 0 if path is None else file_state(os.fsdecode(path)) for path in set(paths)}
    told = piece.select(TOLD).to_pylist()
    states = [
        state_of[path] if not any(own.values()) else _number((state_of[path], own))
        for path, own in zip(paths, told, strict=True)
    ]
    return piece.append_column("file_state", pa.array(states, pa.uint64())).append_column(
        "listed_state", pa.array(_listed_states(piece), pa.uint64())
    )


def _listed_states(piece: pa.Table) -> UInt64[ndarray, "n"]:
    """A hash of `name=value` of all that a row says; what is empty says nothing."""
    parts = []
    for name in sorted({*piece.schema.names} - {"record", "path", "row", *TOLD}):
        column = piece[name]
        text = pc.binary_join(column, "\0") if pa.types.is_list(column.type) else column.cast(pa.string())
        parts.append(pc.binary_join_element_wise(f"{name}=", text, "", null_handling="emit_null"))
    return name_hashes(pc.binary_join_element_wise(*parts, "\0\0", null_handling="replace", null_replacement=""))


def _number(value: Any) -> int:
    return int.from_bytes(hashlib.blake2b(repr(value).encode(), digest_size=8).digest(), "little")


def file_state(path: str) -> int:
    """A hash of size and time of a file; of a WFDB record, of its header and of the `.dat` and `.mat` beside it."""
    stem, suffix = os.path.splitext(path)
    states = []
    for file in (path, f"{stem}.dat", f"{stem}.mat") if suffix == ".hea" else (path,):
        try:
            stat = os.stat(file)
            states.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            states.append((-1, 0))
    return _number(states)


def name_hashes(names: pa.ChunkedArray | pa.Array) -> UInt64[ndarray, "n"]:
    """64 bits per name: of ten million names two are alike with a chance of 3 in a million."""
    from pandas.util import hash_array

    hashes = [
        hash_array(np.asarray(names.slice(start, PIECE).to_pylist(), dtype=object), categorize=False)
        for start in range(0, len(names), PIECE)  # as objects, ten million names are a gigabyte
    ]
    return np.concatenate([np.array([], np.uint64), *hashes])


def checked_pieces(listing: Listing, folder: Path | str, *, stated: bool = True) -> Iterator[pa.Table]:
    """The pieces, with their states if wanted; at the end, record names were unique and at least one file was there.

    Raises:
        DatasetError: they were not, or it was not.
    """
    hashes, records, there = [], 0, 0
    for piece in listing.pieces():
        piece = with_states(piece) if stated else piece
        hashes.append(name_hashes(piece["record"]))
        records += len(piece)
        there += len(piece) - piece["path"].null_count
        yield piece
    if not there:
        found = "no record" if not records else f"none of the {records} records of the table"
        raise DatasetError(f"{listing.dataset}: {found} is there in {folder}")
    values, counts = np.unique(np.concatenate(hashes), return_counts=True)
    if (counts > 1).any():
        _refuse_same_names(listing, values[counts > 1], folder)


def _refuse_same_names(listing: Listing, suspects: UInt64[ndarray, "k"], folder: Path | str) -> None:
    seen: dict[str, int] = {}
    for piece in listing.pieces():
        for name in piece["record"].filter(pa.array(np.isin(name_hashes(piece["record"]), suspects))).to_pylist():
            seen[name] = seen.get(name, 0) + 1
    if twice := [name for name, count in seen.items() if count > 1]:
        raise DatasetError(f"{listing.dataset}: record names must be unique, found twice in {folder}: {twice[:3]}")


def fingerprint(listing: Listing, folder: Path | str, *also: Any) -> str:
    """A hash of what would be prepared: the listing, name, size and time of its files, and what else is given."""
    digest = hashlib.sha256(json.dumps([listing.dataset, *also]).encode())
    for piece in checked_pieces(listing, folder):
        for column in piece.columns:
            digest.update(repr(column.to_pylist()).encode())
    return digest.hexdigest()


def in_chunks(pieces: Iterable[pa.Table], records: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size, the last perhaps smaller."""
    waiting: list[pa.Table] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) < records:
            continue
        joined = pa.concat_tables(waiting)
        whole = len(joined) - len(joined) % records
        yield from (_batch(joined.slice(start, records)) for start in range(0, whole, records))
        waiting = [joined.slice(whole)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and len(rest):
        yield _batch(rest)


def _batch(table: pa.Table) -> pa.RecordBatch:
    (batch,) = itertools.islice(table.combine_chunks().to_batches(), 1)
    return batch
