"""The folder in which a store is built, or rows are added to one: it is there until they are all in place.

    NAME.building/plan.json      what is built; written when the listing is whole
                  listing.arrow  every record to prepare
                  00000012.*     chunks that are done, see `ecgjepa.data.preparing.chunks`
                  joined.json    how many chunks have been put into the array, and the rows that they gave
                  updates.arrow  what is said now of records that the store has
                  signals.npy    the array of a new store; rows of an addition go behind those of its store

A process may be killed at any moment: files appear whole or not at all, the array is cut back to `joined.json`, and
chunks that another process left are held against their hashes.
"""

import io
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ecgjepa.data.listings.listing import in_chunks
from ecgjepa.data.preparing.chunks import LISTING, chunk_files, count_chunks, read_rows
from ecgjepa.data.store import DESCRIPTION, signal_hash
from ecgjepa.errors import PrepareError
from ecgjepa.files import atomic_path, write_json
from ecgjepa.signal import SignalContract

CHUNK_RECORDS = 256
PLAN, JOURNAL, UPDATES = "plan.json", "joined.json", "updates.arrow"
# Between two entries of the journal, each of which waits for the disk.
JOURNAL_SECONDS = 5.0
HEADER_BYTES = 128
_OURS = re.compile(
    r"\.?(\d{8}\.(bin|arrow)|(plan|joined|store)\.json|(listing|updates)\.arrow|signals\.npy|records\.parquet|refused\.csv)(\..+)?"
)


class Building:
    """The folder of one store.

    Attributes:
        path: `NAME.building`.
        out: the store, there already or not.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.path = out, out.with_name(out.name + ".building")

    @property
    def plan(self) -> dict[str, Any] | None:
        """What is being built; None if nothing is."""
        file = self.path / PLAN
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None

    def begin(
        self,
        pieces: Iterable[pa.Table],
        plan: dict[str, Any],
        contract: SignalContract,
        updates: Callable[[], pa.Table | None] = lambda: None,
    ) -> dict[str, Any] | None:
        """Write the listing and the updates, then the plan.

        Args:
            updates: asked for when all pieces were seen.

        Returns:
            The plan with the number of records; None if there is nothing to do.

        Raises:
            PrepareError: the disk has no room for them.
        """
        self.clear()
        self.path.mkdir(parents=True)
        records = there = 0
        with atomic_path(self.path / LISTING) as path, pa.OSFile(str(path), "wb") as sink:
            writer = None
            for batch in in_chunks(pieces, CHUNK_RECORDS):
                writer = writer or pa.ipc.new_file(sink, batch.schema)
                writer.write_batch(batch)
                records += len(batch)
                there += len(batch) - batch.column("path").null_count
            if writer is not None:
                writer.close()
        if (said := updates()) is not None:
            with atomic_path(self.path / UPDATES) as path, pa.ipc.new_file(str(path), said.schema) as table:
                table.write_table(said)
        if not records and said is None:
            return None
        self._check_space(there, contract)
        plan = {**plan, "records": records}
        write_json(self.path / PLAN, plan)
        return plan

    def clear(self) -> None:
        """Remove the folder.

        Raises:
            FileExistsError: it holds something else.
        """
        if not self.path.exists():
            return
        names = [file.name for file in self.path.iterdir()] if self.path.is_dir() else [""]
        if any(not _is_ours(name) for name in names) or (DESCRIPTION in names and PLAN not in names):
            raise FileExistsError(f"{self.path} is needed to build the store, and holds something else")
        shutil.rmtree(self.path)

    def _check_space(self, records: int, contract: SignalContract) -> None:
        needed = records * 2 * len(contract.leads) * contract.samples
        if (free := shutil.disk_usage(self.path).free) < needed:
            raise PrepareError(
                f"preparing {records} records needs {needed / 1e6:,.0f} MB in {self.path.parent}, "
                f"{free / 1e6:,.0f} MB are free"
            )

    @property
    def updates(self) -> pa.Table | None:
        """What is said now of records that the store has."""
        return read_rows(self.path / UPDATES) if (self.path / UPDATES).is_file() else None

    def rows(self) -> Iterator[pa.Table]:
        """The rows of all chunks, in the order of the listing."""
        return (read_rows(chunk_files(self.path, number)[1]) for number in range(count_chunks(self.path)))


class Joiner:
    """Puts chunks into the array in the order of the listing, as soon as those before them are there.

    Args:
        building: where the chunks are.
        contract: of the array.
        base_rows: rows of the store that is added to.
        array: the file; of a new store, or the store's own.
    """

    def __init__(self, building: Path, contract: SignalContract, base_rows: int, array: Path) -> None:
        self.building, self.contract, self.base_rows = building, contract, base_rows
        self.row_bytes = 2 * len(contract.leads) * contract.samples
        self.chunks = count_chunks(building)
        journal = building / JOURNAL
        told = json.loads(journal.read_text(encoding="utf-8")) if journal.is_file() else {"chunks": 0, "rows": 0}
        self.joined, self.rows = told["chunks"], told["rows"]
        for number in range(self.joined):
            chunk_files(building, number)[0].unlink(missing_ok=True)  # it is in the array
        self.done = {number for number in range(self.chunks) if number < self.joined or self._is_whole(number)}
        self.file = array.open("r+b" if array.exists() else "w+b")
        self.file.truncate(self._end())
        self.file.seek(self._end())
        self._written = time.monotonic()

    def _end(self) -> int:
        return HEADER_BYTES + (self.base_rows + self.rows) * self.row_bytes

    def _is_whole(self, number: int) -> bool:
        """Whether another process left this chunk undamaged: a lost machine may keep a name without its content."""
        signal_file, rows_file = chunk_files(self.building, number)
        if not rows_file.is_file():
            return False
        try:
            hashes = read_rows(rows_file)["signal_hash"].drop_null().to_pylist()
            shape = (len(hashes), len(self.contract.leads), self.contract.samples)
            signals = np.fromfile(signal_file, "<i2").reshape(shape)
        except (OSError, ValueError, KeyError):  # an ArrowInvalid is a ValueError
            return False
        return all(signal_hash(row) == expected for row, expected in zip(signals, hashes, strict=True))

    def count_records(self) -> int:
        """Records of the chunks that are done."""
        if not self.chunks:
            return 0
        with pa.memory_map(str(self.building / LISTING)) as file:
            listing = pa.ipc.open_file(file)
            return sum(listing.get_batch(number).num_rows for number in self.done)

    def todo(self) -> list[int]:
        """Chunks to prepare."""
        return [number for number in range(self.chunks) if number not in self.done]

    def arrived(self, number: int) -> None:
        """A chunk is there: it and those behind it that waited are put in place."""
        self.done.add(number)
        self.advance()

    def advance(self) -> None:
        """Put in place what is next and there."""
        while self.joined in self.done and self.joined < self.chunks:
            signal_file, rows_file = chunk_files(self.building, self.joined)
            with signal_file.open("rb") as source:
                before = self.file.tell()
                shutil.copyfileobj(source, self.file, 2**20)
            kept = read_rows(rows_file)["kept"].to_numpy().sum()
            assert self.file.tell() - before == kept * self.row_bytes, f"chunk {self.joined} has the rows it says"
            self.joined, self.rows = self.joined + 1, self.rows + int(kept)
            if time.monotonic() - self._written > JOURNAL_SECONDS:
                self.write_journal()

    def write_journal(self) -> None:
        """What was put in place stays there; its chunks' signals are no longer needed."""
        self.file.flush()
        os.fsync(self.file.fileno())
        write_json(self.building / JOURNAL, {"chunks": self.joined, "rows": self.rows})
        for signal_file in self.building.glob("[0-9]*.bin"):
            if int(signal_file.stem) < self.joined:
                signal_file.unlink(missing_ok=True)
        self._written = time.monotonic()

    def finish(self) -> int:
        """Everything is in place: say so in the header of the array; its rows."""
        assert self.joined == self.chunks, "every chunk is in place"
        self.write_journal()
        self.file.seek(0)
        self.file.write(array_header(self.base_rows + self.rows, self.contract))
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.base_rows + self.rows

    def close(self) -> None:
        """Let the file go."""
        self.file.close()


def array_header(rows: int, contract: SignalContract) -> bytes:
    """The header of an `.npy` file of int16 (rows, L, S); NumPy leaves room in it for more digits."""
    header = io.BytesIO()
    shape = (rows, len(contract.leads), contract.samples)
    values = {"descr": np.lib.format.dtype_to_descr(np.dtype("<i2")), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, values)
    assert header.tell() == HEADER_BYTES, "one length for any number of rows"
    return header.getvalue()


def _is_ours(name: str) -> bool:
    """A file of a building, or what a process that was killed has left of one."""
    return _OURS.fullmatch(name) is not None
