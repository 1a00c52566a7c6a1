"""What a user points at -> one entry per ECG: files, folders, globs, stores, and tables with a `path` column."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.listings.cells import split_leads
from ecgjepa.data.listings.checks import refuse_names_twice
from ecgjepa.data.listings.folders import find_records, rows_of, without_suffix
from ecgjepa.data.listings.listing import DatasetError
from ecgjepa.data.listings.tables import (
    FILE_COLUMNS,
    HINT_COLUMNS,
    TABLE_SUFFIXES,
    TEXT_SUFFIXES,
    UnreadableTableError,
    UserTable,
)
from ecgjepa.data.readers import SUFFIXES
from ecgjepa.data.store import DESCRIPTION, Store
from ecgjepa.embed.entries import FAILED_SUFFIX, Entries, Entry, InputError

__all__ = ["Inputs", "list_inputs", "split_leads"]


@dataclass(frozen=True)
class Inputs:
    """All ECGs that were pointed at.

    Attributes:
        entries: one for each, in the order given, within a folder by name.
        ignored: files in folders that are of no ECG format, by suffix.
    """

    entries: Entries
    ignored: dict[str, int]


def list_inputs(paths: Sequence[Path | str], hints: Hints = NO_HINTS) -> Inputs:
    """One entry per ECG of what the paths name.

    Args:
        paths: files of any format that `ecgjepa.read` knows; folders, searched to any depth, links followed once;
            stores; glob patterns; CSV, TSV or Parquet tables with a column `path` (relative to the table), and perhaps
            `record`, `row`, `sampling_rate_hz`, `leads` (`I, II`), `unit`, `gain_per_mv`.
        hints: for all entries; a table's own come first.

    Raises:
        InputError: a path that does not exist, a pattern without a match, a table with an unusable column, no ECG.
    """
    ignored: Counter[str] = Counter()
    entries = Entries(_walk(paths, hints, ignored))
    if not entries:
        looked = ", ".join(sorted(SUFFIXES))
        raise InputError(f"no ECG in {', '.join(map(str, paths))}; looked for files with the suffix {looked}")
    return Inputs(entries.with_unique_names(), dict(ignored.most_common()))


def _walk(paths: Sequence[Path | str], hints: Hints, ignored: Counter[str]) -> Iterator[Entry]:
    for text in map(str, paths):
        matches = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))
        if not matches and os.path.isfile(f"{text}.hea"):
            matches = [f"{text}.hea"]  # a WFDB record by its name
        if not matches:
            kind = "no file matches it" if glob.has_magic(text) else "no such file or folder"
            raise InputError(f"{text}: {kind}")
        for path in map(Path, matches):
            if path.is_dir() and (path / DESCRIPTION).is_file():
                yield from _store_entries(path)
            elif path.is_dir():
                yield from _folder_entries(path, hints, ignored)
            elif (table := _open_table(path)) is not None:
                yield from _table_entries(table, hints)
            else:
                yield from _file_entries(str(path), without_suffix(path.name), hints)


def _folder_entries(folder: Path, hints: Hints, ignored: Counter[str]) -> Iterator[Entry]:
    for found in find_records(folder, ignored, leaving_out=FAILED_SUFFIX):  # tables of an earlier call
        yield Entry(found.record, found.path, found.row, hints)


def _file_entries(path: str, record: str, hints: Hints) -> Iterator[Entry]:
    if (count := rows_of(path)) is None:
        yield Entry(record, path, None, hints)
    else:
        yield from (Entry(f"{record}[{row}]", path, row, hints) for row in range(count))


def _store_entries(path: Path) -> Iterator[Entry]:
    chunks = Store.open(path).column("record").chunks
    records = (record for chunk in chunks for record in chunk.to_pylist())
    return (Entry(record, str(path), row) for row, record in enumerate(records))


def _open_table(path: Path) -> UserTable | None:
    """The table, if the file is one: it has a column `path`. A CSV without is an ECG."""
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return None
    try:
        table = UserTable.open(path, FILE_COLUMNS)
    except UnreadableTableError as error:
        if path.suffix.lower() in TEXT_SUFFIXES:
            return None  # the reader of ECGs will name what is wrong
        raise InputError(str(error)) from error
    except DatasetError as error:
        raise InputError(str(error)) from error
    if "path" in table.columns:
        return table
    if path.suffix.lower() in TEXT_SUFFIXES:
        return None
    raise InputError(f"{path}: columns {', '.join(table.unknown)}, expected one named path")


def _table_entries(table: UserTable, hints: Hints) -> Iterator[Entry]:
    try:
        refuse_names_twice(table)
        for piece in table.pieces():
            texts, names, rows = table.located(piece)
            told = {name: piece.values[name] for name in HINT_COLUMNS if name in piece.values}
            for place, (text, name, row) in enumerate(zip(texts, names, rows, strict=True)):
                own = {key: values[place] for key, values in told.items() if values[place] is not None}
                path, record = str(table.file.parent / text), name or without_suffix(os.path.normpath(text))
                if row is None:
                    yield from _file_entries(path, record, replace(hints, **own))
                else:
                    yield Entry(record if name else f"{record}[{row}]", path, row, replace(hints, **own))
    except DatasetError as error:
        raise InputError(str(error)) from error
