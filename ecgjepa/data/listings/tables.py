"""A user's table of ECGs (CSV, TSV, Parquet) -> columns of values, piece by piece, whatever its length.

All cells are read as text first, so that what cannot be a value is shown as it stands in the file.
"""

import csv
import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ecgjepa.data.listings.cells import Cell, labels, parsers
from ecgjepa.data.listings.listing import PIECE, DatasetError

TEXT_SUFFIXES = frozenset({".csv", ".tsv"})
TABLE_SUFFIXES = TEXT_SUFFIXES | {".parquet"}
SEPARATORS = ",;\t"
MAX_COLUMNS, MAX_COLUMN_NAME = 10_000, 1000
# Of text, read at once.
BLOCK_BYTES = 2**20
# What a row may tell of the file, see `ecgjepa.data.formats.hints.Hints`.
HINT_COLUMNS = ("sampling_rate_hz", "leads", "unit", "gain_per_mv")
FILE_COLUMNS = ("path", "record", "row", *HINT_COLUMNS)
COLUMNS = (*FILE_COLUMNS, "patient", "split", "fold", "age", "sex", "device", "site", "labels")
LABELS = "labels_"
ALIASES = {"patient_id": "patient", "subject_id": "patient", "units": "unit"}
# `folder` is no misspelt `fold` (0.80), `sampling_rate` is a misspelt `sampling_rate_hz` (0.90).
NEAR, MAX_NEAR_NAME = 0.82, 100


class UnreadableTableError(DatasetError):
    """A file that is no table at all."""


class Piece(NamedTuple):
    """Some rows: the number of the first, from 0, and values by column; None where a cell is empty."""

    first: int
    values: dict[str, list[Any]]


@dataclass(frozen=True)
class UserTable:
    """A table whose columns are known, and whose cells are not yet read.

    Attributes:
        file: the table.
        columns: ours -> as it is spelled in the file; `path`, `patient`, ..., `labels`, `labels_<level>`.
        unknown: columns that are none of ours.
        separator: of the cells; None for Parquet.
    """

    file: Path
    columns: dict[str, str]
    unknown: tuple[str, ...]
    separator: str | None

    @classmethod
    def open(cls, file: Path, only: Iterable[str] = ()) -> "UserTable":
        """Read the names of the columns.

        Args:
            only: the columns that are wanted, all of ours if empty; others count as unknown.

        Raises:
            DatasetError: a column is there twice, perhaps by another name.
            UnreadableTableError: no table.
        """
        names, separator = _heading(file)
        wanted, columns, unknown = set(only), dict[str, str](), []
        for spelled in names:
            ours = _our_name(spelled)
            if ours is None or (wanted and ours not in wanted):
                unknown.append(spelled)
            elif ours in columns:
                raise DatasetError(
                    f"{file}: both {columns[ours]!r} and {spelled!r} are the column {ours}, expected one"
                )
            else:
                columns[ours] = spelled
        return cls(file, columns, tuple(unknown), separator)

    @classmethod
    def with_columns(cls, file: Path, wanted: Iterable[str]) -> "UserTable":
        """A table of any columns, of which some are wanted as they are spelled; read it by `texts`.

        Raises:
            DatasetError: one is not there, or there twice.
            UnreadableTableError: no table.
        """
        names, separator = _heading(file)
        for name in wanted:
            if names.count(name) != 1:
                near = "" if name in names else f", found {str(names)[:500]}"
                raise DatasetError(f"{file}: column {name!r} is there {names.count(name)} times, expected once{near}")
        return cls(file, {name: name for name in wanted}, (), separator)

    def texts(self) -> Iterator[Piece]:
        """All rows, at most `PIECE` at once, cells as they stand in the file.

        Raises:
            DatasetError: the file is damaged.
        """
        first = 0
        for batch in self._batches(list(self.columns.values())):
            yield Piece(first, {name: _cells(batch.column(spelled)) for name, spelled in self.columns.items()})
            first += len(batch)

    def pieces(self, only: Iterable[str] = ()) -> Iterator[Piece]:
        """Values of all rows, at most `PIECE` at once.

        Args:
            only: the columns that are needed, all if empty.

        Raises:
            DatasetError: the file is damaged, or a cell is none of what its column holds; names line and column.
        """
        needed = [name for name in self.columns if not only or name in set(only)]
        known = parsers(decimal_comma=self.separator == ";")
        read = {name: lru_cache(PIECE)(known.get(name, labels)) for name in needed}
        first = 0
        for batch in self._batches([self.columns[name] for name in needed]):
            cells = {name: _cells(batch.column(self.columns[name])) for name in needed}
            yield Piece(first, {name: self._values(first, name, cells[name], read[name]) for name in needed})
            first += len(batch)

    def located(self, piece: Piece) -> tuple[list[str], list[str | None], list[int | None]]:
        """Path, name of the record (None: to be called by its path) and row in the file, of all rows of a piece.

        Without a column `path`, `record` is the path.

        Raises:
            DatasetError: a row without a path.
        """
        column = "path" if "path" in self.columns else "record"
        paths = piece.values[column]
        if None in paths:
            raise self.error(piece.first + paths.index(None), column, "empty, expected a path")
        nothing: list[Any] = [None] * len(paths)
        names = piece.values.get("record", nothing) if column == "path" else nothing
        return paths, names, piece.values.get("row", nothing)

    def without(self, *columns: str) -> "UserTable":
        """The same table, some columns not read."""
        return replace(self, columns={name: spelled for name, spelled in self.columns.items() if name not in columns})

    def error(self, row: int, column: str, message: str) -> DatasetError:
        """What is wrong with a cell; rows count from 0."""
        return DatasetError(f"{self.file}, {self.place(row)}, column {self.columns.get(column, column)}: {message}")

    def place(self, row: int) -> str:
        """Where a row is found: `line 3` of text, `row 2` of Parquet."""
        if self.separator is None:
            return f"row {row + 1}"
        with self.file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
            lines = csv.reader(text, delimiter=self.separator)
            filled = (lines.line_num for cells in lines if cells)  # as they are counted by the reader of the cells
            line = next((line for number, line in enumerate(filled) if number == row + 1), row + 2)
        return f"line {line}"

    def _values(self, first: int, column: str, cells: list[Cell | None], read: Callable[[Cell], Any]) -> list[Any]:
        values = []
        for row, cell in enumerate(cells, first):
            try:
                values.append(None if cell is None else read(cell))
            except ValueError as error:
                raise self.error(row, column, str(error)) from error
        return values

    def _batches(self, spelled: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            if self.separator is None:
                with pa.parquet.ParquetFile(self.file) as file:
                    yield from file.iter_batches(PIECE, columns=spelled)
                return
            with _open_text(self.file, self.separator, spelled) as batches:
                for batch in batches:
                    yield from (batch.slice(start, PIECE) for start in range(0, len(batch), PIECE))
        except pa.ArrowException as error:
            if "empty CSV" in str(error) or "Empty CSV" in str(error):
                return  # names of columns and no row
            raise DatasetError(f"{self.file} cannot be read as a table of UTF-8: {error}") from error


def refuse_near_names(table: UserTable) -> None:
    """A misspelt column would be left out in silence, and with it perhaps the patients.

    Raises:
        DatasetError: an unknown column is called almost like one that the table does not have.
    """
    free = [name for name in (*COLUMNS, *ALIASES) if ALIASES.get(name, name) not in table.columns]
    for spelled in table.unknown:
        key = _key(spelled[:MAX_NEAR_NAME])
        near = difflib.get_close_matches(key, free, n=1, cutoff=NEAR)
        if key.startswith("label_"):
            near = [LABELS + key.removeprefix("label_")]
        if near:
            raise DatasetError(
                f"{table.file}: column {spelled!r}, did you mean {near[0]!r}? If not, give it a name less like it"
            )


def _key(spelled: str) -> str:
    return re.sub(r"[\s-]+", "_", spelled.strip().lower())


def _our_name(spelled: str) -> str | None:
    key = ALIASES.get(_key(spelled), _key(spelled))
    if key in COLUMNS:
        return key
    level = spelled.strip()[len(LABELS) :]
    return LABELS + level if key.startswith(LABELS) and level else None


def _heading(file: Path) -> tuple[list[str], str | None]:
    """Names of the columns as they are spelled, and the separator of the cells; UnreadableTableError if it is none."""
    if not file.is_file():
        raise UnreadableTableError(f"no table {file}")
    if file.suffix.lower() not in TABLE_SUFFIXES:
        expected = ", ".join(sorted(TABLE_SUFFIXES))
        raise UnreadableTableError(f"{file}: suffix {file.suffix!r}, expected one of {expected}")
    names, separator = _names(file)
    if len(names) > MAX_COLUMNS or any("\0" in name for name in names):
        found = f"{len(names)} columns" if len(names) > MAX_COLUMNS else "NUL bytes in the names of the columns"
        raise UnreadableTableError(f"{file}: {found}, expected UTF-8 and at most {MAX_COLUMNS} columns")
    if (longest := max(map(len, names), default=0)) > MAX_COLUMN_NAME:
        raise UnreadableTableError(
            f"{file}: the name of a column has {longest} characters, expected at most {MAX_COLUMN_NAME}"
        )
    return names, separator


def _names(file: Path) -> tuple[list[str], str | None]:
    try:
        if file.suffix.lower() == ".parquet":
            names = pa.parquet.read_schema(file).names
            return [name for name in names if not name.startswith("__index_level_")], None
        with file.open(encoding="utf-8-sig", newline="") as text:
            line = text.readline(BLOCK_BYTES)
            separator = max(SEPARATORS, key=line.count)
            text.seek(0)
            return next(csv.reader(text, delimiter=separator), []), separator
    except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:  # OSError: a footer that is none
        raise UnreadableTableError(f"{file} cannot be read as a table of UTF-8: {error}") from error


def _open_text(file: Path, separator: str, spelled: list[str]) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        file,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(spelled, pa.string()),
            include_columns=spelled,
            strings_can_be_null=True,
            null_values=[""],
        ),
    )


def _cells(column: pa.Array) -> list[Cell | None]:
    return [_cell(value) for value in column.to_pylist()]


def _cell(value: Any) -> Cell | None:
    """Text without blanks around it; None for nothing, NaN and blanks; numbers without a needless `.0`."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None or value != value:
        return None
    if isinstance(value, list):
        return tuple(_cell(each) or "" for each in value)  # type: ignore[misc]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
