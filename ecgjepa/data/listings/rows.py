"""Rows of a table -> the records they name, and the files that these are in."""

import functools
import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import UInt64
from numpy import ndarray

from ecgjepa.data.listings.cells import one_spelling
from ecgjepa.data.listings.folders import SIGNAL_SUFFIXES, rows_of, without_suffix
from ecgjepa.data.listings.listing import name_hashes
from ecgjepa.data.listings.tables import Piece, UserTable
from ecgjepa.data.readers import SUFFIXES


class TableRow(NamedTuple):
    """One record of a table.

    Attributes:
        record: name; where the table has none, the path without suffix, with it if another file has the same.
        path: of the file; None if it is absent.
        row: in a file that holds many, else None.
        place: of its cells in the piece.
    """

    record: str
    path: str | None
    row: int | None
    place: int


def table_rows(table: UserTable, piece: Piece, base: str, shared_stems: UInt64[ndarray, "k"]) -> Iterator[TableRow]:
    """The records of a piece; a file of many in full where the table names no row in it.

    Args:
        base: what the paths are relative to.
        shared_stems: hashes of the paths without suffix that several files have.
    """
    texts, names, rows = table.located(piece)
    stems = [without_suffix(os.path.normpath(text)) for text in texts]
    is_shared = np.isin(name_hashes(pa.array(stems, pa.string())), shared_stems).tolist()
    for place, (text, name, row) in enumerate(zip(texts, names, rows, strict=True)):
        record = name or (os.path.normpath(text) if is_shared[place] else stems[place])
        path = _find(os.path.join(base, text))
        if row is None and path is not None and (count := rows_of(path)) is not None:
            yield from (TableRow(f"{record}[{each}]", path, each, place) for each in range(count))
        else:
            yield TableRow(record if name or row is None else f"{record}[{row}]", path, row, place)


def some_of(piece: Piece, places: list[int]) -> Piece:
    """Those rows of a piece alone."""
    return Piece(piece.first, {name: [cells[place] for place in places] for name, cells in piece.values.items()})


def patient_name(patient: str | None, record: str) -> str:
    """What a record's patient is called: by the table, or else like the record, as a patient of its own."""
    return patient or one_spelling(record)


@functools.lru_cache(maxsize=8)  # of a file with many records, once
def _find(path: str) -> str | None:
    """The file that a path of a table means: itself, or the header of the WFDB record of this name; None if absent."""
    stem, suffix = os.path.splitext(path)
    if not path.lower().endswith(tuple(SUFFIXES)):
        header = f"{stem if suffix.lower() in SIGNAL_SUFFIXES else path}.hea"
        if os.path.isfile(header):
            return header
    return path if os.path.exists(path) else None
