"""The loop: exact resume, what a run leaves, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ecgjepa.checkpoint import CheckpointError, generator_of, load_encoder, random_twin
from ecgjepa.config import Config, load_config
from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.model.jepa import JEPA
from ecgjepa.train import pretrain as module
from ecgjepa.train.pretrain import pretrain
from ecgjepa.train.sources import training_rows
from ecgjepa.train.training import Training
from tests.data.stores import write_store

TINY = {
    "training.precision": "fp32", "model.width": 16, "model.depth": 2, "model.heads": 2, "model.patch_norm": True,
    "model.predictor_width": 8, "model.predictor_depth": 1, "model.predictor_heads": 2,
    "training.batch_size": 3, "training.lr": 1e-3, "training.warmup_epochs": 1, "run.log_every": 5,
    "run.evaluate_epochs": 0,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "ecgs", 20)


def config_for(store: Store, **changes: Any) -> Config:
    return load_config(overrides={**TINY, "data.stores": [str(store.path)], **changes})


def quiet(config: Config, out: Path, **options: Any) -> module.Outcome:
    return pretrain(config, out, progress=False, **options)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value
        for name in ("teacher", "student")
        for key, value in load_file(run / "model" / f"{name}.safetensors").items()
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_stop_and_resume_equal_an_unbroken_run_to_the_bit(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    config = config_for(store, **{"training.epochs": 12, "training.precision": precision})
    unbroken = quiet(config, tmp_path / "unbroken")
    assert (unbroken.step, unbroken.steps) == (60, 60)

    step = Training.step

    def stops_in_step_28(self: Training, parts: Any, rates: Any) -> torch.Tensor:
        if len(steps) == 27:
            os.kill(os.getpid(), signal.SIGTERM)
        steps.append(1)
        return step(self, parts, rates)

    steps: list[int] = []
    monkeypatch.setattr(Training, "step", stops_in_step_28)
    stopped = quiet(config, tmp_path / "broken")
    assert (stopped.step, stopped.stopped_by) == (28, signal.SIGTERM)
    assert json.loads((tmp_path / "broken" / "run.json").read_text())["status"] == "stopped"
    assert not (tmp_path / "broken" / "model").exists()
    assert quiet(config, tmp_path / "broken", resume=True).step == 60

    one, other = weights(tmp_path / "unbroken"), weights(tmp_path / "broken")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    columns = ["step", "epoch", "loss", "lr", "momentum"]
    logs = [pd.read_csv(tmp_path / name / "metrics.csv")[columns] for name in ("unbroken", "broken")]
    pd.testing.assert_frame_equal(*logs)


@pytest.mark.slow
def test_sigterm_of_a_real_process_leaves_a_checkpoint(store: Store, tmp_path: Path) -> None:
    flags = [
        f"--{key.rpartition('.')[2].replace('_', '-')}={value}" for key, value in TINY.items() if "norm" not in key
    ]
    command = [sys.executable, "-m", "ecgjepa", "pretrain", "--store", str(store.path), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, *flags, "--epochs=2000"], env=environment, stderr=subprocess.PIPE)
    metrics = tmp_path / "run" / "metrics.csv"
    for _ in range(600):
        time.sleep(0.1)
        if metrics.is_file():
            break
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert b"--resume goes on" in error
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert 0 < last["step"] < 10_000
    assert load_encoder(tmp_path / "run", "student").config.width == 16


def test_a_run_leaves_everything(store: Store, tmp_path: Path) -> None:
    config = config_for(store, **{"training.epochs": 1})
    quiet(config, tmp_path / "run", command="ecgjepa pretrain")
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["status"], run["steps"], run["command"]) == ("finished", 5, "ecgjepa pretrain")
    assert run["stores"][0]["trained_on"] == 15  # not the 5 of validation and test
    assert run["stores"][0]["account"]["kept"] == 20
    assert run["example"]["hidden_patches"]
    assert load_config(tmp_path / "run" / "config.toml") == config
    assert pd.read_csv(tmp_path / "run" / "metrics.csv")["step"].tolist() == [5]
    teacher, student = load_encoder(tmp_path / "run"), load_encoder(tmp_path / "run", "student")
    assert not torch.equal(teacher.patch_embed.weight, student.patch_embed.weight)
    start = JEPA(config.model, store.contract, generator=generator_of(0)).student.patch_embed.weight
    assert torch.equal(random_twin(teacher, 0).patch_embed.weight, start)


def test_the_loss_falls(store: Store, tmp_path: Path) -> None:
    quiet(config_for(store, **{"training.epochs": 20}), tmp_path / "run")
    losses = pd.read_csv(tmp_path / "run" / "metrics.csv")["loss"]
    assert losses.iloc[-3:].mean() < 0.8 * losses.iloc[0]


def test_resume_begins_a_run_and_leaves_a_finished_one_alone(store: Store, tmp_path: Path) -> None:
    config = config_for(store, **{"training.epochs": 1})
    assert quiet(config, tmp_path / "run", resume=True).step == 5
    before = weights(tmp_path / "run")
    assert quiet(config, tmp_path / "run", resume=True).step == 5
    assert all(torch.equal(value, before[name]) for name, value in weights(tmp_path / "run").items())


def test_what_differs_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    config = config_for(store, **{"training.epochs": 1})
    quiet(config, tmp_path / "run")
    with pytest.raises(FileExistsError, match="--resume"):
        quiet(config, tmp_path / "run")
    with pytest.raises(RunError, match=r"training\.lr = 0.001, now it is 0.002"):
        quiet(config_for(store, **{"training.epochs": 1, "training.lr": 2e-3}), tmp_path / "run", resume=True)
    other = write_store(tmp_path / "others", 20, seed=5)
    with pytest.raises(RunError, match="are others, or in another order"):
        quiet(config_for(other, **{"training.epochs": 1}), tmp_path / "run", resume=True)
    (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged, or is not a checkpoint"):
        quiet(config, tmp_path / "run", resume=True)
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(RunError, match=r"run\.json is not that of a run"):
        quiet(config, tmp_path / "run", resume=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="not empty and holds no run"):
        quiet(config, tmp_path / "notes", resume=True)


def test_a_loss_that_is_not_finite_ends_the_run(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JEPA, "forward", lambda self, **_: self.student.patch_embed.weight.sum() * float("nan"))
    with pytest.raises(RunError, match="the loss is nan at step 1"):
        quiet(config_for(store, **{"training.epochs": 1}), tmp_path / "run")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"


def test_a_checkpoint_never_holds_what_a_loss_that_is_not_finite_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is looked at before every checkpoint, not only when a row is due."""
    forward, calls = JEPA.forward, []

    def breaks_in_step_8(self: JEPA, **arguments: Any) -> torch.Tensor:
        calls.append(1)
        return forward(self, **arguments) * (float("nan") if len(calls) == 8 else 1)

    monkeypatch.setattr(JEPA, "forward", breaks_in_step_8)
    rarely = {"training.epochs": 4, "run.log_every": 100, "run.checkpoint_minutes": 1e-9}
    with pytest.raises(RunError, match="the loss is nan at step 8"):
        quiet(config_for(store, **rarely), tmp_path / "run")
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert last["step"] == 7
    assert all(value.isfinite().all() for value in last["model"].values())


def test_a_resumed_run_keeps_where_it_came_from(store: Store, tmp_path: Path) -> None:
    config = config_for(store, **{"training.epochs": 1})
    quiet(config, tmp_path / "run", command="first")
    quiet(config, tmp_path / "run", command="second", resume=True)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["command"] == "first"
    assert [again["command"] for again in run["resumed"]] == ["second"]


def test_fewer_epochs_than_the_default_warm_up(store: Store, tmp_path: Path) -> None:
    flags = {**TINY, "data.stores": [str(store.path)], "training.epochs": 3}
    config = load_config(overrides={key: value for key, value in flags.items() if key != "training.warmup_epochs"})
    quiet(config, tmp_path / "run")
    rates = pd.read_csv(tmp_path / "run" / "metrics.csv")["lr"]
    assert rates.max() > 0.5 * config.training.lr
    assert rates.iloc[-1] < rates.max()


def test_validation_and_test_records_are_not_trained_on(store: Store) -> None:
    splits = store.records["split"].to_numpy()
    assert set(splits[training_rows(store, config_for(store).data)]) == {"train"}
    assert len(training_rows(store, config_for(store, **{"data.include_held_out": True}).data)) == 20


def test_no_store_and_no_device(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give --store"):
        quiet(config_for(store, **{"data.stores": []}), tmp_path / "run")
    with pytest.raises(ValueError, match="device 'cuda:7' is not available"):
        quiet(config_for(store, **{"run.device": "cuda:7"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
