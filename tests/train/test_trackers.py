"""What is logged can be read back with the trackers' own readers; a tracker never ends a run."""

import json
import os
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ecgjepa.errors import RunError
from ecgjepa.train import trackers
from ecgjepa.train.trackers import IDS, check_trackers, open_trackers

CONFIG = {"training": {"lr": 1e-3, "seed": 3}, "data": {"stores": ["stores/ptbxl"], "weights": {"a b": 1.0}}}
VARIABLES = ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING")


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """No variable of the user's reaches a test, and none of a test's leaves it."""
    before = dict(os.environ)
    for name in VARIABLES:
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


def log_run(name: str, path: Path, steps: list[int], *, first_step: int = 0, status: str = "finished") -> None:
    [tracker] = open_trackers([name], path, CONFIG, name="tiny", first_step=first_step)
    for step in steps:
        tracker.log(step, {"loss": 1 / step, "evaluation/probe_auc": 0.5 + step / 100})
    tracker.close(status)


def test_tensorboard_shows_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_run("tensorboard", tmp_path, [5, 10, 15], status="stopped")
    log_run("tensorboard", tmp_path, [15, 20], first_step=10)  # the checkpoint was that of step 10
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss", "evaluation/probe_auc"]
    assert [each.step for each in events.Scalars("loss")] == [5, 10, 15, 20]
    assert events.Scalars("evaluation/probe_auc")[-1].value == pytest.approx(0.7)
    [settings] = [value for tag, value in events.summary_metadata.items() if tag.startswith("settings")]
    assert settings.plugin_data.plugin_name == "text"


def read_wandb(file: Path) -> list:
    """The records of a file that waits for `wandb sync`: blocks of 32 KiB of (CRC, length, kind, bytes)."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, records, parts = file.read_bytes(), 7, [], b""
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_wandb_stays_offline_and_a_resumed_run_is_the_same_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb")
    log_run("wandb", tmp_path, [5, 10], status="stopped")
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("ecgjepa")]
    assert f"`wandb sync {tmp_path}/wandb/offline-run-*`" in said
    time.sleep(1.1)  # its folders are named by the second
    log_run("wandb", tmp_path, [10, 15], first_step=5)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"

    name = json.loads((tmp_path / IDS).read_text())["wandb"]
    files = sorted(tmp_path.glob(f"wandb/offline-run-*-{name}/run-{name}.wandb"))
    assert files
    records = [record for file in files for record in read_wandb(file)]
    runs = [record.run for record in records if record.HasField("run")]
    assert {(run.run_id, run.project, run.display_name) for run in runs} == {(name, "ecgjepa", "tiny")}
    settings = {update.key: update.value_json for update in runs[0].config.update}
    assert json.loads(settings["training"])["lr"] == CONFIG["training"]["lr"]
    rows = [
        {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.HasField("history")
    ]
    assert [row["step"] for row in rows] == [5, 10, 10, 15]
    assert rows[0]["evaluation/probe_auc"] == pytest.approx(0.55)
    assert [record.exit.exit_code for record in records if record.HasField("exit")] == [255, 0]


def test_mlflow_keeps_its_files_in_the_run_and_goes_on_with_it(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    log_run("mlflow", tmp_path, [5, 10], status="stopped")
    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    run_id = json.loads((tmp_path / IDS).read_text())["mlflow"]
    assert client.get_run(run_id).info.status == "KILLED"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

    log_run("mlflow", tmp_path, [10, 15], first_step=5)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "tiny"
    assert run.data.params["training.lr"] == "0.001"
    assert run.data.params["data.weights"] == '{"a b": 1.0}'
    assert [each.step for each in client.get_metric_history(run_id, "loss")] == [5, 10, 10, 15]
    assert run.data.metrics["evaluation/probe_auc"] == pytest.approx(0.65)
    assert len(client.search_runs([run.info.experiment_id])) == 1


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_not_there_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match=rf"pip install 'ecgjepa\[{name}\]'"):
        check_trackers([name])
    with pytest.raises(RunError, match=rf"{name} is not installed"):
        open_trackers([name], tmp_path, CONFIG, name="tiny", first_step=0)
    assert not list(tmp_path.iterdir())


class Recorder:
    """A tracker that fails at the steps it is told."""

    def __init__(self, fails_at: tuple[int, ...] = ()) -> None:
        self.fails_at, self.steps, self.closed = fails_at, [], None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if step in self.fails_at:
            raise ConnectionError("no route to host\nsecond line")
        self.steps.append(step)

    def close(self, status: str) -> None:
        self.closed = status


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "check_trackers", lambda names: None)


@pytest.mark.usefixtures("installed")
def test_one_that_fails_is_warned_of_once_and_the_other_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Recorder(fails_at=(2, 3)), Recorder()
    monkeypatch.setitem(trackers.OPENERS, "wandb", lambda *_: broken)
    monkeypatch.setitem(trackers.OPENERS, "mlflow", lambda *_: sound)
    opened = open_trackers(["wandb", "mlflow", "wandb"], tmp_path, {}, name="tiny", first_step=0)
    assert len(opened) == 2
    for step in range(1, 6):
        for tracker in opened:
            tracker.log(step, {"loss": 1.0})
    for tracker in opened:
        tracker.close("finished")
    assert (broken.steps, broken.closed) == ([1], None)
    assert (sound.steps, sound.closed) == ([1, 2, 3, 4, 5], "finished")
    [warning] = [record.getMessage() for record in caplog.records]
    assert "wandb failed at step 2" in warning
    assert "ConnectionError: no route to host)" in warning


@pytest.mark.usefixtures("installed")
def test_one_that_cannot_be_opened_is_an_error_and_closes_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Recorder:
        raise ValueError("no API key")

    first = Recorder()
    monkeypatch.setitem(trackers.OPENERS, "tensorboard", lambda *_: first)
    monkeypatch.setitem(trackers.OPENERS, "wandb", refuse)
    with pytest.raises(RunError, match=r"wandb cannot be opened for .*: no API key"):
        open_trackers(["tensorboard", "wandb"], tmp_path, {}, name="tiny", first_step=0)
    assert first.closed == "failed"
