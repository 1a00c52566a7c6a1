"""A run that was stopped, or killed, and gone on with is the unbroken one, to the bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.evaluate.head import Head
from ecgjepa.finetune import finetune as module
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.finetune.training import Training
from tests.finetune.runs import run, tiny

# Everything that chance has a part in.
SETTINGS: dict[str, Any] = {
    "epochs": 4, "mode": "two-stage", "head_epochs": 1, "pooling": "attention", "drop_path": 0.2, "batch_size": 50,
}  # fmt: skip


def assert_same(one: Path, other: Path) -> None:
    for part in ("best", "last"):
        expected, found = (load_file(path / part / "model.safetensors") for path in (one, other))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        heads = [Head.load(path / part) for path in (one, other)]
        np.testing.assert_array_equal(heads[0].weight_KD, heads[1].weight_KD)
        np.testing.assert_array_equal(heads[0].thresholds_K, heads[1].thresholds_K)
    tables = [pd.read_csv(path / "metrics.csv").drop(columns="seconds") for path in (one, other)]
    pd.testing.assert_frame_equal(*tables)
    pd.testing.assert_frame_equal(*(pd.read_parquet(path / "predictions.parquet") for path in (one, other)))


def stop_at(steps: set[int], patch: pytest.MonkeyPatch) -> None:
    """SIGTERM arrives in these steps."""
    advance = Training.advance

    def interrupted(self: Training, batch: Any) -> None:
        advance(self, batch)
        if self.step in steps:
            steps.discard(self.step)
            os.kill(os.getpid(), signal.SIGTERM)

    patch.setattr(Training, "advance", interrupted)


@pytest.fixture(scope="module")
def unbroken(store: Store, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(store, model, tiny(**SETTINGS), tmp_path_factory.mktemp("unbroken") / "run").path


def test_stopped_in_both_stages_and_gone_on_with(
    store: Store, model: LoadedModel, unbroken: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at({2, 3, 7}, monkeypatch)  # three steps an epoch: within the first stage, at its end, within the second
    for step in (2, 3, 7):
        outcome = run(store, model, tiny(**SETTINGS), folder, resume=True)
        assert (outcome.step, outcome.stopped_by, outcome.summary) == (step, signal.SIGTERM, None)
        assert not (folder / "last").exists()
    assert run(store, model, tiny(**SETTINGS), folder, resume=True).stopped_by is None
    assert_same(unbroken, folder)


def test_a_run_that_is_done_can_be_finished_again(
    store: Store, model: LoadedModel, unbroken: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any, **options: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(module, "finish", fails)
        with pytest.raises(OSError, match="no space left"):
            run(store, model, tiny(**SETTINGS), folder)
    run(store, model, tiny(**SETTINGS), folder, resume=True)
    assert_same(unbroken, folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"lr": 1e-5}, "another settings: lr was 0.003, now it is 1e-05"), ({"seed": 1}, "another settings: seed")],
)
def test_other_settings_are_refused(
    change: dict, message: str, store: Store, model: LoadedModel, unbroken: Path
) -> None:
    settings: FinetuneSettings = tiny(**{**SETTINGS, **change})
    with pytest.raises(RunError, match=message):
        run(store, model, settings, unbroken, resume=True)
    with pytest.raises(FileExistsError, match="--resume goes on"):
        run(store, model, settings, unbroken)


CODE = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from ecgjepa.checkpoint import load_model
from ecgjepa.data.store import Store
from tests.finetune.runs import run, tiny
from tests.finetune.test_resume import SETTINGS
out = Path(sys.argv[3])
print("ready", flush=True)
run(Store.open(sys.argv[1]), load_model(sys.argv[2]), tiny(**SETTINGS), out, resume=True, checkpoint_minutes=1e-9)
"""


@pytest.mark.slow
def test_killed_and_gone_on_with(store: Store, model: LoadedModel, unbroken: Path, folder: Path) -> None:
    kills, chance = 0, np.random.default_rng(0)
    root = Path(__file__).parents[2]
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", CODE, store.path, model.folder, folder], cwd=root, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        if kills < 2:
            time.sleep(chance.uniform(0, 0.8))
            process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
        if process.returncode == 0:
            break
    assert process.returncode == 0
    assert kills
    assert_same(unbroken, folder)
