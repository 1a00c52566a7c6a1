"""One call of `prepare`: from a listing, a building folder and perhaps a store to the store as it should be."""

import shutil
import uuid
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
        store = None if overwrite or not self.out.exists() else Store.open(self.out)
        plan = self.building.plan
        if plan is not None:
            if plan["job"] != self.job and not overwrite:
                raise FileExistsError(
                    f"{self.building.path} holds an unfinished store of other records or another contract; "
                    "--overwrite discards it"
                )
            is_next = plan["number"] == (0 if store is None else store.info["source"]["additions"] + 1)
            is_meant = plan["overwrites"] or not overwrite  # else everything is to be prepared anew
            if plan["job"] == self.job and is_next and is_meant:
                self._build(plan, store)
                store = Store.open(self.out)
        plan = {"job": self.job, "overwrites": overwrite, "levels": self.listing.levels}
        pieces = checked_pieces(self.listing, self.job["data_dir"])
        if store is None:
            if begun := self.building.begin(pieces, {**plan, "number": 0}, self.contract):
                self._build(begun, None)
            return
        _sweep(self.out)
        plan["number"] = store.info["source"]["additions"] + 1
        from_headers = self.listing.header_labels
        said_by_files = ["age", "sex", *(f"labels_{level}" for level in from_headers)] if from_headers else []
        known = Known(store, said_by_files)
        if begun := self.building.begin(known.new_rows(pieces), plan, self.contract, lambda: known.updates):
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
            data_dir=Path(self.job["data_dir"]),
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
        folder, updates = (store or self.building).path, self.building.updates
        listed, before = plan["levels"], {} if store is None else store.info["levels"]
        tally = Tally({**before, **listed}, None if store is None else store.info["account"])
        tally.add_updates(updates)
        for chunk in self.building.rows():
            tally.add(chunk)
        account = tally.account(write_refused(folder / REFUSED, self.building.rows, store))
        if not tally.kept:
            (folder / PLAN).unlink()  # the next call begins anew
            raise PrepareError(
                f"none of {account['candidates']} records could be kept: "
                f"{', '.join(f'{reason} {count}' for reason, count in account['refused'].items())}; "
                f"see {folder / REFUSED}"
            )
        levels = {
            level: listed[level] if listed.get(level) is not None else sorted({*names, *(before.get(level) or [])})
            for level, names in tally.names.items()
        }
        schema = records_schema(levels)
        write_records(folder / RECORDS, self.job["dataset"], schema, self.building.rows(), store, updates)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        description = {
            "format": FORMAT,
            "id": uuid.uuid4().hex if store is None else store.info["id"],
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

    def _put_in_place(self) -> None:
        """The building becomes the store; one that was there goes when the new one is."""
        for file in self.building.path.iterdir():
            if file.name not in (SIGNALS, RECORDS, REFUSED, DESCRIPTION, PLAN):
                file.unlink()
        replaced = replaced_path(self.out)
        if self.out.exists():
            self.out.rename(replaced)
        self.building.path.rename(self.out)
        (self.out / PLAN).unlink()
        restore_replaced(self.out)


def replaced_path(out: Path) -> Path:
    """Where a store lies while another one takes its place."""
    return out.with_name(f".{out.name}.replaced")


def restore_replaced(out: Path) -> None:
    """Of a store that is being replaced: put it back if nothing took its place, else remove it."""
    replaced = replaced_path(out)
    if replaced.exists():
        if out.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(out)


def _sweep(store: Path) -> None:
    """Remove what a process that was killed has left in a store."""
    for name in (SIGNALS, RECORDS, REFUSED, DESCRIPTION, STALE):
        for file in store.glob(f".{name}.*"):
            file.unlink()
    (store / PLAN).unlink(missing_ok=True)


def _signal_hashes(records: Path) -> Iterator[bytes]:
    """In the order of the rows, some thousands at a time."""
    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=["signal_hash"]):
            yield from batch.column(0).to_pylist()
