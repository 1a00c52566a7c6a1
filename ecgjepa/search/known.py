"""What stores know of the rows of a table of embeddings: labels, age, sex, source.

Axes: R rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64
from numpy import ndarray

from ecgjepa.data.store import DESCRIPTION, Store
from ecgjepa.search.description import IndexFolderError
from ecgjepa.search.rows import SCHEMA

USUAL_LEVEL = "superdiagnostic"
_LABELS = "labels_"
_KNOWN = ("labels", "age", "sex", "source")
# What joins labels in a table where they are text.
_BETWEEN = ";"


@dataclass(frozen=True)
class Known:
    """What is known of every row.

    Attributes:
        table: the columns of `ecgjepa.search.rows.SCHEMA`.
        levels: of each store that knows some row, the level of its labels.
        unknown: number of rows that are in no store, and of which their own table says nothing.
    """

    table: pa.Table
    levels: dict[str, str | None]
    unknown: int


def know_rows(rows: pa.Table, stores: Sequence[Path], level: str | None) -> Known:
    """Look every row up: in the store that its `path` names, else by its record's name in the stores that are given.

    Args:
        rows: columns of a table of embeddings without the embeddings: record, path, row, window, start_s, and perhaps
            labels (a list, or text joined by `;`), age, sex, source, which count where no store knows the row.
        level: of the labels; superdiagnostic where a store has it, else its first, if None.

    Raises:
        IndexFolderError: a record that two of the stores hold, a store that has changed, or lacks the level; a column
            of another type.
        StoreError: a store that is not whole.
    """
    record = rows.column("record").combine_chunks()
    own = _own_stores(rows)
    opened = {str(path): Store.open(path) for path in dict.fromkeys(_absolute(path) for path in stores)}
    given = list(opened)
    for path in own.names:
        if path is not None and path not in opened:
            opened[path] = Store.open(path)
    store_R, row_R = own.store_R(list(opened)), own.row_R.copy()
    _check_unchanged(rows, store_R, row_R, list(opened.values()))
    _find_by_name(record, store_R, row_R, given, opened)
    levels = {path: _level_of(store, level) for k, (path, store) in enumerate(opened.items()) if (store_R == k).any()}
    columns = _columns_of_stores(store_R, row_R, opened, levels)
    for name in _KNOWN:
        if name in rows.column_names:
            columns[name] = _filled(columns[name], _cast(rows.column(name), name), store_R < 0)
    nothing_R = np.logical_and.reduce([columns[name].is_null().to_numpy(zero_copy_only=False) for name in _KNOWN])
    paths = pa.DictionaryArray.from_arrays(pa.array(store_R, mask=store_R < 0), pa.array(list(opened), pa.string()))
    table = pa.table(
        {
            "record": record,
            "path": pc.coalesce(paths.cast(pa.string()), rows.column("path").combine_chunks()),
            "store_row": pa.array(row_R, mask=store_R < 0),
            "file_row": pc.if_else(pa.array(store_R < 0), rows.column("row").combine_chunks(), None),
            "window": rows.column("window"),
            "start_s": rows.column("start_s"),
            **columns,
        }
    )
    return Known(table.select(SCHEMA.names).cast(SCHEMA), levels, int((nothing_R & (store_R < 0)).sum()))


@dataclass(frozen=True)
class _OwnStores:
    """Stores that the rows' own paths name.

    Attributes:
        names: of every distinct path with rows, its store; None if it is none.
        code_R: which of them, -1 where a row has no number in its file.
        row_R: its row there.
    """

    names: list[str | None]
    code_R: ndarray
    row_R: ndarray

    def store_R(self, stores: list[str]) -> Int64[ndarray, "r"]:
        """Numbers of the stores, -1 for none."""
        numbers = np.array([-1 if name is None else stores.index(name) for name in self.names] + [-1], np.int64)
        return numbers[self.code_R]


def _own_stores(rows: pa.Table) -> _OwnStores:
    number = rows.column("row").combine_chunks()
    paths = pc.if_else(pc.is_valid(number), rows.column("path").combine_chunks(), None).dictionary_encode()
    found = [Path(path) for path in paths.dictionary.to_pylist()]
    names = [str(_absolute(path)) if (path / DESCRIPTION).is_file() else None for path in found]
    code_R = paths.indices.fill_null(len(names)).to_numpy(zero_copy_only=False).astype(np.int64)
    return _OwnStores(names, code_R, number.fill_null(-1).to_numpy(zero_copy_only=False).copy())


def _check_unchanged(rows: pa.Table, store_R: ndarray, row_R: ndarray, stores: list[Store]) -> None:
    """The store still holds, at its row, the record that was embedded."""
    record, path = (rows.column(name).combine_chunks() for name in ("record", "path"))
    for k, store in enumerate(stores):
        (places,) = np.nonzero(store_R == k)
        if not len(places):
            continue
        names = store.column("record").combine_chunks()
        if (beyond := places[row_R[places] >= len(store)]).size:
            place = int(beyond[0])
            raise IndexFolderError(
                f"{record[place]}: row {row_R[place]} of store {store.path}, which has {len(store)} rows; "
                "it has changed since it was embedded"
            )
        there, wanted = names.take(pa.array(row_R[places])), record.take(pa.array(places))
        # records of one name are called by path and row in a table of embeddings
        number = pa.array(row_R[places]).cast(pa.string())
        whole = pc.binary_join_element_wise(path.take(pa.array(places)), "[", number, "]", "")
        is_same = pc.or_(pc.equal(there, wanted), pc.equal(whole, wanted))
        if (wrong := np.flatnonzero(~is_same.to_numpy(zero_copy_only=False))).size:
            row = row_R[places[wrong[0]]]
            raise IndexFolderError(
                f"{wanted[int(wrong[0])]}: row {row} of store {store.path} is {there[int(wrong[0])]}; "
                "it has changed since it was embedded"
            )


def _find_by_name(
    record: pa.Array, store_R: ndarray, row_R: ndarray, given: list[str], opened: dict[str, Store]
) -> None:
    """Fill in the rows that no path led to."""
    (open_N,) = np.nonzero(store_R < 0)
    row_R[open_N] = -1
    wanted = record.take(pa.array(open_N))
    for k, path in enumerate(given):
        names = opened[path].column("record").combine_chunks()
        found_N = pc.index_in(wanted, value_set=names).fill_null(-1).to_numpy(zero_copy_only=False)
        here = found_N >= 0
        if (twice := open_N[here & (store_R[open_N] >= 0)]).size:
            other = given[int(store_R[twice[0]])]
            raise IndexFolderError(f"record {record[int(twice[0])]} is in store {other} and in store {path}")
        store_R[open_N[here]], row_R[open_N[here]] = k, found_N[here]


def _level_of(store: Store, level: str | None) -> str | None:
    levels = list(store.info["levels"])
    if level is None:
        return USUAL_LEVEL if USUAL_LEVEL in levels else next(iter(levels), None)
    if level not in levels:
        raise IndexFolderError(
            f"store {store.path} has no labels of level {level!r}, found {', '.join(levels) or 'none'}"
        )
    return level


def _columns_of_stores(
    store_R: ndarray, row_R: ndarray, opened: dict[str, Store], levels: dict[str, str | None]
) -> dict[str, pa.Array]:
    """labels, age, sex and source of the rows, null where no store knows a row."""
    columns: dict[str, pa.Array] = {}
    used = {path: (k, opened[path]) for k, path in enumerate(opened) if path in levels}
    for name in _KNOWN:
        pieces, starts, start = [], {}, 0
        for path, (k, store) in used.items():
            stored = f"{_LABELS}{levels[path]}" if name == "labels" else name
            has = store.has_column(stored)
            piece = _cast(store.column(stored), name) if has else pa.nulls(len(store), SCHEMA.field(name).type)
            pieces.append(piece)
            starts[k], start = start, start + len(piece)
        everything = pa.concat_arrays(pieces) if pieces else pa.array([], SCHEMA.field(name).type)
        offset_R = np.zeros(len(store_R), np.int64)
        for k, first in starts.items():
            offset_R[store_R == k] = first
        columns[name] = everything.take(pa.array(offset_R + row_R, mask=store_R < 0))
    return columns


def _filled(known: pa.Array, told: pa.Array, unknown_R: ndarray) -> pa.Array:
    return pc.if_else(pa.array(unknown_R), told, known)


def _cast(column: pa.ChunkedArray, name: str) -> pa.Array:
    values = column.combine_chunks()
    wanted = SCHEMA.field(name).type
    try:
        if name == "labels" and pa.types.is_string(values.type):
            # no word is no label, not a label without a name
            values = pc.split_pattern(pc.if_else(pc.equal(values, ""), None, values), _BETWEEN)
        return values.cast(wanted)
    except pa.ArrowException as error:
        raise IndexFolderError(f"column {name!r} is of type {values.type}, expected {wanted}") from error


def _absolute(path: Path) -> Path:
    return Path(path).absolute()
