"""`pretrain` killed (SIGKILL) at any moment and gone on with gives the run of an unbroken one, to the bit.

ECGJEPA_KILLS=50 pytest -s tests/train/test_training_kills.py
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.data.stores import write_store
from tests.train.forks import Forks, flags
from tests.train.runs import TINY, assert_same_run, info_of, write_labelled_store

KILLS = int(os.environ.get("ECGJEPA_KILLS", "4"))
AT_MOST = 6  # kills of one run before it may end
SETTINGS: dict[str, Any] = {
    **TINY, "training.epochs": 4, "run.log_every": 2, "run.checkpoint_minutes": 1e-6, "run.evaluate_epochs": 2,
    "run.keep_epochs": 1, "model.width": 96, "mask.scope": "record", "mask.masks_per_record": 2,
    "training.target": "centred", "run.probe_encoder": "student", "training.lr": 2e-2,
}  # fmt: skip
STEPS = 12


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as started:
        yield started


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*")}


def wait_until_it_writes(run: Path, process_is_alive: Any, number: int) -> None:
    """Until the checkpoint with this number is being written, each looked for by its temporary file."""
    seen: set[str] = set()
    while process_is_alive():
        seen |= {path.name for path in (run / "checkpoints").glob(".last.pt.*")}
        if len(seen) >= number:
            return


def is_alive(process: int) -> bool:
    """False when it has ended, even if nobody has asked yet how."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_any_moment_will_do(forks: Forks, tmp_path: Path) -> None:
    store, labelled = write_store(tmp_path / "ecgs", 16), write_labelled_store(tmp_path / "labelled", 40, seed=1)
    probe = {"run.probe_store": str(labelled.path), "run.probe_level": "kind"}
    command = ["pretrain", "--resume", *flags({**SETTINGS, **probe, "data.stores": [str(store.path)]})]
    log, unbroken = tmp_path / "log.txt", tmp_path / "unbroken"
    began = time.monotonic()
    assert forks.run([*command, "--out", str(unbroken)], log, die_at=(unbroken, 0)) == 0, log.read_text()
    seconds = time.monotonic() - began
    changes = int(log.read_text().rpartition("changes ")[2])
    assert changes > 100
    expected = pd.read_csv(unbroken / "evaluations.csv").drop(columns=["seconds", "core_seconds"])
    assert expected["step"].tolist() == [0, 6, 12]
    assert info_of(unbroken)["steps"] == STEPS
    kept = sorted(path.name for path in (unbroken / "checkpoints").iterdir())
    always = ["last.pt", "previous.pt", *(f"step-{step:08d}.pt" for step in (3, 6, 9, 12))]
    start, *later = expected["probe_auc"]
    assert kept == ["best.pt"] * (max(later) > start) + always

    chance, kinds, finished, began = random.Random(0), {"change": 0, "moment": 0, "writing": 0}, 0, time.monotonic()
    out, kills_of_run = tmp_path / "killed", 0
    while sum(kinds.values()) < KILLS or out.exists():
        arguments = [*command, "--out", str(out)]
        how = list(kinds)[chance.randrange(3)]
        if kills_of_run == AT_MOST or sum(kinds.values()) >= KILLS:
            status = forks.run(arguments, log)
        elif how == "change":
            status = forks.run(arguments, log, die_at=(out, 1 + chance.randrange(changes)))
        else:
            process = forks.start(arguments, log)
            if how == "moment":
                time.sleep(chance.uniform(0, seconds))
            else:
                wait_until_it_writes(out, lambda process=process: is_alive(process), chance.randint(1, 6))
                time.sleep(chance.uniform(0, 0.01))
            os.kill(process, signal.SIGKILL)  # one that has ended is a zombie still, until it is waited for
            status = forks.wait(process)
        if status == -signal.SIGKILL:
            kinds[how] += 1
            kills_of_run += 1
            continue
        assert status == 0, log.read_text()[-3000:]
        assert_same_run(unbroken, out)
        found = pd.read_csv(out / "evaluations.csv").drop(columns=["seconds", "core_seconds"])
        pd.testing.assert_frame_equal(expected, found)
        for name in kept:
            one, other = (torch.load(run / "checkpoints" / name, weights_only=True) for run in (unbroken, out))
            assert one["step"] == other["step"], name
            assert all(torch.equal(value, other["model"][key]) for key, value in one["model"].items()), name
        left = files_of(out) - files_of(unbroken)
        assert not left, f"left by killed processes: {left}"
        finished, kills_of_run = finished + 1, 0
        shutil.rmtree(out)
    spent = (time.monotonic() - began) / max(KILLS, 1)
    print(f"{sum(kinds.values())} kills before the end ({kinds}), {finished} runs as unbroken, {spent:.1f} s each")
    assert sum(kinds.values()) >= KILLS
