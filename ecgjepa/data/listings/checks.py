"""A user's table as a whole: no ECG twice, no patient in two splits; in memory lie hashes, not names.

Axes: N rows of the table.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Int64, UInt64
from numpy import ndarray

from ecgjepa.data.listings.folders import SIGNAL_SUFFIXES, without_suffix
from ecgjepa.data.listings.listing import name_hashes
from ecgjepa.data.listings.rows import patient_name, some_of, table_rows
from ecgjepa.data.listings.splits import SPLIT_CODES, patients_in_two_splits
from ecgjepa.data.listings.tables import Piece, UserTable

WFDB_SUFFIXES = SIGNAL_SUFFIXES | {".hea"}
UNSPLIT = "none, which is trained on"
_OF_PATIENTS = ("path", "record", "row", "patient", "split")


def check_table(table: UserTable, base: Path, *, with_splits: bool) -> UInt64[ndarray, "k"]:
    """Read every cell once and hold the rows against each other.

    Args:
        base: what the paths are relative to.
        with_splits: whether the splits of the table are to be used, so that a patient must be in one.

    Returns:
        Hashes of the paths without suffix that several files have (`a.csv`, `a.edf`), in rows without a name.

    Raises:
        DatasetError: a cell is none of what its column holds, a name or an ECG is there twice, a patient is in two
            splits.
    """
    hashes: list[tuple[ndarray, ndarray, ndarray, ndarray]] = []
    for piece in table.pieces():
        texts, names, rows = table.located(piece)
        hashes.append(
            (
                _hashes([_file(base, text) for text in texts]),
                np.array([-1 if row is None else row for row in rows], dtype=np.int64),
                _hashes([without_suffix(os.path.normpath(text)) for text in texts]),
                np.array([name is None for name in names]),
            )
        )
    if not hashes:
        return np.zeros(0, dtype=np.uint64)
    file_N, row_N, stem_N, nameless_N = (np.concatenate(column) for column in zip(*hashes, strict=True))
    del hashes
    if "path" in table.columns:
        refuse_names_twice(table)
    if len(twice := _files_twice(file_N, row_N)):
        _refuse_twice(table, base, twice)
    shared_stems = _shared_stems(stem_N[nameless_N], file_N[nameless_N])
    del file_N, row_N, stem_N, nameless_N
    if with_splits and "patient" in table.columns:
        _check_patients(table, base, shared_stems)
    return shared_stems


def _check_patients(table: UserTable, base: Path, shared_stems: UInt64[ndarray, "k"]) -> None:
    """Hold patients against splits by the names that they will have: one without a name is called like the record."""
    patients, splits = [], []
    for piece in table.pieces(_OF_PATIENTS):
        lines = _patients_of(table, piece, base, shared_stems)
        patients.append(_hashes([patient for patient, _, _ in lines]))
        splits.append(np.array([SPLIT_CODES[piece.values["split"][place]] for _, _, place in lines], dtype=np.int8))
    if not len(torn := patients_in_two_splits(np.concatenate(patients), np.concatenate(splits))):
        return
    del patients, splits
    seen: dict[str, tuple[str, str | None, int]] = {}
    for piece in table.pieces(_OF_PATIENTS):
        lines = _patients_of(table, piece, base, shared_stems)
        for suspect in _places([patient for patient, _, _ in lines], torn):
            patient, record, place = lines[suspect]
            split, line = piece.values["split"][place], piece.first + place
            other, before, before_line = seen.setdefault(patient, (record, split, line))
            if SPLIT_CODES[before] != SPLIT_CODES[split]:
                found = f"record {other} ({table.place(before_line)}) in {before or UNSPLIT}"
                message = f"patient {patient} is in two splits: {found}, record {record} in {split or UNSPLIT}"
                raise table.error(line, "split", message)


def _patients_of(
    table: UserTable, piece: Piece, base: Path, shared_stems: UInt64[ndarray, "k"]
) -> list[tuple[str, str, int]]:
    """Patient, record and place in the piece. Files are looked at only where a patient has no name."""
    texts, names, _ = table.located(piece)
    lines, nameless = [], []
    for place, patient in enumerate(piece.values["patient"]):
        if patient is None:
            nameless.append(place)
        else:
            lines.append((patient, names[place] or without_suffix(texts[place]), place))
    if not nameless:
        return lines
    for each in table_rows(table, some_of(piece, nameless), str(base), shared_stems):
        shown = f"{each.record}, which has no patient and is called like one,"
        lines.append((patient_name(None, each.record), shown, nameless[each.place]))
    return sorted(lines, key=lambda line: line[2])


def refuse_names_twice(table: UserTable) -> None:
    """Raises DatasetError if a cell of the column `record` is there twice."""
    if "record" not in table.columns:
        return
    hash_N = np.concatenate([np.zeros(0, np.uint64), *(_given_hashes(piece) for piece in table.pieces(("record",)))])
    values, counts = np.unique(hash_N, return_counts=True)
    if not (counts > 1).any():
        return
    seen: dict[str, int] = {}
    for piece in table.pieces(("record",)):
        for place in _places(piece.values["record"], values[counts > 1]):
            name, line = piece.values["record"][place], piece.first + place
            if name in seen:
                raise table.error(
                    line, "record", f"record {name!r} is there twice, before in {table.place(seen[name])}"
                )
            seen[name] = line


def _given_hashes(piece: Piece) -> UInt64[ndarray, "n"]:
    return _hashes([name for name in piece.values["record"] if name is not None])


def _file(base: Path, text: str) -> str:
    """One spelling of a path, whichever file of a WFDB record it names."""
    path = os.path.normpath(os.path.join(base, text))
    stem, suffix = os.path.splitext(path)
    return stem if suffix.lower() in WFDB_SUFFIXES else path


def _hashes(names: list[str]) -> UInt64[ndarray, "n"]:
    return name_hashes(pa.array(names, pa.string()))


def _files_twice(file_N: UInt64[ndarray, "n"], row_N: Int64[ndarray, "n"]) -> UInt64[ndarray, "k"]:
    """Files of which a row is there twice, or all (row -1) beside one of them."""
    order = np.lexsort((row_N, file_N))
    file_N, row_N = file_N[order], row_N[order]
    same_file = file_N[1:] == file_N[:-1]
    return np.unique(file_N[1:][same_file & ((row_N[1:] == row_N[:-1]) | (row_N[:-1] == -1))])


def _shared_stems(stem_N: UInt64[ndarray, "n"], file_N: UInt64[ndarray, "n"]) -> UInt64[ndarray, "k"]:
    order = np.lexsort((file_N, stem_N))
    stem_N, file_N = stem_N[order], file_N[order]
    return np.unique(stem_N[1:][(stem_N[1:] == stem_N[:-1]) & (file_N[1:] != file_N[:-1])])


def _refuse_twice(table: UserTable, base: Path, suspects: UInt64[ndarray, "k"]) -> None:
    seen: dict[tuple[str, int | None], int] = {}
    first: dict[str, int] = {}
    for piece in table.pieces(("path", "record", "row")):
        texts, _, rows = table.located(piece)
        files = [_file(base, text) for text in texts]
        for place in _places(files, suspects):
            file, row, line = files[place], rows[place], piece.first + place
            before = seen.get((file, row), first.get(file) if row is None else seen.get((file, None)))
            if before is not None:
                what = texts[place] if row is None else f"{texts[place]}, row {row},"
                column = "path" if "path" in table.columns else "record"
                raise table.error(line, column, f"{what} is there twice, before in {table.place(before)}")
            seen[file, row] = line
            first.setdefault(file, line)


def _places(cells: Sequence[str | None], suspects: UInt64[ndarray, "k"]) -> Iterator[int]:
    """Where one of the suspects stands, by its hash."""
    filled = [place for place, cell in enumerate(cells) if cell is not None]
    is_suspect = np.isin(_hashes([cells[place] or "" for place in filled]), suspects)
    yield from (place for place, found in zip(filled, is_suspect.tolist(), strict=True) if found)
