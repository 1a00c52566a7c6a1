"""Recordings -> store, in parallel, with an account of every record kept, changed or refused.

The listing is cut into chunks. A worker reads, standardises and quantises one chunk and writes it as two files into
`NAME.building/`; when all are there, they are joined and the folder takes its final name. A chunk whose table is
written is done, so an interrupted run goes on where it stopped, and memory holds one chunk per worker.
"""

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock
from platformdirs import user_cache_path
from tqdm import tqdm

import ecgjepa
from ecgjepa.data.chunks import prepare_chunk, write_signals
from ecgjepa.data.datasets import Listing, list_records
from ecgjepa.data.store import COLUMNS, DESCRIPTION, FORMAT, RECORDS, REFUSED, SIGNALS, Store, sha256_of
from ecgjepa.errors import PrepareError
from ecgjepa.files import atomic_path, write_json
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract

CHUNK_RECORDS = 128
# Changes whenever the same file would give another row, so that nothing made by older rules is taken for new.
RULES = 1
PLAN = "plan.json"


def prepare(
    dataset: str,
    data_dir: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    contract: SignalContract = DEFAULT_CONTRACT,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Bring a data set to a contract and write it as a store.

    Args:
        dataset: one of `ecgjepa.data.datasets.DATASETS`.
        data_dir: its folder, in the layout of its publisher.
        out: folder of the store; must not exist unless `overwrite`, which replaces a store and nothing else.
        name: what the store calls itself, if its records are not those of `dataset` but only laid out like them.
        contract: leads, rate, duration and resampling.
        workers: processes; all processors if None.
        progress: show a bar with the time that is left.

    Raises:
        DatasetError: the folder is absent, empty or of another layout.
        FileExistsError: `out` exists, or holds an unfinished store of something else.
        PrepareError: no record could be kept, or the disk is (or would be) full.
    """
    out, data_dir = Path(os.path.realpath(out)), Path(data_dir).expanduser().resolve()
    _check_free(out, data_dir, overwrite)
    building = out.with_name(out.name + ".building")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(out):
        listing = list_records(dataset, data_dir)
        listing = replace(listing, dataset=name or listing.dataset)
        plan = _plan(listing, contract)
        if not _is_finished(building, plan):
            _claim(building, plan, overwrite)
            try:
                _run_chunks(listing, contract, building, workers or os.cpu_count() or 1, progress)
                _join(listing, contract, building, {"data_dir": str(data_dir), **plan})
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                raise PrepareError(
                    f"the disk of {out.parent} is full; {building} keeps what is done: "
                    "make room and run the same command again"
                ) from error
        _put_in_place(building, out)
    return Store.open(out)


def cached_store(
    dataset: str,
    data_dir: Path | str,
    cache_dir: Path | str | None = None,
    *,
    contract: SignalContract = DEFAULT_CONTRACT,
    workers: int | None = None,
    progress: bool = True,
) -> Store:
    """The store of a raw folder: prepared once, found again as long as neither its files nor the contract change.

    Args:
        cache_dir: where such stores are kept; `$ECGJEPA_CACHE`, or the user's cache folder, if None.
    """
    root = Path(cache_dir or os.environ.get("ECGJEPA_CACHE") or user_cache_path("ecgjepa", appauthor=False) / "stores")
    store = root / f"{dataset}-{fingerprint(list_records(dataset, data_dir), contract)[:16]}"
    if not store.exists():
        try:
            return prepare(dataset, data_dir, store, contract=contract, workers=workers, progress=progress)
        except FileExistsError:
            if not store.exists():
                raise  # else another process has made it meanwhile
    return Store.open(store)


def fingerprint(listing: Listing, contract: SignalContract) -> str:
    """A hash of what would be prepared: rules, data set, contract, the table, and name, size and time of the files.

    Of a WFDB record these are its `.hea`, `.dat` and `.mat`.
    """
    digest = hashlib.sha256(json.dumps([FORMAT, RULES, listing.dataset, contract.to_dict()]).encode())
    digest.update(listing.records.to_json(orient="values").encode())
    for path in sorted(set(listing.records["path"].dropna())):
        signal_files = [Path(path), Path(path).with_suffix(".dat"), Path(path).with_suffix(".mat")]
        stats = [file.stat() for file in signal_files if file.is_file()]
        digest.update(f"{path} {[(stat.st_size, stat.st_mtime_ns) for stat in stats]}".encode())
    return digest.hexdigest()


def _plan(listing: Listing, contract: SignalContract) -> dict[str, Any]:
    return {
        "dataset": listing.dataset,
        "fingerprint": fingerprint(listing, contract),
        "chunk_records": CHUNK_RECORDS,
    }


def _check_free(out: Path, data_dir: Path, overwrite: bool) -> None:
    """Nothing but a store is ever replaced, and never the folder that is read."""
    if data_dir == out or out in data_dir.parents:
        raise FileExistsError(f"{out} holds the raw data; choose another folder for the store")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    if out.exists() and not (out / DESCRIPTION).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} is there and is no store: it is left as it is, choose another folder")


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """While one process prepares a store, others wait; who waited finds it there."""
    lock = FileLock(out.with_name(out.name + ".lock"))
    existed = out.exists()
    try:
        with lock:
            if out.exists() and not existed:
                raise FileExistsError(f"{out} was prepared by another process meanwhile")
            yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)


def _is_finished(building: Path, plan: dict[str, Any]) -> bool:
    """True if the store is whole and only its name is missing."""
    return (building / DESCRIPTION).is_file() and _is_same(building, plan)


def _is_same(building: Path, plan: dict[str, Any]) -> bool:
    file = building / PLAN
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")) == plan


def _put_in_place(building: Path, out: Path) -> None:
    for file in building.iterdir():
        if file.name not in (SIGNALS, RECORDS, REFUSED, DESCRIPTION, PLAN):
            file.unlink()  # chunks, and what a killed worker left
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as aside:
        if out.exists():
            out.rename(Path(aside) / "old")
        building.rename(out)
    (out / PLAN).unlink()


def _claim(building: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Begin, or go on with, the folder in which the store is built."""
    if _is_same(building, plan):
        return
    if building.exists():
        if any(file.name[0] != "." for file in building.iterdir()) and not (building / PLAN).is_file():
            raise FileExistsError(f"{building} is needed to build the store, and holds something else")
        if (building / PLAN).is_file() and not overwrite:
            raise FileExistsError(
                f"{building} holds an unfinished store of other records or another contract; --overwrite discards it"
            )
        shutil.rmtree(building)
    building.mkdir(parents=True)
    write_json(building / PLAN, plan)


def _check_space(building: Path, kept_at_most: int, contract: SignalContract) -> None:
    record_bytes = 2 * len(contract.leads) * contract.samples
    there = sum(file.stat().st_size for file in building.glob("[0-9]*.npy"))
    needed = 2 * kept_at_most * record_bytes - there  # chunks and the joined array, for a moment
    if (free := shutil.disk_usage(building).free) < needed:
        raise PrepareError(
            f"preparing {kept_at_most} records needs {needed / 1e6:,.0f} MB in {building.parent}, "
            f"{free / 1e6:,.0f} MB are free"
        )


def _run_chunks(listing: Listing, contract: SignalContract, building: Path, workers: int, progress: bool) -> None:
    records = listing.records
    slices = [(k, records.iloc[k : k + CHUNK_RECORDS]) for k in range(0, len(records), CHUNK_RECORDS)]
    _check_space(building, int(records["path"].notna().sum()), contract)
    todo = [(building / f"{k:09d}", chunk) for k, chunk in slices if not (building / f"{k:09d}.parquet").is_file()]
    done = len(records) - sum(len(chunk) for _, chunk in todo)
    work = partial(prepare_chunk, contract=contract, header_labels=listing.header_labels)
    with tqdm(
        total=len(records),
        initial=done,
        unit="record",
        desc=f"prepare {listing.dataset}",
        disable=not progress,
    ) as bar:
        for finished in _map(work, todo, min(workers, len(todo))):
            bar.update(finished)


def _map(work: Any, todo: list[tuple[Path, pd.DataFrame]], workers: int) -> Iterator[int]:
    if workers <= 1:
        yield from (work(stem, chunk) for stem, chunk in todo)
        return
    # Spawned, not forked: the parent may hold threads (torch, h5py) that a fork would cut off.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(work, stem, chunk) for stem, chunk in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise PrepareError(
                "a worker process was ended from outside (out of memory?), or could not start (a script that calls "
                "prepare() needs `if __name__ == '__main__':`); what is done is kept: run it again, perhaps with one"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _join(listing: Listing, contract: SignalContract, building: Path, source: dict[str, Any]) -> None:
    """Join the chunks into one array and one table, and describe them."""
    stems = sorted(file.with_suffix("") for file in building.glob("[0-9]*.parquet"))
    rows = pd.concat([pd.read_parquet(stem.with_suffix(".parquet")) for stem in stems], ignore_index=True)
    assert len(rows) == len(listing.records), "every record has a row"
    kept, refused = rows[rows["kept"]], rows[~rows["kept"]]
    account = {
        "candidates": len(rows),
        "kept": len(kept),
        "changed": _count(kept["changes"]),
        "refused": dict(Counter(refused["reason"]).most_common()),
        "flags": _count((flag.partition(":")[0] for flag in flags) for flags in kept["flags"]),
    }
    refused[["record", "path", "reason", "detail"]].to_csv(building / REFUSED, index=False)
    if kept.empty:
        raise PrepareError(f"none of {len(rows)} records could be kept: {account['refused']}; see {building / REFUSED}")
    chunks = (np.load(stem.with_suffix(".npy"), allow_pickle=False) for stem in stems)
    with atomic_path(building / SIGNALS) as file:
        write_signals(file, len(kept), contract, chunks)
    levels = {
        level: names
        if names is not None
        else sorted({name for names in kept[f"labels_{level}"].dropna() for name in names})
        for level, names in listing.levels.items()
    }
    columns = [*COLUMNS, *(f"labels_{level}" for level in levels)]
    table = kept.assign(source=listing.dataset).astype({"fold": "Int64", "age": float})[columns]
    with atomic_path(building / RECORDS) as file:
        table.to_parquet(file, index=False)
    description = {
        "format": FORMAT,
        "dataset": listing.dataset,
        "contract": contract.to_dict(),
        "levels": levels,
        "account": account,
        "source": source,
        "checksums": {name: sha256_of(building / name) for name in (SIGNALS, RECORDS)},
        "versions": {"ecgjepa": ecgjepa.__version__, "wfdb": version("wfdb"), "scipy": version("scipy")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_json(building / DESCRIPTION, description)


def _count(lists: Iterable[Iterable[str]]) -> dict[str, int]:
    """In how many records each word occurs, most frequent first."""
    return dict(Counter(word for words in lists for word in set(words)).most_common())
