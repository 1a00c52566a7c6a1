"""A table as it grows, of embeddings or predictions: parts that are whole or not there, joined into one file.

    OUT.parts/plan.json        what is made of the entries, and how
              entries.arrow    the entries, see `ecgjepa.embed.listed`
              model/           the encoder, if other machines need it
              00000000.parquet the rows of a run of entries; its metadata names the entries and what was refused
    OUT                        all parts, one after the other
    OUT.failed.csv             every entry without a row, with the reason
    .OUT.lock                  held while a process is at it

Axes: R rows, D width.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.embed.csv_file import CSV_SUFFIX, CsvWriter
from ecgjepa.embed.entries import FAILED_SUFFIX, Entry, printable
from ecgjepa.embed.listed import ListedEntries
from ecgjepa.files import atomic_path, write_json

PLAN = "plan.json"
# Rows of a row group of the finished table.
GROUP_ROWS = 16_384
FAILED_COLUMNS = ("record", "path", "row", "reason", "detail")
_ENTRIES, _FAILED, _DESCRIPTION = b"ecgjepa.entries", b"ecgjepa.failed", b"ecgjepa"
# Of a plan, what may differ between the parts of a table: the options are compared one by one, the rest by its hashes.
_NOT_COMPARED = ("options", "checkpoint", "classifier")
# What every row says of its window.
WINDOW_COLUMNS = (
    ("record", pa.string()),
    ("path", pa.string()),
    ("row", pa.int64()),
    ("window", pa.int32()),
    ("start_s", pa.float64()),
    ("seconds", pa.float64()),
    ("leads", pa.list_(pa.string())),
    ("changes", pa.list_(pa.string())),
    ("flags", pa.list_(pa.string())),
)


def table_schema(width: int, tokens: bool) -> pa.Schema:
    """Columns of a table of embeddings; with `tokens` a row is a token of a window."""
    of_tokens = [("lead", pa.string()), ("patch", pa.int32())] * tokens
    return pa.schema([*WINDOW_COLUMNS, *of_tokens, ("embedding", pa.list_(pa.float32(), width))])


def to_table(columns: Mapping[str, list[Any]], embeddings_RD: Float32[ndarray, "r d"], schema: pa.Schema) -> pa.Table:
    """Rows of a part."""
    return pa.table({**columns, "embedding": to_column(embeddings_RD)}, schema=schema)


def to_column(embeddings_RD: Float32[ndarray, "r d"]) -> pa.FixedSizeListArray:
    """Embeddings as a column."""
    flat = pa.array(np.ascontiguousarray(embeddings_RD).reshape(-1), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, embeddings_RD.shape[1])


class Parts:
    """The parts of a table that is being made.

    Args:
        out: the table.
        schema: its columns.
        plan: what is made and how; parts of another plan are never mixed in.
        what: the rows are, for messages.

    Raises:
        FileExistsError: parts of another plan are there and `overwrite` is False.
    """

    def __init__(
        self, out: Path, schema: pa.Schema, plan: dict[str, Any], *, overwrite: bool, what: str = "embeddings"
    ) -> None:
        self.out, self.schema, self.plan = out, schema, plan
        self.folder = out.with_name(out.name + ".parts")
        self.failed_file = out.with_name(out.name + FAILED_SUFFIX)
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is needed for what is done so far, and is not a folder")
        if self.folder.exists() and (other := self._other_plan()):
            if not overwrite:
                raise FileExistsError(f"{self.folder} holds unfinished {what}, {other}; --overwrite discards them")
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.parquet"):
            left.unlink()  # by a process that was killed while it wrote
        write_json(self.folder / PLAN, plan)

    def _other_plan(self) -> str:
        """In what the plan of the parts that are there differs from ours; nothing if there is no part."""
        names = {file.name for file in self.folder.iterdir()}
        if names and PLAN not in names:
            raise FileExistsError(f"{self.folder} is needed for what is done so far, and holds {sorted(names)[0]}")
        if not any(self.folder.glob("[0-9]*.parquet")):
            return ""
        try:
            before = json.loads((self.folder / PLAN).read_text("utf-8"))
            plans = [{**plan, **plan["options"]} for plan in (before, self.plan)]
        except (ValueError, KeyError, TypeError):
            return f"whose {PLAN} cannot be read"
        changed = [key for key in plans[1] if plans[0].get(key) != plans[1][key] and key not in _NOT_COMPARED]
        return ", ".join(f"{key} was {plans[0].get(key)!r}, is {plans[1][key]!r}" for key in changed)

    def is_done(self, number: int, listed: ListedEntries) -> bool:
        """True if the part is there and holds these entries, from files that have not changed since."""
        try:
            metadata = pq.read_metadata(part_file(self.folder, number)).metadata
        except (OSError, pa.ArrowException):  # not there, or cut
            return False
        return metadata.get(_ENTRIES) == _fingerprint(listed.take(number))

    def join(self, count: int) -> tuple[int, list[tuple[Any, ...]]]:
        """Write the table and the list of failures; the rows of the table, and the failures.

        Without a single row there is no table, and none of before stays.
        """
        rows, failed = 0, []
        for number in range(count):
            metadata = pq.read_metadata(part_file(self.folder, number))
            rows += metadata.num_rows
            failed += [tuple(line) for line in json.loads(metadata.metadata[_FAILED])]
        if failed:
            with atomic_path(self.failed_file) as temporary:
                pd.DataFrame(failed, columns=FAILED_COLUMNS).astype({"row": "Int64"}).to_csv(temporary, index=False)
        else:
            self.failed_file.unlink(missing_ok=True)
        if rows:
            schema = self.schema.with_metadata({_DESCRIPTION: json.dumps(self.plan).encode()})
            with atomic_path(self.out) as temporary, _open_table(temporary, schema) as writer:
                for table in _in_large_groups(part_file(self.folder, number) for number in range(count)):
                    writer.write_table(table.cast(schema))
        else:
            self.out.unlink(missing_ok=True)
        shutil.rmtree(self.folder)
        return rows, failed


def _open_table(file: Path, schema: pa.Schema) -> pq.ParquetWriter | CsvWriter:
    return CsvWriter(file, schema) if file.suffix.lower() == CSV_SUFFIX else pq.ParquetWriter(file, schema)


def _in_large_groups(files: Iterable[Path]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for file in files:
        with pq.ParquetFile(file) as part:
            for group in range(part.num_row_groups):
                waiting.append(part.read_row_group(group))
                if sum(map(len, waiting)) >= GROUP_ROWS:
                    yield pa.concat_tables(waiting)
                    waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def part_file(folder: Path, number: int) -> Path:
    """Where a part is, or will be."""
    return folder / f"{number:08d}.parquet"


@contextmanager
def write_part(file: Path, schema: pa.Schema, entries: list[Entry]) -> Iterator["PartWriter"]:
    """A part, row group by row group; it is there when the block has ended well."""
    fingerprint = _fingerprint(entries)  # before they are read: what changes meanwhile is read again
    with atomic_path(file) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        part = PartWriter(writer)
        yield part
        writer.add_key_value_metadata({_ENTRIES: fingerprint, _FAILED: json.dumps(part.failed).encode()})


class PartWriter:
    """A part that is being written."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self.failed: list[tuple[Any, ...]] = []

    def add(self, table: pa.Table) -> None:
        """Append a row group."""
        self._writer.write_table(table)

    def fail(self, entry: Entry, reason: str, detail: str) -> None:
        """Note an entry that has no embedding."""
        self.failed.append((printable(entry.record), printable(entry.path), entry.row, reason, printable(detail)))


def _fingerprint(entries: list[Entry]) -> bytes:
    """A hash of names, hints, and size and time of the files (of a header's signal files too)."""
    digest = hashlib.sha256()
    for entry in entries:
        path = Path(entry.path)
        files = [path, path.with_suffix(".dat"), path.with_suffix(".mat")] if path.suffix == ".hea" else [path]
        stats = [(stat.st_size, stat.st_mtime_ns) for stat in map(_stat, files) if stat is not None]
        digest.update(repr((entry, stats)).encode())
    return digest.hexdigest().encode()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def read_embeddings(path: Path | str) -> tuple[pd.DataFrame, Float32[ndarray, "r d"]]:
    """A table of embeddings: its other columns, and the embeddings as one array (R, D).

    Raises:
        ValueError: the file is no such table.
    """
    table = pq.read_table(path)
    if "embedding" not in table.column_names or not pa.types.is_fixed_size_list(table.schema.field("embedding").type):
        raise ValueError(f"{path} is no table of embeddings: columns {table.column_names}")
    column = table.column("embedding").combine_chunks()
    embeddings_RD = column.flatten().to_numpy().reshape(len(table), -1)
    return table.drop_columns(["embedding"]).to_pandas(), embeddings_RD
