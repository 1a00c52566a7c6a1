"""What is looked at, numbered: the records of a listing, or the rows of a store, all or a sample."""

import functools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy import ndarray

from ecgjepa.audit.findings import Findings, look_at_file, look_at_row
from ecgjepa.data.listings.listing import Listing, in_chunks
from ecgjepa.data.preparing.chunks import READ
from ecgjepa.data.store import Store
from ecgjepa.signal import SignalContract

# Rows that are read of a listing at once.
BATCH = 256
# Sources beyond the largest are counted together.
MAX_SOURCES = 20
LISTING, SAMPLE = "listing.arrow", "sample.npy"
_SCHEMA = pa.schema({"record": pa.string(), "path": pa.binary(), "row": pa.int64(), "top": pa.string(),
                     "sampling_rate_hz": pa.float64(), "leads": pa.list_(pa.string()), "unit": pa.string(),
                     "gain_per_mv": pa.float64()})  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """Records by their numbers; pickled, it is a few paths and names.

    Attributes:
        scratch: folder with `listing.arrow` and, of a sample, `sample.npy`.
        records: how many are looked at.
        listed: how many there are.
        sources: their names; a record's source is a place in them.
        contract: what the records are held against.
        store: the folder of the store that they are rows of.
    """

    scratch: Path
    records: int
    listed: int
    sources: tuple[str, ...]
    contract: SignalContract
    store: Path | None = None
    _source_of: dict[str, int] = field(default_factory=dict, repr=False)

    def read(self, first: int, last: int) -> Iterator[tuple[int, dict[str, Any], int, Findings]]:
        """Number, row of the listing, source and findings of some records."""
        signals = None if self.store is None else _store(self.store)
        for number, listed, row in self.rows(range(first, last)):
            if signals is None:
                found = look_at_file(row, self.contract)
            else:
                found = look_at_row(signals.signals_mv([listed])[0], self.contract)
            yield number, row, self.source_of(row), found

    def source_of(self, row: dict[str, Any]) -> int:
        """The place of a row's source in `sources`."""
        return self._source_of.get(row["top"], len(self.sources) - 1)

    def rows(self, numbers: Iterable[int]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Number, place in the whole listing, and row of records; ascending numbers are read once."""
        sample = np.load(self.scratch / SAMPLE, mmap_mode="r") if self.records < self.listed else None
        with pa.memory_map(str(self.scratch / LISTING)) as file:
            reader, opened, rows = pa.ipc.open_file(file), -1, []
            for number in numbers:
                listed = number if sample is None else int(sample[number])
                if listed // BATCH != opened:
                    opened = listed // BATCH
                    rows = reader.get_batch(opened).to_pylist()
                yield number, listed, rows[listed % BATCH]


def from_listing(
    listing: Listing, scratch: Path, contract: SignalContract, sample: int | None = None, seed: int = 0
) -> Inputs:
    """The records of a listing; its source is the data set, in a folder the name of the topmost folder within.

    Args:
        scratch: where the listing is written, 100 bytes a record.
        sample: look at this many, chosen by the seed.
    """
    return _write(_listed(listing), scratch, contract, sample, seed)


def from_store(path: Path, scratch: Path, sample: int | None = None, seed: int = 0) -> Inputs:
    """The rows of a store.

    Raises:
        StoreError: it is none.
    """
    store = Store.open(path)
    names, sources = (store.column(name).combine_chunks() for name in ("record", "source"))

    def pieces() -> Iterator[pa.Table]:
        for first in range(0, len(store), BATCH):
            record, top = names.slice(first, BATCH), sources.slice(first, BATCH)
            yield _piece({"record": record, "top": top}, len(record))

    return _write(pieces(), scratch, store.contract, sample, seed, path.resolve())


def _listed(listing: Listing) -> Iterator[pa.Table]:
    for piece in listing.pieces():
        names = piece["record"].to_pylist()
        in_folders = listing.dataset == "folder"
        tops = [name.partition("/")[0] if "/" in name else "." for name in names] if in_folders else None
        top = pa.array(tops or [listing.dataset] * len(names), pa.string())
        yield _piece({**{name: piece[name] for name in READ}, "top": top}, len(names))


def _piece(columns: dict[str, Any], rows: int) -> pa.Table:
    return pa.table([columns.get(each.name, pa.nulls(rows, each.type)) for each in _SCHEMA], schema=_SCHEMA)


def _write(
    pieces: Iterable[pa.Table],
    scratch: Path,
    contract: SignalContract,
    sample: int | None,
    seed: int,
    store: Path | None = None,
) -> Inputs:
    listed, tops = 0, Counter[str]()
    with pa.OSFile(str(scratch / LISTING), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for batch in in_chunks(pieces, BATCH):
            writer.write_batch(batch)
            listed += len(batch)
            tops.update(batch.column("top").to_pylist())
    records = listed if sample is None else min(sample, listed)
    if records < listed:
        np.save(scratch / SAMPLE, _choose(listed, records, seed))
    largest = sorted(tops, key=lambda top: (-tops[top], top))
    named = sorted(largest if len(largest) <= MAX_SOURCES else largest[: MAX_SOURCES - 1])
    source_of = {top: place for place, top in enumerate(named)}
    if len(named) < len(tops):
        named.append(f"{len(tops) - len(named)} others")
    return Inputs(scratch, records, listed, tuple(named), contract, store, source_of)


def _choose(listed: int, records: int, seed: int) -> ndarray:
    return np.sort(np.random.default_rng(seed).choice(listed, records, replace=False, shuffle=False))


@functools.lru_cache(maxsize=1)
def _store(path: Path) -> Store:
    return Store.open(path)
