"""One call of `prepare`: from a listing, a building folder and perhaps a store to the store as it should be."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tqdm import tqdm

import ecgjepa
from ecgjepa.data.listings.listing import Listing, checked_pieces
from ecgjepa.data.preparing.account import Tally, records_schema, write_records, write_refused
from ecgjepa.data.preparing.building import PLAN, Building, Joiner
from ecgjepa.data.preparing.chunks import prepare_chunk
from ecgjepa.data.preparing.engines import Engine
from ecgjepa.data.preparing.known import STALE, Known
from ecgjepa.data.store import (
    DESCRIPTION,
    FORMAT,
    RECORDS,
    REFUSED,
    SIGNALS,
    Store,
    digest_of,
    sha256_of,
)
from ecgjepa.errors import PrepareError
from ecgjepa.files import write_json
from ecgjepa.signal import SignalContract


class Preparation:
    """What one call has to do.

    Args:
        job: what the store is made from and how; a store or a building of another job is not touched.
        workers: processes, or what the engine makes of them.
    """

    def __init__(
        self,
        listing: Listing,
        job: dict[str, Any],
        contract: SignalContract,
        out: Path,
        workers: int,
        progress: bool,
        engine: Engine,
    ) -> None:
        self.listing, self.job, self.contract, self.out = listing, job, contract, out
        self.workers, self.progress, self.engine = workers, progress, engine
        self.building = Building(out)

    def run(self, overwrite: bool) -> None:
        """Finish what was begun; then, or else, begin."""
        self._clear_replaced()
        store = None if overwrite or not self.out.exists() else Store.open(self.out)
        plan = self.building.plan
        if plan is not None:
            if plan["job"] != self.job and not overwrite:
                raise FileExistsError(
                    f"{self.building.path} holds an unfinished store of other records or another contract; "
                    "--overwrite discards it"
                )
            is_next = plan["number"] == (0 if store is None else store.info["source"]["additions"] + 1)
            if plan["job"] == self.job and is_next:
                self._build(plan, store)
                store = Store.open(self.out)
        pieces = checked_pieces(self.listing, self.job["data_dir"])
        if store is None:
            plan = {"job": self.job, "number": 0}
            if begun := self.building.begin(pieces, plan, self.contract):
                self._build(begun, None)
            return
        known = Known(store)
        plan = {"job": self.job, "number": store.info["source"]["additions"] + 1}
        if begun := self.building.begin((known.take_new(piece) for piece in pieces), plan, self.contract):
            self._build(begun, store)
        self.building.clear()
        self._note_stale(known)

    def _build(self, plan: dict[str, Any], store: Store | None) -> None:
        """Prepare the listing of the plan, and put its rows behind those of the store, or into a new one."""
        path = self.building.path
        if store is not None or not (path / DESCRIPTION).is_file():
            joiner = Joiner(
                path, self.contract, 0 if store is None else len(store), (store or self.building).path / SIGNALS
            )
            try:
                self._run_chunks(joiner, plan["records"])
                joiner.finish()
            finally:
                joiner.close()
            self._describe(plan, store)
        if store is None:
            self._put_in_place()

    def _run_chunks(self, joiner: Joiner, records: int) -> None:
        work = partial(
            prepare_chunk,
            building=self.building.path,
            contract=self.contract,
            header_labels=self.listing.header_labels,
        )
        joiner.advance()
        todo = joiner.todo()
        done = joiner.count_records()
        with tqdm(
            total=records, initial=done, unit="record", desc=f"prepare {self.job['dataset']}", disable=not self.progress
        ) as bar:
            for number, count in self.engine(work, todo, min(self.workers, len(todo))):
                joiner.arrived(number)
                bar.update(count)

    def _describe(self, plan: dict[str, Any], store: Store | None) -> None:
        """Write the tables, then `store.json`, with which the rows count."""
        folder = (store or self.building).path
        tally = Tally(self.listing.levels, None if store is None else store.info["account"])
        for chunk in self.building.rows():
            tally.add(chunk)
        account = tally.account(write_refused(folder / REFUSED, self.building.rows, store))
        if not tally.kept:
            (folder / PLAN).unlink()  # the next call begins anew
            raise PrepareError(
                f"none of {account['candidates']} records could be kept: {account['refused']}; see {folder / REFUSED}"
            )
        before = {} if store is None else store.info["levels"]
        levels = {
            level: sorted(tally.names[level] | set(before.get(level, []))) if names is None else names
            for level, names in self.listing.levels.items()
        }
        schema = records_schema(levels)
        write_records(folder / RECORDS, self.job["dataset"], schema, self.building.rows(), store)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        description = {
            "format": FORMAT,
            "dataset": self.job["dataset"],
            "contract": self.contract.to_dict(),
            "levels": levels,
            "account": account,
            "source": {**self.job, "additions": plan["number"]},
            "checksums": {SIGNALS: digest_of(_signal_hashes(folder / RECORDS)), RECORDS: sha256_of(folder / RECORDS)},
            "versions": {name: version(name) for name in ("wfdb", "numpy", "scipy")} | {"ecgjepa": ecgjepa.__version__},
            "created": now if store is None else store.info["created"],
            "changed": now,
        }
        write_json(folder / DESCRIPTION, description)

    def _note_stale(self, known: Known) -> None:
        """Say in the store, and in a file beside, which records' files are others now."""
        info = Store.open(self.out).info
        stale = known.write_stale(self.out / STALE)
        if info.get("stale", {}) != stale:
            write_json(self.out / DESCRIPTION, {**info, "stale": stale})

    @property
    def _replaced(self) -> Path:
        return self.out.with_name(f".{self.out.name}.replaced")

    def _put_in_place(self) -> None:
        """The building becomes the store; one that was there goes when the new one is."""
        for file in self.building.path.iterdir():
            if file.name not in (SIGNALS, RECORDS, REFUSED, DESCRIPTION, PLAN):
                file.unlink()
        if self.out.exists():
            self.out.rename(self._replaced)
        self.building.path.rename(self.out)
        (self.out / PLAN).unlink()
        self._clear_replaced()

    def _clear_replaced(self) -> None:
        """What a process that was killed while it replaced a store has left."""
        if self._replaced.exists():
            if self.out.exists():
                shutil.rmtree(self._replaced)
            else:
                self._replaced.rename(self.out)


def _signal_hashes(records: Path) -> Iterator[bytes]:
    """In the order of the rows, some thousands at a time."""
    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=["signal_hash"]):
            yield from batch.column(0).to_pylist()
