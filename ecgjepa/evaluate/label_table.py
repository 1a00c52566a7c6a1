"""A table of one's own labels or numbers, joined to the records of a store by their names.

    record      rhythm    AF  LBBB  qrs_ms
    p1/visit1   AF;LBBB   1   1     142
    p1/visit2   []        0   0     96

Axes: N rows of the store, K classes.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from ecgjepa.data.listings import cells
from ecgjepa.data.listings.cells import Cell, one_spelling
from ecgjepa.data.listings.tables import UserTable
from ecgjepa.data.store import Store
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.targets import Kind, RegressionTargets, Targets, class_targets, number_targets

NO_ROW = "no row in the table"
# With a point as programs write them once a cell of the column is empty.
_FLAGS = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
_SHOWN = 3


def read_label_table(
    path: Path | str,
    store: Store,
    *,
    column: str | Sequence[str],
    record_column: str = "record",
    kind: Kind = "multilabel",
    unit: str = "",
) -> Targets | RegressionTargets:
    """Targets from a CSV, TSV or Parquet table, with the patients and splits of the store.

    An empty cell is a record that nobody labelled. Records of the store without a row and those with an empty cell are
    left out and counted; rows of records that the store does not have are counted in a warning.

    Args:
        path: the table.
        store: whose records these are.
        column: of the labels. For `multilabel` its cells hold names separated by `;` or `|` (`[]` for none; in Parquet
            lists as well); or, where it is a list of columns, or all cells are 0 and 1 (false and true), each column is
            a class. `multiclass` takes the records with exactly one name, `regression` wants a number.
        record_column: where the names of the records are, as the store spells them.
        kind: what to read.
        unit: of a number.

    Returns:
        `RegressionTargets` for `regression`, else `Targets` with the classes in alphabetical order, or in that of the
        columns.

    Raises:
        ValueError: (also as its subclass DatasetError) a column is not there, a record is there twice, a cell is not
            what it should be, no record is one of the store's, no cell of theirs is filled.
    """
    if kind == "segmentation":
        raise ValueError("table of labels: waves are read from annotation files, see segmentation_targets")
    columns = [column] if isinstance(column, str) else list(column)
    if not columns or (len(columns) > 1 and kind != "multilabel"):
        raise ValueError(f"table of labels: {len(columns)} columns for {kind}, expected one")
    joined = _Joined(UserTable.with_columns(Path(path), [record_column, *columns]), store, record_column, columns)
    reasons = {NO_ROW: joined.without_row_N}
    if kind == "regression":
        real = cells.number_with_comma if joined.table.separator == ";" else cells.number
        values = joined.parsed(columns[0], real)
        values_N = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        return _warned(number_targets(store, columns[0], unit, values_N, "empty cell", reasons), joined)
    if kind == "multilabel" and (not isinstance(column, str) or joined.is_flag(columns[0])):
        classes = columns
        rows = zip(*(joined.parsed(each, _flag) for each in columns), strict=True)
        labels = [None if None in row else list(itertools.compress(columns, row)) for row in rows]
    else:
        labels = joined.parsed(columns[0], cells.labels)
        classes = sorted({name for names in labels for name in names or ()})
    if not classes:
        raise ValueError(f"{path}, column {columns[0]}: no label in a row of the store's records")
    task: Task = "multilabel" if kind == "multilabel" else "multiclass"
    return _warned(class_targets(store, classes, labels, task, columns[0], reasons=reasons), joined)


class _Joined:
    """The rows of a table that are records of a store, in the order of the store.

    Attributes:
        without_row_N: records of the store that the table does not have.
        strangers: rows of records that the store does not have.
    """

    def __init__(self, table: UserTable, store: Store, record_column: str, columns: Sequence[str]) -> None:
        self.table = table
        row_of = {one_spelling(name): row for row, name in enumerate(store.records["record"])}
        self._line = np.full(len(store), -1)
        self._cells: dict[str, list[Cell | None]] = {name: [None] * len(store) for name in columns}
        seen: dict[str, int] = {}
        some_strangers: list[str] = []
        self.strangers = 0
        for piece in table.texts():
            for place, cell in enumerate(piece.values[record_column]):
                line = piece.first + place
                if not isinstance(cell, str):
                    raise table.error(line, record_column, f"found {cell}, expected the name of a record")
                if (name := one_spelling(cell)) in seen:
                    before = table.place(seen[name])
                    raise table.error(line, record_column, f"record {name} is there twice, before in {before}")
                seen[name] = line
                if (row := row_of.get(name)) is None:
                    self.strangers += 1
                    some_strangers += [name] if len(some_strangers) < _SHOWN else []
                    continue
                self._line[row] = line
                for each in columns:
                    self._cells[each][row] = piece.values[each][place]
        if (self._line < 0).all():
            raise ValueError(
                f"{table.file}: no record of the store is in the column {record_column!r}, found "
                f"{', '.join(some_strangers) or 'no row'}; the store has {', '.join(list(row_of)[:_SHOWN])}"
            )
        self.without_row_N: Bool[ndarray, n] = self._line < 0
        self._names = list(row_of)

    def parsed(self, column: str, read: Callable[[Cell], Any]) -> list[Any]:
        """Values of all records of the store; None where there is no row, or an empty cell."""
        values = []
        for row, cell in enumerate(self._cells[column]):
            try:
                values.append(None if cell is None else read(cell))
            except ValueError as error:
                raise self.table.error(int(self._line[row]), column, f"record {self._names[row]}: {error}") from error
        return values

    def is_flag(self, column: str) -> bool:
        """Whether all cells of a column are 0 or 1, false or true."""
        filled = {cell.lower() if isinstance(cell, str) else cell for cell in self._cells[column] if cell is not None}
        return bool(filled) and filled <= set(_FLAGS)


def _flag(cell: Cell) -> bool:
    if not isinstance(cell, str) or cell.lower() not in _FLAGS:
        raise ValueError(f"found {cell!r}, expected 0 or 1 (false or true)")
    return _FLAGS[cell.lower()]


def _warned(targets: Any, joined: _Joined) -> Any:
    if not len(targets):
        raise ValueError(f"{joined.table.file}: no record has a label and a split: left out {targets.left_out}")
    if not joined.strangers:
        return targets
    note = f"{joined.strangers} rows of {joined.table.file.name} are of records that the store does not have."
    return targets.changed(warnings=(*targets.warnings, note))
