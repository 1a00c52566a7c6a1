"""Looks at the representation while a run goes on: when, what they write, and that they change nothing."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.cli import main
from ecgjepa.config import to_toml
from ecgjepa.data.store import Store
from ecgjepa.evaluate.collapse import MEASURES
from ecgjepa.train import evaluation as module
from ecgjepa.train.checkpoints import read_checkpoint
from ecgjepa.train.training import Training
from tests.data.stores import write_store
from tests.train.runs import assert_same_run, bare_runs, config_for, info_of, quiet, write_labelled_store

EVERY_EPOCH = {"run.evaluate_epochs": 1, "training.epochs": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "ecgs", 16)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_labelled_store(tmp_path_factory.mktemp("stores") / "labelled", 64, seed=1)


@pytest.fixture
def bare() -> Iterator[None]:
    with bare_runs():
        yield


def evaluations(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "evaluations.csv")


def test_a_run_is_looked_at_from_the_start_to_the_end(store: Store, labelled: Store, tmp_path: Path) -> None:
    probe = {"run.probe_store": str(labelled.path), "run.probe_level": "kind", "run.probe_encoder": "student"}
    quiet(config_for(store, **EVERY_EPOCH, **probe), tmp_path / "run")
    table, info = evaluations(tmp_path / "run"), info_of(tmp_path / "run")
    assert table["step"].tolist() == [0, 3, 6, 9]
    assert list(table.columns) == [
        "step", "epoch", "seconds", "core_seconds", *MEASURES, "probe_auc", "probe_c",
    ]  # fmt: skip
    assert table["probe_auc"].between(0, 1).all()
    assert info["probe"]["level"] == "kind"
    best = table["probe_auc"].iloc[1:].idxmax()
    if table["probe_auc"][best] > table["probe_auc"][0]:
        saved = read_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")
        assert saved["step"] == table["step"][best]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "probe" in page


@pytest.mark.usefixtures("bare")
def test_looking_changes_nothing_of_what_is_learned(store: Store, tmp_path: Path) -> None:
    quiet(config_for(store, **EVERY_EPOCH), tmp_path / "watched")
    quiet(config_for(store, **EVERY_EPOCH | {"run.evaluate_epochs": 0}), tmp_path / "unwatched")
    assert_same_run(tmp_path / "unwatched", tmp_path / "watched")
    assert not (tmp_path / "unwatched" / "evaluations.csv").exists()


@pytest.mark.usefixtures("bare")
def test_a_look_is_not_in_the_time_of_training(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}

    def slow(*_: Any, **__: Any) -> dict[str, float]:
        clock["now"] += 1000
        return dict.fromkeys(MEASURES, 0.5)

    monkeypatch.setattr("ecgjepa.train.log.time.monotonic", lambda: clock["now"])
    monkeypatch.setattr(module, "measure_representation", slow)
    quiet(config_for(store, **EVERY_EPOCH), tmp_path / "run")
    assert evaluations(tmp_path / "run")["seconds"].tolist() == [0, 0, 0, 0]


@pytest.mark.usefixtures("bare")
def test_a_run_that_goes_on_does_not_look_twice(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet(config_for(store, **EVERY_EPOCH), tmp_path / "unbroken")
    step, done = Training.step, []

    def stops_after_5(self: Training, *arguments: Any) -> torch.Tensor:
        done.append(1)
        if len(done) == 5:
            os.kill(os.getpid(), 15)
        return step(self, *arguments)

    monkeypatch.setattr(Training, "step", stops_after_5)
    assert quiet(config_for(store, **EVERY_EPOCH), tmp_path / "run").step == 5
    quiet(config_for(store, **EVERY_EPOCH), tmp_path / "run", resume=True)
    columns = ["step", "epoch", *MEASURES]
    pd.testing.assert_frame_equal(evaluations(tmp_path / "unbroken")[columns], evaluations(tmp_path / "run")[columns])


# A learning rate at which features become the same within few steps.
COLLAPSING: dict[str, Any] = {
    **EVERY_EPOCH,
    "training.lr": 30.0,
    "training.warmup_epochs": 0,
    "training.epochs": 12,
    "run.log_every": 1,
}


@pytest.mark.usefixtures("bare")
def test_a_run_made_to_collapse_raises_the_alarm_once_and_a_sound_one_does_not(store: Store, tmp_path: Path) -> None:
    quiet(config_for(store, **EVERY_EPOCH), tmp_path / "sound")
    assert info_of(tmp_path / "sound").get("alarms", []) == []
    quiet(config_for(store, **COLLAPSING), tmp_path / "run")
    info = info_of(tmp_path / "run")
    assert info["status"] == "finished"
    names = [alarm["name"] for alarm in info["alarms"]]
    assert names
    assert len(set(names)) == len(names)
    assert all(alarm["explanation"] and alarm["advice"] for alarm in info["alarms"])


@pytest.mark.usefixtures("bare")
def test_stop_on_collapse_ends_the_run_with_status_3(store: Store, tmp_path: Path) -> None:
    settings = tmp_path / "collapsing.toml"
    settings.write_text(to_toml(config_for(store, **COLLAPSING)), encoding="utf-8")
    arguments = ["pretrain", "--config", str(settings), "--out", str(tmp_path / "run"), "--stop-on-collapse"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 3, result.output
    info = info_of(tmp_path / "run")
    assert info["status"] == "collapsed"
    assert info["steps_done"] == info["alarms"][0]["step"] < info["steps"]
    assert not (tmp_path / "run" / "model").exists()
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == info["steps_done"]


@pytest.mark.usefixtures("bare")
def test_a_probe_that_cannot_be_is_refused_before_the_first_step(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="online probe"):
        quiet(config_for(store, **{"run.probe_store": str(store.path), "run.probe_level": "nowhere"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
