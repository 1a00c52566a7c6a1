"""`prepare` killed (SIGKILL) at a random moment and started again gives the store of an unbroken run, byte for byte.

ECGJEPA_KILLS=50 pytest tests/data/test_kills.py
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.data.archives import smooth_signal, write_wfdb

KILLS = int(os.environ.get("ECGJEPA_KILLS", "6"))
FILES = ("signals.npy", "records.parquet", "refused.csv")
# Small chunks and a journal after each, so that many moments are different ones.
CODE = """
import sys
from ecgjepa.data.preparing import building
from ecgjepa.data.prepare import prepare
if __name__ == "__main__":
    building.CHUNK_RECORDS, building.JOURNAL_SECONDS = 5, 0.02
    prepare("folder", sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), progress=False)
"""


def start(script: Path, data: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, script, data, out, str(workers)], start_new_session=True)


def wait_for_building(process: subprocess.Popen[bytes], out: Path) -> float:
    """The moment at which work begins."""
    while process.poll() is None and not out.with_name(out.name + ".building").exists():
        time.sleep(0.001)
    return time.monotonic()


def content(store: Path) -> dict[str, bytes]:
    return {name: (store / name).read_bytes() for name in FILES}


def write_archive(folder: Path, numbers: range) -> Path:
    for k in numbers:
        write_wfdb(folder, f"r{k:03d}", np.zeros((5000, 12)) if k % 17 == 3 else smooth_signal(k))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_moment_will_do(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(CODE)
    data = write_archive(tmp_path / "data", range(0, 120, 2))
    assert start(script, data, tmp_path / "half", 1).wait() == 0
    write_archive(data, range(1, 120, 2))
    expected, seconds = {}, {}
    for is_addition in (False, True):
        out = tmp_path / f"unbroken-{is_addition}"
        if is_addition:
            shutil.copytree(tmp_path / "half", out)
        process = start(script, data, out, 1)
        began = wait_for_building(process, out)
        assert process.wait() == 0
        expected[is_addition], seconds[is_addition] = content(out), time.monotonic() - began
    assert expected[True] != expected[False]  # additions go behind

    chance, unfinished = random.Random(0), 0
    for kill in range(KILLS):
        out, is_addition, workers = tmp_path / f"killed-{kill}", kill % 2 == 1, 1 + kill % 3 // 2
        if is_addition:
            shutil.copytree(tmp_path / "half", out)
        process = start(script, data, out, workers)
        wait_for_building(process, out)
        time.sleep(chance.uniform(0, seconds[is_addition] + (workers - 1)))  # a second worker has to start first
        if kill % 2:
            process.kill()  # workers may go on for a moment beside the next call
        else:
            os.killpg(process.pid, signal.SIGKILL)
        unfinished += process.wait() != 0
        assert start(script, data, out, 1).wait() == 0
        assert content(out) == expected[is_addition], f"kill {kill}"
        left = {path.name for path in tmp_path.iterdir() if path.name.startswith((out.name, f".{out.name}"))}
        assert left == {out.name, f".{out.name}.lock"}
        assert {path.name for path in out.iterdir()} == {*FILES, "store.json"}
        shutil.rmtree(out)
    print(f"{KILLS} kills, {unfinished} before the end: all stores as of an unbroken run")
    assert unfinished >= KILLS // 2
