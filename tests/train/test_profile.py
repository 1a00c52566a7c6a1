"""Where the time of a step goes."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from ecgjepa.cli import main
from ecgjepa.data.store import Store
from ecgjepa.train.measuring import Stopwatch
from ecgjepa.train.profiling import PARTS, describe, profile
from ecgjepa.train.training import Training
from tests.data.stores import write_store
from tests.train.test_plan import TINY, config_for

NETWORKS = {"teacher forward", "student forward", "predictor forward"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("stores") / "ecgs", 40)


@pytest.mark.parametrize("objective", ["jepa", "mae", "sigreg"])
def test_parts_of_a_step(store: Store, objective: str) -> None:
    found = profile(config_for(store, **{"training.objective": objective}), steps=3)
    assert found is not None
    assert sum(found.parts.values()) == pytest.approx(found.apart_s)
    expected = NETWORKS if objective == "jepa" else NETWORKS - {"teacher forward"}
    assert expected == NETWORKS & found.parts.keys()
    assert list(found.parts) == [name for name in PARTS if name in found.parts]
    assert all(seconds >= 0 for seconds in found.parts.values())
    assert found.parts["backward"] > found.parts["predictor forward"] > 0
    assert len(found.operators) == 5
    assert 0.1 < sum(found.operators.values()) < 1
    assert any(name.startswith("aten::") for name in found.operators)
    assert found.records_per_s == pytest.approx(3 / found.cost.seconds)
    assert found.utilisation > 0  # of a rate that was measured a moment before, on a busy machine perhaps above 1


def test_the_networks_are_as_before_afterwards(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Training] = []
    begin = Training.begin.__func__  # type: ignore[attr-defined]

    def noted(cls: type[Training], *given: object) -> Training:
        trained.append(begin(cls, *given))
        return trained[-1]

    monkeypatch.setattr(Training, "begin", classmethod(noted))
    profile(config_for(store), steps=1)
    objective = trained[0].objective
    assert "forward_features" not in vars(objective.student)
    assert "forward" not in vars(objective.predictor)  # type: ignore[union-attr]


def test_watching_a_step_changes_nothing_in_it(store: Store) -> None:
    from ecgjepa.train.distributed import Processes
    from ecgjepa.train.sources import Sources

    config = config_for(store)
    sources, losses = Sources.open(config), []
    for watched in (False, True):
        training = Training.begin(config, sources, Processes(0, 1, torch.device("cpu")))
        during = {"during": Stopwatch(torch.device("cpu")).part} if watched else {}
        steps = training.feed.from_step(0, 3)
        losses.append([training.step(parts, training.rates(step), **during).item() for step, parts in steps])
    assert losses[0] == losses[1]


def test_a_stopwatch_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 5.0, 7.0])
    monkeypatch.setattr("ecgjepa.train.measuring.time.perf_counter", lambda: next(moments))
    watch = Stopwatch(torch.device("cpu"))
    for _ in range(2):
        with watch.part("backward"):
            pass
    assert watch.seconds == {"backward": 3.0}


def test_the_command_and_its_trace(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = [
        f"--{key.rpartition('.')[2].replace('_', '-')}={value}" for key, value in TINY.items() if "epochs" not in key
    ]
    command = ["pretrain", f"--store={store.path}", *flags, "--profile", "2"]
    result = CliRunner().invoke(main, [*command, "--trace", "trace.json"])
    assert result.exit_code == 0, result.output
    for part in ("teacher forward", "together", "model FLOP utilisation", "2 after a warm-up", "aten::"):
        assert part in result.stdout
    names = {event.get("name") for event in json.loads(Path("trace.json").read_text())["traceEvents"]}
    assert {"forward", "backward", "teacher update"} <= names
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]
    again = CliRunner().invoke(main, [*command, "--trace", "trace.json"])
    assert again.exit_code == 1
    assert "trace.json exists already" in again.output


def test_a_compiled_model_is_one_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)  # the C++ compiler takes a minute
    found = profile(config_for(store, **{"run.compile": "on"}), steps=1)
    assert found is not None
    assert "forward" in found.parts
    assert not NETWORKS & found.parts.keys()
    assert "--compile off" in describe(found)
