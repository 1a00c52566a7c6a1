"""Several processes train the same model as one does, and are stopped, killed and gone on with like one.

All but the last tests fork the processes that `torchrun` would start, with the variables that it sets.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ecgjepa.checkpoint import load_encoder
from ecgjepa.data.store import Store
from ecgjepa.train.checkpoints import read_checkpoint
from tests.data.stores import write_store
from tests.train.forks import Forks, flags
from tests.train.runs import TINY, info_of, metrics_of, model_weights, write_labelled_store

pytestmark = pytest.mark.slow

# Global batches of 4, 6 steps.
SETTINGS: dict[str, Any] = {**TINY, "training.epochs": 2, "model.drop_path": 0.3}
OF_RECORDS = {"training.target": "centred", "mask.scope": "record", "mask.masks_per_record": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "published": {},
    "centred": OF_RECORDS,
    "sigreg": {"training.objective": "sigreg", "mask.scope": "record", "mask.masks_per_record": 2},
    "mae": {"training.objective": "mae"},
}
# Settings of `run`, and how many processes.
WAYS: dict[str, tuple[int, dict[str, Any]]] = {
    "2 processes": (2, {}),
    "2 processes, sharded": (2, {"run.shard": True}),
    "2 processes, accumulated": (2, {"run.micro_batch": 1}),
    "2 processes, sharded, accumulated": (2, {"run.shard": True, "run.micro_batch": 1}),
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as started:
        yield started


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("distributed") / "ecgs", 16)


def command(store: Store, out: Path, **changes: Any) -> list[str]:
    settings = {**SETTINGS, "data.stores": [str(store.path)], **changes}
    return ["pretrain", "--resume", "--out", str(out), *flags(settings)]


def train(forks: Forks, processes: int, arguments: list[str], log: Path) -> None:
    status = forks.run_several(processes, arguments, log) if processes > 1 else [forks.run(arguments, log)]
    assert status == [0] * processes, log.read_text()[-4000:]


def assert_nearly_the_same(one: Path, other: Path) -> None:
    """Losses within 1e-5 at every step, and weights as near as sums in another order let them be."""
    expected, found = metrics_of(one), metrics_of(other)
    assert found["step"].tolist() == expected["step"].tolist()
    assert found["loss"].tolist() == pytest.approx(expected["loss"].tolist(), rel=1e-5)
    weights, others = model_weights(one), model_weights(other)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        # Adam moves a weight whose gradient is nearly 0 by a learning rate in whatever direction the rounding says.
        off = (weight - others[name]).abs()
        assert off.mean() < 1e-5, (name, off.mean(), off.max())
        assert off.max() < 2e-3, (name, off.max())


@pytest.fixture(scope="module")
def alone(forks: Forks, store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of one process of each variant."""
    folder = tmp_path_factory.mktemp("alone")
    for name, changes in VARIANTS.items():
        train(forks, 1, command(store, folder / name, **changes), folder / "log.txt")
    return {name: folder / name for name in VARIANTS}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_as_one_process(
    forks: Forks, store: Store, tmp_path: Path, alone: dict[str, Path], variant: str, way: str
) -> None:
    processes, changes = WAYS[way]
    if variant == "sigreg" and "run.micro_batch" in changes:
        arguments = command(store, tmp_path / "run", **VARIANTS[variant], **changes)
        assert forks.run_several(processes, arguments, tmp_path / "log.txt") == [1] * processes
        assert "micro_batch 1 of 2 records: the objective sigreg" in (tmp_path / "log.txt").read_text()
        return
    train(forks, processes, command(store, tmp_path / "run", **VARIANTS[variant], **changes), tmp_path / "log.txt")
    assert_nearly_the_same(alone[variant], tmp_path / "run")
    info = info_of(tmp_path / "run")
    assert info["status"] == "finished"
    assert info["device"].startswith("2 x cpu")
    assert load_encoder(tmp_path / "run").config.width == 16


def kill_after(forks: Forks, processes: list[int], run: Path, step: int) -> None:
    """SIGKILL to all when the checkpoint of a step is there."""
    file, end = run / "metrics.csv", time.monotonic() + 60
    while time.monotonic() < end:
        if file.is_file() and len(file.read_text().splitlines()) > step:
            break
        time.sleep(0.002)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    assert [forks.wait(process) for process in processes] == [-signal.SIGKILL] * len(processes)


@pytest.mark.parametrize(("before", "after", "sharded"), [(2, 1, False), (1, 2, True)])
def test_another_number_of_processes_goes_on(
    forks: Forks, store: Store, tmp_path: Path, before: int, after: int, sharded: bool
) -> None:
    """Evaluated with a probe, and with losses in the checkpoint that no row holds yet."""
    labelled = write_labelled_store(tmp_path / "labelled", 40, seed=1)
    longer = {
        **OF_RECORDS, "training.epochs": 12, "run.checkpoint_minutes": 1e-9, "run.log_every": 5,
        "run.evaluate_epochs": 6, "run.probe_store": str(labelled.path), "run.probe_level": "kind",
        "run.probe_encoder": "student",
    }  # fmt: skip
    log, out = tmp_path / "log.txt", tmp_path / "run"
    train(forks, 1, command(store, tmp_path / "unbroken", **longer), log)
    first, second = ({"run.shard": sharded and count > 1} for count in (before, after))
    begin = command(store, out, **longer, **first)
    started = forks.start_several(before, begin, log) if before > 1 else [forks.start(begin, log)]
    kill_after(forks, started, out, 2)
    train(forks, after, command(store, out, **longer, **second), log)
    (again,) = info_of(out)["resumed"]
    assert 0 < again["step"] < 36
    assert_nearly_the_same(tmp_path / "unbroken", out)
    rows = [(run / "evaluations.csv").read_text().splitlines() for run in (tmp_path / "unbroken", out)]
    assert [row.split(",")[0] for row in rows[1]] == ["step", "0", "18", "36"]
    assert [len(row.split(",")) for row in rows[1]] == [len(row.split(",")) for row in rows[0]]


def test_a_loss_that_is_not_finite_ends_all_processes(forks: Forks, store: Store, tmp_path: Path) -> None:
    arguments = command(store, tmp_path / "run", **{"training.lr": 1e30, "run.log_every": 2})
    assert forks.run_several(2, arguments, tmp_path / "log.txt") == [1, 1]
    assert "the loss is" in (tmp_path / "log.txt").read_text()
    assert info_of(tmp_path / "run")["status"] == "failed"
    assert len(list((tmp_path / "run").glob("not-finite-step-*.npz"))) == 1


def test_what_only_the_first_process_finds_ends_all_of_them(forks: Forks, store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    first, second = forks.run_several(2, command(store, tmp_path / "run"), tmp_path / "log.txt")
    assert first == 1
    assert second != 0
    assert "is not empty and holds no run" in (tmp_path / "log.txt").read_text()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("whom", ["torchrun", "all"])
def test_sigterm_of_torchrun_leaves_a_checkpoint(store: Store, tmp_path: Path, whom: str) -> None:
    """Sent to `torchrun`, which sends it on; or to all of its processes, so that they receive it twice."""
    run = tmp_path / "run"
    arguments = command(store, run, **{"training.epochs": 100_000, **OF_RECORDS})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with (tmp_path / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*launcher, "-m", "ecgjepa", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=log,
            stdout=log,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + 120
            while not (run / "metrics.csv").is_file() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            if whom == "all":
                os.killpg(process.pid, signal.SIGTERM)
            else:
                process.send_signal(signal.SIGTERM)
            process.wait(timeout=25)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    said = (tmp_path / "log.txt").read_text()
    assert "--resume goes on" in said, said[-3000:]
    assert info_of(run)["status"] == "stopped"
    step = read_checkpoint(run / "checkpoints" / "last.pt")["step"]
    assert step >= metrics_of(run)["step"].iloc[-1] > 0
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left
    assert torch.isfinite(load_encoder(run).patch_embed.weight).all()
