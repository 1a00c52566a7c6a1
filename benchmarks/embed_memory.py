"""Does the memory of `ecgjepa embed` grow with the number of records? Peak resident memory of the whole process.

    python benchmarks/embed_memory.py --records 2000 100000

A table names 64 synthetic WFDB records again and again; every row is read, standardised, embedded and written.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch

from ecgjepa.checkpoint import save_model
from ecgjepa.config import ModelConfig
from ecgjepa.data.synthetic import write_ptbxl_archive
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract

FILES = 64


def main() -> None:
    """Embed tables of every length and print the peak memory of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[2_000, 100_000])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = ModelConfig(width=options.width, depth=options.depth, heads=4, patch_norm=True)
        encoder = Encoder(config, SignalContract(), generator=torch.Generator().manual_seed(0))
        save_model(folder / "model", {"teacher": encoder})
        table = write_ptbxl_archive(folder / "archive", FILES, 0)
        paths = [f"archive/{path}.hea" for path in table["filename_hr"]]
        print(f"width {options.width}, depth {options.depth}")
        print(f"{'records':>9} {'peak MB':>8} {'records/s':>10} {'table MB':>9}")
        for records in options.records:
            rows = {"path": [paths[k % FILES] for k in range(records)], "record": [f"r{k:07d}" for k in range(records)]}
            pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
            out = folder / f"{records}.parquet"
            began = time.monotonic()
            peak_mb = run("embed", folder / "model", folder / "table.csv", "--out", out, "--device", "cpu")
            rate = records / (time.monotonic() - began)
            print(f"{records:9,} {peak_mb:8.0f} {rate:10.0f} {out.stat().st_size / 1e6:9.0f}", flush=True)


def run(*arguments: object) -> float:
    """Run a command of ecgjepa to its end; its peak resident memory in MB."""
    process = subprocess.Popen([sys.executable, "-m", "ecgjepa", *map(str, arguments)], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"ecgjepa {arguments[0]} ended with status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
