"""The tables of a store and the account of every record, from the rows of the chunks, a few thousand at a time."""

import csv
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecgjepa.data.listings.listing import FIELDS, PIECE, name_hashes, printable
from ecgjepa.data.store import RECORDS, REFUSED, Store
from ecgjepa.files import atomic_path

REFUSED_COLUMNS = ("record", "path", "row", "reason", "detail", "file_state")
GROUP_ROWS = 16_384


def records_schema(levels: Iterable[str]) -> pa.Schema:
    """Columns of `records.parquet`."""
    known = {name: FIELDS[name] for name in ("patient", "fold", "split", "age", "sex", "device", "site")}
    words = pa.list_(pa.string())
    columns = {"record": pa.string(), "source": pa.string(), **known, "flags": words}
    columns |= {"file_state": pa.uint64(), "listed_state": pa.uint64(), "signal_hash": pa.binary(16)}
    return pa.schema([*columns.items(), *((f"labels_{level}", words) for level in levels)])


def write_records(
    path: Path,
    source: str,
    schema: pa.Schema,
    chunks: Iterable[pa.Table],
    store: Store | None,
    updates: pa.Table | None,
) -> None:
    """Write the table of the kept records; the groups of rows are the same however they came.

    Args:
        source: what these records are said to be from.
        schema: see `records_schema`.
        chunks: rows of all chunks.
        store: what is added to; its rows come first.
        updates: what is said of some of its rows now, see `Known`.
    """

    def tables() -> Iterator[pa.Table]:
        if store is not None:
            left = len(store)
            with pq.ParquetFile(store.path / RECORDS) as file:
                for batch in file.iter_batches(GROUP_ROWS):
                    first = len(store) - left
                    yield _updated(_as(pa.Table.from_batches([batch.slice(0, left)]), schema), first, updates)
                    if (left := left - len(batch)) <= 0:
                        break
        for chunk in chunks:
            kept = chunk.filter(chunk["kept"])
            yield _as(kept.append_column("source", pa.repeat(source, len(kept))), schema)

    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        waiting: list[pa.Table] = []
        for table in tables():
            waiting.append(table)
            if sum(map(len, waiting)) >= GROUP_ROWS:
                joined = pa.concat_tables(waiting).combine_chunks()
                writer.write_table(joined.slice(0, GROUP_ROWS), GROUP_ROWS)
                waiting = [joined.slice(GROUP_ROWS)]
        writer.write_table(pa.concat_tables([schema.empty_table(), *waiting]).combine_chunks(), GROUP_ROWS)


def _as(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The columns of a schema; those that are not there are empty."""
    there = table.schema.names
    columns = [
        table[each.name].cast(each.type) if each.name in there else pa.nulls(len(table), each.type) for each in schema
    ]
    return pa.table(columns, schema=schema)


def _updated(table: pa.Table, first: int, updates: pa.Table | None) -> pa.Table:
    """Rows from `first` of a store, with what is said of them now."""
    if updates is None:
        return table
    start, stop = np.searchsorted(updates["at"].to_numpy(), [first, first + len(table)])
    if start == stop:
        return table
    some = updates.slice(start, stop - start)
    take = np.arange(len(table))
    take[some["at"].to_numpy() - first] = len(table) + np.arange(len(some))
    columns = {
        name: pa.chunked_array([*table[name].chunks, *some[name].cast(table.schema.field(name).type).chunks]).take(
            pa.array(take)
        )
        if name in some.schema.names
        else table[name]
        for name in table.schema.names
    }
    return pa.table(columns, schema=table.schema)


def write_refused(path: Path, chunks: Callable[[], Iterable[pa.Table]], store: Store | None) -> dict[str, int]:
    """Write the list of refused records; how many for each reason, most frequent first.

    Args:
        chunks: rows of all chunks, from the first with every call.
        store: what is added to; what it refused comes first, without what the chunks have tried again.
    """
    reasons: Counter[str] = Counter()

    def rows() -> Iterator[list[Any]]:
        if store is not None:
            again = np.concatenate([np.array([], np.uint64), *(name_hashes(chunk["record"]) for chunk in chunks())])
            with (store.path / REFUSED).open(newline="", encoding="utf-8") as file:
                before = csv.reader(file)
                next(before)
                while some := list(itertools.islice(before, PIECE)):
                    is_again = np.isin(name_hashes(pa.array([row[0] for row in some])), again)
                    yield from (row for row, tried in zip(some, is_again, strict=True) if not tried)
        for chunk in chunks():
            for each in chunk.filter(pc.invert(chunk["kept"])).select(REFUSED_COLUMNS).to_pylist():
                each["path"] = None if each["path"] is None else printable(os.fsdecode(each["path"]))
                yield list(each.values())

    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(REFUSED_COLUMNS)
        for row in rows():
            reasons[row[3]] += 1
            writer.writerow(row)
    return dict(reasons.most_common())


class Tally:
    """Counts over the kept records of chunks: changes, flags, and the names at each label level."""

    def __init__(self, levels: Iterable[str], before: dict[str, Any] | None = None) -> None:
        before = before or {"kept": 0, "changed": {}, "flags": {}}
        self.kept = int(before["kept"])
        self.changed, self.flags = Counter(before["changed"]), Counter(before["flags"])
        self.names: dict[str, set[str]] = {level: set() for level in levels}

    def add(self, chunk: pa.Table) -> None:
        """Count the kept records of a chunk."""
        kept = chunk.filter(chunk["kept"])
        self.kept += len(kept)
        for words in kept["changes"].to_pylist():
            self.changed.update(set(words))
        for words in kept["flags"].to_pylist():
            self.flags.update({word.partition(":")[0] for word in words})
        for level, names in self.names.items():
            if f"labels_{level}" in kept.schema.names:
                names.update(pc.unique(pc.list_flatten(kept[f"labels_{level}"])).to_pylist())

    def add_updates(self, updates: pa.Table | None) -> None:
        """Take the names in what is said of other records now."""
        if updates is None:
            return
        for level, names in self.names.items():
            if f"labels_{level}" in updates.schema.names:
                names.update(pc.unique(pc.list_flatten(updates[f"labels_{level}"])).to_pylist())

    def account(self, refused: dict[str, int]) -> dict[str, Any]:
        """What became of all candidates, most frequent first."""
        return {
            "candidates": self.kept + sum(refused.values()),
            "kept": self.kept,
            "changed": dict(self.changed.most_common()),
            "refused": refused,
            "flags": dict(self.flags.most_common()),
        }
