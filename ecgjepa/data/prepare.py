"""Recordings -> store, in parallel, with an account of every record kept, changed or refused.

The listing is cut into chunks. A worker reads, standardises and quantises one chunk and leaves it in `NAME.building/`;
this process puts chunks into the array in the order of the listing. Memory holds one chunk per worker, an interrupted
run goes on where it stopped, and a row that a record once got is its own for good: what is new goes behind.
"""

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.data.listings.listing import Listing, fingerprint
from ecgjepa.data.preparing.engines import Engine, local
from ecgjepa.data.preparing.preparation import Preparation, restore_replaced
from ecgjepa.data.store import DESCRIPTION, FORMAT, Store, read_description
from ecgjepa.errors import PrepareError
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract

# Changes whenever the same file would give another row, so that nothing made by older rules is taken for new.
RULES = 2

_log = logging.getLogger(__name__)


def prepare(
    dataset: str | Listing,
    data_dir: Path | str,
    out: Path | str,
    *,
    name: str | None = None,
    contract: SignalContract = DEFAULT_CONTRACT,
    workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
    engine: Engine = local,
) -> Store:
    """Bring a data set to a contract and write it as a store, or add to the store of it what is new.

    Records that a store has keep their rows; those whose files have changed since or are gone keep them too, and are
    named in `stale.csv`. Refused records are tried again when their files have changed.

    Args:
        dataset: one of `ecgjepa.data.listings.datasets.DATASETS`, or a listing of one's own.
        data_dir: its folder, in the layout of its publisher.
        out: folder of the store.
        name: what the store calls itself, if its records are not those of `dataset` but only laid out like them.
        contract: leads, rate, duration and resampling.
        workers: processes; all processors if None.
        overwrite: prepare everything anew, and replace the store that is there; nothing but a store is ever replaced.
        progress: show a bar with the time that is left.
        engine: where the work is done, see `ecgjepa.data.preparing.engines`.

    Raises:
        DatasetError: the folder is absent, empty or of another layout.
        FileExistsError: `out` is there and no store of these records, or an unfinished store of something else is.
        PrepareError: no record could be kept, or the disk is (or would be) full.
    """
    out, data_dir = Path(os.path.realpath(out)), Path(data_dir).expanduser().resolve()
    if data_dir == out or out in data_dir.parents:
        raise FileExistsError(f"{out} holds the raw data; choose another folder for the store")
    if out.suffix == ".building":
        raise ValueError(f"{out}: names that end in .building are those of stores that are not finished")
    listing = list_records(dataset, data_dir) if isinstance(dataset, str) else dataset
    job = {
        "dataset": name or listing.dataset,
        "layout": listing.dataset,
        "data_dir": str(data_dir),
        "options": listing.options,
        "contract": contract.to_dict(),
        "rules": RULES,
        "format": FORMAT,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(out):
        restore_replaced(out)
        _check_free(out, job, overwrite)
        try:
            Preparation(listing, job, contract, out, workers or os.cpu_count() or 1, progress, engine).run(overwrite)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise PrepareError(
                f"the disk of {out.parent} is full; {out}.building keeps what is done: "
                "make room and run the same command again"
            ) from error
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
    listing = list_records(dataset, data_dir)
    store = root / f"{dataset}-{fingerprint(listing, data_dir, FORMAT, RULES, contract.to_dict())[:16]}"
    if not store.exists():
        return prepare(listing, data_dir, store, contract=contract, workers=workers, progress=progress)
    return Store.open(store)


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    """While one process prepares a store, others wait. The lock's file stays: who removes it may remove another's."""
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        _log.warning("another process prepares %s; waiting for it", out)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _check_free(out: Path, job: dict[str, Any], overwrite: bool) -> None:
    """Nothing but a store is ever replaced, and only what is of the same making is added to."""
    if not out.exists():
        return
    if not (out / DESCRIPTION).is_file():
        if not out.is_dir() or any(out.iterdir()):
            raise FileExistsError(f"{out} is there and is no store: it is left as it is, choose another folder")
        out.rmdir()
    elif not overwrite:
        made = read_description(out).get("source", {})
        if other := _differences(made, job):
            raise FileExistsError(
                f"{out} exists already and was made otherwise: {'; '.join(other)}. "
                "Choose another folder, or --overwrite to replace it"
            )


def _differences(made: Mapping[str, Any], job: Mapping[str, Any]) -> list[str]:
    """Which settings differ, also within those that have parts."""
    words = []
    for key in dict.fromkeys([*made, *job]) if "additions" not in made else dict.fromkeys(job):
        old, new = made.get(key), job.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            words += _differences(old, new)
        elif old != new:
            words.append(f"{key} was {'not given' if old is None else old}, is {'not given' if new is None else new}")
    return words
