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
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from platformdirs import user_cache_path
from tqdm import tqdm

import ecgjepa
from ecgjepa.data.chunks import prepare_chunk
from ecgjepa.data.datasets import Listing, list_records
from ecgjepa.data.store import DESCRIPTION, FORMAT, RECORDS, REFUSED, SIGNALS, Store, sha256_of
from ecgjepa.errors import PrepareError
from ecgjepa.files import atomic_path, write_json
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract

CHUNK_RECORDS = 128


def prepare(
    dataset: str,
    data_dir: Path | str,
    out: Path | str,
    *,
    contract: SignalContract = DEFAULT_CONTRACT,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Bring a data set to a contract and write it as a store.

    Args:
        dataset: one of `ecgjepa.data.datasets.DATASETS`.
        data_dir: its folder, in the layout of its publisher.
        out: folder of the store; must not exist unless `overwrite`.
        contract: leads, rate, duration and resampling.
        workers: processes; all processors if None.
        progress: show a bar with the time that is left.

    Raises:
        DatasetError: the folder is absent, empty or of another layout.
        FileExistsError: `out` exists, or holds an unfinished store of something else.
        PrepareError: no record could be kept, or the disk is (or would be) full.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
    listing = list_records(dataset, data_dir)
    building = out.with_name(out.name + ".building")
    plan = _plan(listing, contract)
    _claim(building, plan, overwrite)
    try:
        _check_space(out.parent, len(listing.records), contract)
        _run_chunks(listing, contract, building, workers or os.cpu_count() or 1, progress)
        _join(listing, contract, building, {"data_dir": str(Path(data_dir).resolve()), **plan})
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise PrepareError(
            f"the disk of {out.parent} is full; {building} keeps what is done: make room and run the same command again"
        ) from error
    if out.exists():
        shutil.rmtree(out)
    building.rename(out)
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
    if store.exists():
        return Store.open(store)
    return prepare(dataset, data_dir, store, contract=contract, workers=workers, progress=progress)


def fingerprint(listing: Listing, contract: SignalContract) -> str:
    """A hash of what would be prepared: data set, contract, the table, and name, size and time of every file."""
    digest = hashlib.sha256(json.dumps([listing.dataset, contract.to_dict()]).encode())
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


def _claim(building: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Begin, or go on with, the folder in which the store is built."""
    plan_file = building / "plan.json"
    if plan_file.is_file() and json.loads(plan_file.read_text(encoding="utf-8")) == plan:
        return
    if building.exists():
        if not overwrite:
            raise FileExistsError(
                f"{building} holds an unfinished store of other records or another contract; --overwrite discards it"
            )
        shutil.rmtree(building)
    building.mkdir(parents=True)
    write_json(plan_file, plan)


def _check_space(folder: Path, records: int, contract: SignalContract) -> None:
    needed = 2 * records * len(contract.leads) * contract.samples * 2  # chunks and the joined array, for a moment
    if (free := shutil.disk_usage(folder).free) < needed:
        raise PrepareError(
            f"preparing {records} records needs up to {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free"
        )


def _run_chunks(listing: Listing, contract: SignalContract, building: Path, workers: int, progress: bool) -> None:
    records = listing.records
    slices = [(k, records.iloc[k : k + CHUNK_RECORDS]) for k in range(0, len(records), CHUNK_RECORDS)]
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
    _join_arrays(stems, len(kept), contract, building / SIGNALS)
    levels = {
        level: names
        if names is not None
        else sorted({name for names in kept[f"labels_{level}"].dropna() for name in names})
        for level, names in listing.levels.items()
    }
    columns = ["record", "source", "patient", "fold", "split", "age", "sex", "flags"]
    columns += [f"labels_{level}" for level in levels]
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
    for stem in stems:
        stem.with_suffix(".npy").unlink()
        stem.with_suffix(".parquet").unlink()
    (building / "plan.json").unlink()


def _join_arrays(stems: list[Path], kept: int, contract: SignalContract, out: Path) -> None:
    shape = (kept, len(contract.leads), contract.samples)
    with atomic_path(out) as temporary:
        joined = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.int16, shape=shape)
        start = 0
        for stem in stems:
            signals_uv = np.load(stem.with_suffix(".npy"), allow_pickle=False)
            joined[start : start + len(signals_uv)] = signals_uv
            start += len(signals_uv)
        assert start == kept, "array and table agree"
        joined.flush()


def _count(lists: Iterable[Iterable[str]]) -> dict[str, int]:
    """In how many records each word occurs, most frequent first."""
    return dict(Counter(word for words in lists for word in set(words)).most_common())
