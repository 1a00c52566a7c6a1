"""What a user points at -> one entry per ECG: files, folders, globs, stores, and tables with a `path` column."""

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.readers import SUFFIXES, count_records
from ecgjepa.data.store import DESCRIPTION, Store
from ecgjepa.embed.entries import FAILED_SUFFIX, Entries, Entry, InputError
from ecgjepa.errors import RefusedRecordError

# Of a WFDB record the header is the entry; its signal files are entries only where no header is beside them.
SIGNAL_SUFFIXES = frozenset({".dat", ".mat"})
TABLE_SUFFIXES = frozenset({".csv", ".parquet"})
TABLE_COLUMNS = frozenset({"path", "record", "row", "sampling_rate_hz", "leads", "unit", "gain_per_mv"})


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
        paths: files of any format that `ecgjepa.read` knows; folders, searched to any depth without following links;
            stores; glob patterns; CSV or Parquet tables with a column `path` (relative to the table), and perhaps
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
            elif (table := _read_table(path)) is not None:
                yield from _table_entries(path, table, hints)
            else:
                yield from _file_entries(path, path.with_suffix("").name, hints)


def _folder_entries(folder: Path, hints: Hints, ignored: Counter[str]) -> Iterator[Entry]:
    seen: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()  # a link in a circle, or to what was searched already
            continue
        seen.add(real)
        folders.sort()
        stems = {name.removesuffix(".hea") for name in names if name.endswith(".hea")}
        for name in sorted(names):
            path = Path(place, name)
            if name.endswith(FAILED_SUFFIX):
                continue  # of an earlier call
            suffix = path.suffix.lower()
            is_lone_signal = suffix in SIGNAL_SUFFIXES and path.stem not in stems
            if name.lower().endswith(tuple(SUFFIXES)) or is_lone_signal:
                yield from _file_entries(path, path.relative_to(folder).with_suffix("").as_posix(), hints)
            elif suffix not in SIGNAL_SUFFIXES:
                ignored[suffix or name] += 1


def _file_entries(path: Path, record: str, hints: Hints) -> Iterator[Entry]:
    try:
        count = count_records(path)
    except RefusedRecordError:
        count = None  # it is refused again, by name, when it is read
    if count is None:
        yield Entry(record, str(path), None, hints)
    else:
        yield from (Entry(f"{record}[{row}]", str(path), row, hints) for row in range(count))


def _store_entries(path: Path) -> Iterator[Entry]:
    records = Store.open(path).records["record"]
    return (Entry(record, str(path), row) for row, record in enumerate(records))


def _read_table(path: Path) -> pd.DataFrame | None:
    """The table, if the file is one: it has a column `path`. A CSV without is an ECG."""
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return None
    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        elif "path" in pd.read_csv(path, nrows=0).columns:
            text = dict.fromkeys(("path", "record", "leads", "unit"), str)
            table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
        else:
            return None
    except (ValueError, OSError) as error:  # pandas' own errors are ValueErrors
        if path.suffix.lower() == ".csv":
            return None  # no table; the reader of ECGs will name what is wrong
        raise InputError(f"{path}: {error}") from error
    if "path" not in table:
        raise InputError(f"{path}: columns {list(table.columns)}, expected one named path")
    return table


def _table_entries(file: Path, table: pd.DataFrame, hints: Hints) -> Iterator[Entry]:
    if "record" in table and (again := table["record"].notna() & table["record"].duplicated()).any():
        number = int(again.argmax())
        raise InputError(f"{file}, row {number + 1}: record {table['record'].iloc[number]!r} is there twice")
    columns = [name for name in table.columns if name in TABLE_COLUMNS]
    for number in range(1, len(table) + 1):  # one by one: the rows as objects would be a copy of the table
        given = {name: value for name in columns if not _is_empty(value := table[name].iat[number - 1])}
        if not isinstance(given.get("path"), str):
            raise InputError(f"{file}, row {number}: no path, found {table['path'].iat[number - 1]!r}")
        path = file.parent / given["path"].strip()
        record = str(given.get("record", Path(given["path"].strip()).with_suffix("").as_posix()))
        try:
            entry = Entry(record, str(path), None, replace(hints, **_hints_of(given)))
            if "row" in given:
                yield replace(entry, row=_row_of(given["row"]))
            else:
                yield from _file_entries(path, record, entry.hints)
        except (ValueError, TypeError, OverflowError) as error:
            raise InputError(f"{file}, row {number}: {error}") from error


def _row_of(value: Any) -> int:
    if not 0 <= float(value) < 2**62 or float(value) != int(value):
        raise ValueError(f"row {value}, expected a whole number from 0")
    return int(value)


def _hints_of(row: dict[Any, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {name: float(row[name]) for name in ("sampling_rate_hz", "gain_per_mv") if name in row}
    if "unit" in row:
        own["unit"] = str(row["unit"])
    if "leads" in row:
        own["leads"] = split_leads(row["leads"]) if isinstance(row["leads"], str) else tuple(row["leads"])
    return own


def _is_empty(value: Any) -> bool:
    """Nothing, NaN, or only blanks; a list is something."""
    return value is None or (isinstance(value, str) and not value.strip()) or (np.ndim(value) == 0 and pd.isna(value))


def split_leads(text: str) -> tuple[str, ...]:
    """Names of leads as people type them: `I,II,V1` or `I II V1`."""
    return tuple(text.replace(",", " ").split())
