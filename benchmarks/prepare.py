"""Preparing against the straightforward way: `wfdb.rdrecord`, FFT resampling, one float32 array, one process.

    python benchmarks/prepare.py [DIR] [--runs 3] [--records 400]      records/s, also per core second, and ratios
    python benchmarks/prepare.py --scaling 20000 --runs 3              one worker against two
    python benchmarks/prepare.py --memory 2620 --memory 100000         peak memory of the whole command

DIR is a folder in PTB-XL's layout; without it a synthetic archive is made. `these files` prepares its WFDB records as a
folder, `whole table` as PTB-XL, with labels and a line for every record that the table has and the folder has not. The
ways alternate in one run; medians are printed, ratios are medians of the ratio in each run. Archives for scaling and
memory are 500 synthetic records under many names (hard links). Memory is the sum over all processes, shared pages
counted once (PSS), every 50 ms.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
import wfdb
from scipy.signal import resample

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.data.prepare import prepare
from ecgjepa.data.synthetic import write_ptbxl_archive

COLUMNS = [0, 1, 6, 7, 8, 9, 10, 11]  # I, II, V1-V6 by place, as scripts do
DISTINCT = 500


def straightforward(headers: list[Path], out: Path) -> None:
    """Read, pick columns, resample by FFT, collect, save."""
    signals = []
    for header in headers:
        signal = wfdb.rdrecord(str(header.with_suffix(""))).p_signal[:5000, COLUMNS]
        signals.append(resample(signal, 2500, axis=0).T.astype(np.float32))
    np.save(out, np.stack(signals))


def core_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def compare(ways: dict[str, object], records: int, runs: int) -> None:
    """Time ways in turn, and print them against the first."""
    walls: dict[str, list[float]] = {way: [] for way in ways}
    cores: dict[str, list[float]] = {way: [] for way in ways}
    for run in range(runs):
        for way, work in ways.items():
            began, used = time.perf_counter(), core_seconds()
            work(run)  # type: ignore[operator]
            walls[way].append(time.perf_counter() - began)
            cores[way].append(core_seconds() - used)
    first = next(iter(ways))
    click.echo(f"{records} records, {runs} runs   records/s    ratio   records per core second   ratio")
    for way in ways:
        wall, core = np.array(walls[way]), np.array(cores[way])
        ratios = [np.median(np.array(each[first]) / np.array(each[way])) for each in (walls, cores)]
        click.echo(
            f"{way:26} {records / np.median(wall):10.0f} {ratios[0]:7.2f} x {records / np.median(core):16.0f} "
            f"{ratios[1]:14.2f} x"
        )


def link_archive(folder: Path, records: int) -> Path:
    """Many records of few: hard links of a synthetic archive, as a folder of WFDB records."""
    originals = folder / "originals"
    if not originals.exists():
        write_ptbxl_archive(originals, DISTINCT, seed=0)
    headers = sorted(originals.rglob("*.hea"))
    archive = folder / f"archive-{records}"
    for number in range(records):
        place = archive / f"{number // DISTINCT:06d}"
        if number % DISTINCT == 0:
            place.mkdir(parents=True)
        for file in (headers[number % DISTINCT], headers[number % DISTINCT].with_suffix(".dat")):
            os.link(file, place / file.name)
    return archive


def peak_memory_mb(archive: Path, out: Path, workers: int) -> tuple[float, float]:
    """Of `ecgjepa prepare`, all its processes together; and the seconds it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "ecgjepa", "prepare", "--dataset", "folder", "--data-dir", archive, "--out", out]
    with subprocess.Popen([*command, "--workers", str(workers)], stderr=subprocess.DEVNULL) as process:
        tree, peak = psutil.Process(process.pid), 0
        while process.poll() is None:
            total = 0
            for each in [tree, *(tree.children(recursive=True) if tree.is_running() else [])]:
                try:
                    total += each.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue  # it has just ended
            peak = max(peak, total)
            time.sleep(0.05)
    assert process.returncode == 0, command
    return peak / 1e6, time.perf_counter() - began


@click.command()
@click.argument("data_dir", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--runs", default=3, show_default=True)
@click.option("--records", default=400, show_default=True, help="Records of the synthetic archive.")
@click.option("--scaling", type=int, help="Compare one worker with two on an archive of so many records.")
@click.option("--memory", type=int, multiple=True, help="Peak memory with archives of so many records.")
@click.option("--workers", default=2, show_default=True, help="For --memory.")
def main(
    data_dir: Path | None, runs: int, records: int, scaling: int | None, memory: tuple[int, ...], workers: int
) -> None:
    """Time the ways in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def ours(dataset: str, source: Path, workers: int) -> object:
            out = f"{dataset}-{workers}"
            return lambda run: prepare(dataset, source, folder / f"{run}-{out}", workers=workers, progress=False)

        for count in memory:
            peak, seconds = peak_memory_mb(link_archive(folder, count), folder / f"store-{count}", workers)
            click.echo(f"{count:8} records: peak {peak:6.0f} MB, {seconds:6.1f} s, {count / seconds:6.0f} records/s")
        if scaling:
            archive = link_archive(folder, scaling)
            list(archive.rglob("*"))  # directory entries are in memory for both
            compare({f"prepare, {n} workers": ours("folder", archive, n) for n in (1, 2)}, scaling, runs)
        if memory or scaling:
            return
        if data_dir is None:
            data_dir = folder / "ptbxl"
            write_ptbxl_archive(data_dir, records, seed=0)
        headers = [Path(path) for path in list_records("ptbxl", data_dir).records["path"].dropna()]
        ways = {"wfdb + FFT, one process": lambda _: straightforward(headers, folder / "plain.npy")}
        ways |= {f"these files, {n} workers": ours("folder", data_dir / "records500", n) for n in (1, 2)}
        ways |= {"whole table, 1 worker": ours("ptbxl", data_dir, 1)}
        compare(ways, len(headers), runs)


if __name__ == "__main__":
    main()
