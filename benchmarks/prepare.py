"""Records per second of preparing, against the straightforward way: `wfdb.rdrecord`, FFT resampling, one float32 array.

    python benchmarks/prepare.py [DIR] [--runs 3] [--records 400]

DIR is a folder in PTB-XL's layout; without it a synthetic archive is made. The ways alternate in one run; medians
of records/s and of the ratio in each run are printed.
"""

import tempfile
import time
from pathlib import Path

import click
import numpy as np
import wfdb
from scipy.signal import resample

from ecgjepa.data.datasets import list_records
from ecgjepa.data.prepare import prepare
from ecgjepa.data.synthetic import write_ptbxl_archive

COLUMNS = [0, 1, 6, 7, 8, 9, 10, 11]  # I, II, V1-V6 by place, as scripts do


def straightforward(headers: list[Path], out: Path) -> None:
    """Read, pick columns, resample by FFT, collect, save."""
    signals = []
    for header in headers:
        signal = wfdb.rdrecord(str(header.with_suffix(""))).p_signal[:5000, COLUMNS]
        signals.append(resample(signal, 2500, axis=0).T.astype(np.float32))
    np.save(out, np.stack(signals))


@click.command()
@click.argument("data_dir", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--runs", default=3, show_default=True)
@click.option("--records", default=400, show_default=True, help="Records of the synthetic archive.")
def main(data_dir: Path | None, runs: int, records: int) -> None:
    """Time both ways in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if data_dir is None:
            data_dir = folder / "ptbxl"
            write_ptbxl_archive(data_dir, records, seed=0)
        headers = [Path(path) for path in list_records("ptbxl", data_dir).records["path"].dropna()]
        ways = ("wfdb + FFT, one process", "prepare, 1 worker", "prepare, 2 workers")
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for run in range(runs):
            for way, found in rates.items():
                began = time.perf_counter()
                if way.startswith("wfdb"):
                    straightforward(headers, folder / "plain.npy")
                else:
                    prepare("ptbxl", data_dir, folder / f"{run}{way}", workers=int(way.split()[1]), progress=False)
                found.append(len(headers) / (time.perf_counter() - began))
        plain = np.array(rates["wfdb + FFT, one process"])
        click.echo(f"{len(headers)} records, {runs} runs")
        for way, found in rates.items():
            ratio = np.median(np.array(found) / plain)
            click.echo(f"{way:26} {np.median(found):8.0f} records/s   {ratio:5.2f} x")


if __name__ == "__main__":
    main()
