"""Loading at the scale of archives: start-up, records per second and resident memory, on one thread.

Ours (`Store.open`, `Batches`) against the straightforward way in one run: the whole table as pandas objects, a memory
map, fancy indexing. The store of a million records is a file with a hole for the signals (40 GB that take no room),
the smaller one is written and fits the page cache. A row is read for the first time in every timed step of the first.

    python benchmarks/load.py --records 1000000 --epoch
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from ecgjepa.config import DataConfig
from ecgjepa.data.batches import Batches
from ecgjepa.data.store import DESCRIPTION, FORMAT, RECORDS, SIGNALS, Store
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT
from ecgjepa.train.pretrain import training_rows

SPLITS = np.array(["train"] * 8 + ["validation", "test"], dtype=object)
CLASSES = ["1AVB", "AFIB", "IMI", "LAFB", "NORM", "SR"]
ROWS_AT_ONCE = 100_000


def write_table(path: Path, records: int) -> None:
    """A table as `prepare` writes it."""
    chance, writer = np.random.default_rng(0), None
    for first in range(0, records, ROWS_AT_ONCE):
        rows = range(first, min(first + ROWS_AT_ONCE, records))
        names, noise = [f"exams_part{row % 18}.hdf5[{row}]" for row in rows], chance.bytes(16 * len(rows))
        columns = {
            "record": names, "source": ["code15"] * len(rows), "patient": [f"p{row // 2}" for row in rows],
            "fold": [row % 10 for row in rows], "split": SPLITS[chance.integers(10, size=len(rows))],
            "age": chance.uniform(18, 90, len(rows)).round(), "sex": ["female" if row % 2 else "male" for row in rows],
            "flags": pa.array([[] for _ in rows], pa.list_(pa.string())),
            "file_state": chance.integers(2**63, size=len(rows), dtype=np.uint64),
            "signal_hash": pa.array([noise[16 * k : 16 * k + 16] for k in range(len(rows))], pa.binary()),
            "labels_all": [[CLASSES[row % 6], CLASSES[row % 5]] for row in rows],
        }  # fmt: skip
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def write_store(folder: Path, records: int, hole: bool) -> Path:
    """A store of the default contract; with a hole in place of signals, or with random samples."""
    folder.mkdir()
    shape = (records, len(DEFAULT_CONTRACT.leads), DEFAULT_CONTRACT.samples)
    with (folder / SIGNALS).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i2", "fortran_order": False, "shape": shape})
        if hole:
            file.truncate(file.tell() + 2 * int(np.prod(shape)))
        else:
            chance = np.random.default_rng(0)
            for _ in range(records):
                file.write(chance.integers(-2000, 2000, shape[1:], dtype=np.int16).data)
    write_table(folder / RECORDS, records)
    account = {"candidates": records, "kept": records, "changed": {}, "refused": {}, "flags": {}}
    description = {"format": FORMAT, "dataset": "code15", "contract": DEFAULT_CONTRACT.to_dict(), "levels": {}}
    write_json(folder / DESCRIPTION, {**description, "account": account, "checksums": {}})
    return folder


def open_ours(folder: Path, batch_size: int) -> Batches:
    store = Store.open(folder)
    return Batches([store], [training_rows(store, DataConfig())], batch_size, seed=0)


class Plain:
    """As it was: everything at once, through a memory map."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        self.records, self.batch_size = pd.read_parquet(folder / RECORDS), batch_size
        for name in ("flags", "labels_all"):
            self.records[name] = [None if value is None else list(value) for value in self.records[name]]
        self.signals_uv = np.load(folder / SIGNALS, mmap_mode="r", allow_pickle=False)
        self.rows = np.flatnonzero(~self.records["split"].isin(["validation", "test"]))
        self.order = np.random.default_rng((0, 0)).permutation(len(self.rows))

    def batch(self, step: int) -> torch.Tensor:
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        signals_mv = np.empty((self.batch_size, *self.signals_uv.shape[1:]), np.float32)
        here = np.ones(self.batch_size, bool)
        signals_mv[here] = self.signals_uv[self.rows[chosen]].astype(np.float32) / np.float32(1000)
        return torch.from_numpy(signals_mv)


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of a core: the second is the same whoever else uses the machine."""
    began, began_core = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - began_core


def measure_rates(forms: dict[str, Batches | Plain], steps: int, runs: int, per_epoch: int) -> None:
    """Records per second of each form in turn, every run on other steps of the first epoch while there are any."""
    rates: dict[str, list[tuple[float, ...]]] = {name: [] for name in forms}
    turn = 0
    for _ in range(runs):
        for name, form in forms.items():
            wanted = [(turn * steps + k) % per_epoch for k in range(steps)]
            turn += 1
            took = seconds_of(lambda form=form, wanted=wanted: [form.batch(step).shape for step in wanted])
            rates[name].append(tuple(steps * form.batch_size / seconds for seconds in took))
    for name, found in rates.items():
        by_clock, by_core = zip(*found, strict=True)
        print(
            f"  {name:6s} {statistics.median(by_clock):8,.0f} records/s (median of {runs}, {min(by_clock):,.0f} to "
            f"{max(by_clock):,.0f}), {statistics.median(by_core):,.0f} in a core second"
        )
    print(f"         resident {resident_mb():,.0f} MB with the memory map of plain")


def measure_epoch(batches: Batches, parts: int = 10) -> None:
    """Resident memory through a whole epoch, and the rate in each tenth of it."""
    batches.batch(0)
    rates: list[list[float]] = []
    marks = [f"{resident_mb():,.0f} MB at the begin"]
    for part in range(parts):
        steps = range(*(batches.steps_per_epoch * k // parts for k in (part, part + 1)))
        took = seconds_of(lambda steps=steps: [batches.batch(step).shape for step in steps])
        rates.append([len(steps) * batches.batch_size / seconds for seconds in took])
        if part + 1 in (parts // 2, parts):
            marks.append(f"{resident_mb():,.0f} MB {'at the end' if part + 1 == parts else 'in the middle'}")
    print(f"  ours   through an epoch: resident {', '.join(marks)}")
    for unit, each in zip(("s", "core second"), zip(*rates, strict=True), strict=True):
        print(f"         records/{unit} in each tenth of it: {', '.join(f'{rate:,.0f}' for rate in each)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000, help="of the store with a hole")
    parser.add_argument("--written-records", type=int, default=20_000, help="of the store that is written, 40 kB each")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=60, help="of a timed run")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--epoch", action="store_true", help="read a whole epoch, and watch resident memory")
    parser.add_argument("--folder", type=Path, help="where the stores are written for the time of the run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        large = write_store(Path(folder) / "large", args.records, hole=True)
        print(f"{args.records:,} records of {DEFAULT_CONTRACT.samples} samples, batches of {args.batch_size}")
        before = resident_mb()
        took = [seconds_of(lambda: open_ours(large, args.batch_size))[0] for _ in range(args.runs)]
        ours = open_ours(large, args.batch_size)
        print(
            f"  ours   {statistics.median(took):.2f} s to open (median of {args.runs}; the first {took[0]:.2f} s), "
            f"resident {before:,.0f} -> {resident_mb():,.0f} MB"
        )
        if args.epoch:
            measure_epoch(ours)
        began = time.perf_counter()
        plain = Plain(large, args.batch_size)
        print(f"  plain  {time.perf_counter() - began:.2f} s to open, resident {resident_mb():,.0f} MB")
        np.testing.assert_array_equal(plain.batch(0).numpy(), ours.batch(0).numpy())
        measure_rates({"ours": ours, "plain": plain}, args.steps, args.runs, ours.steps_per_epoch)
        del plain

        small = write_store(Path(folder) / "small", args.written_records, hole=False)
        ours, plain = open_ours(small, args.batch_size), Plain(small, args.batch_size)
        np.testing.assert_array_equal(plain.batch(0).numpy(), ours.batch(0).numpy())
        print(f"{args.written_records:,} records that are written and in the page cache")
        measure_rates({"ours": ours, "plain": plain}, args.steps, args.runs, ours.steps_per_epoch)


if __name__ == "__main__":
    main()
