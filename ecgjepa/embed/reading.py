"""Entries -> windows, in worker processes where asked; an ECG that cannot be used is a line, never an exception."""

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from ecgjepa.data.preparing.engines import begin_worker
from ecgjepa.data.readers import read
from ecgjepa.data.store import DESCRIPTION, Store
from ecgjepa.embed.entries import Entry
from ecgjepa.embed.listed import ListedEntries
from ecgjepa.errors import RefusedRecordError
from ecgjepa.patches import Windows, take_embeddable
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.windows import Window

# Entries that a worker reads before it hands them over; of recordings whose windows are all taken, one.
READ_AT_ONCE = 16


@dataclass(frozen=True)
class ReadingJob:
    """What is taken of every recording; see `take_embeddable`."""

    contract: SignalContract
    patch_samples: int
    windows: Windows

    @property
    def at_once(self) -> int:
        """Entries that are read together."""
        return READ_AT_ONCE if self.windows == "first" else 1


@dataclass(frozen=True)
class Refusal:
    """Why an entry gives no embedding."""

    reason: str
    detail: str


def read_windows(entry: Entry, job: ReadingJob) -> list[Window] | Refusal:
    """Read one entry and take its windows; whatever is wrong with it is returned."""
    try:
        recording, contract = _read(entry, job.contract)
        return take_embeddable(recording, contract, job.patch_samples, job.windows)
    except RefusedRecordError as refusal:
        return Refusal(refusal.reason, refusal.detail)
    except MemoryError:
        return Refusal("too_large", "not enough memory to read it")
    except Exception as error:  # one file that nobody foresaw must not end the work on all others
        return Refusal("unreadable", f"{type(error).__name__}: {error}")


def _read(entry: Entry, contract: SignalContract) -> tuple[Recording, SignalContract]:
    """A recording, and what is left to do of a contract: a store may be filtered already."""
    if entry.row is None or not (Path(entry.path) / DESCRIPTION).is_file():
        return read(Path(entry.path), entry.row, entry.record, entry.hints), contract
    store = _open_store(entry.path)
    if store.contract.filter not in ("none", contract.filter):
        found = f"the store has filter {store.contract.filter}, expected none or the encoder's own ({contract.filter})"
        raise RefusedRecordError(entry.record, "filtered", found)
    signal_mv = store.signals_mv([entry.row])[0]
    recording = Recording(entry.record, signal_mv, store.contract.leads, store.contract.sampling_rate_hz)
    return recording, contract if store.contract.filter == "none" else replace(contract, filter="none")


@functools.lru_cache(maxsize=4)
def _open_store(path: str) -> Store:
    return Store.open(path)


class Reader(Dataset[list[tuple[Entry, list[Window] | Refusal]]]):
    """Pieces of runs of entries, read when they are asked for."""

    def __init__(self, listed: ListedEntries, runs: Sequence[int], job: ReadingJob) -> None:
        self.listed, self.runs, self.job = listed, runs, job
        self.pieces = -(-listed.length(0) // job.at_once) if listed.runs else 0  # of a run; the last may have fewer

    def __len__(self) -> int:
        return len(self.runs) * self.pieces

    def __getitem__(self, number: int) -> list[tuple[Entry, list[Window] | Refusal]]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        run, piece = divmod(number, self.pieces)
        entries = self.listed.take(self.runs[run], piece * self.job.at_once, self.job.at_once)
        return [(entry, read_windows(entry, self.job)) for entry in entries]


def read_all(
    listed: ListedEntries, runs: Sequence[int], job: ReadingJob, workers: int
) -> Iterator[tuple[Entry, list[Window] | Refusal]]:
    """Entries of the runs given with their windows or their refusal, in order.

    Args:
        workers: processes that read ahead; 0 reads in this one.
    """
    loader = DataLoader(
        Reader(listed, runs, job),
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,  # a fork would cut off the threads of torch and h5py
        worker_init_fn=functools.partial(begin_worker, os.getpid()),
    )
    for piece in loader:
        yield from piece
