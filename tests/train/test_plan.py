"""What a run will take, foretold: checks, counts, and what is left behind."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.cli import main
from ecgjepa.config import Config, load_config
from ecgjepa.data.store import DESCRIPTION, RECORDS, Store, sha256_of
from ecgjepa.errors import RunError
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT
from ecgjepa.train import plan as module
from ecgjepa.train.checks import find_problems, warn_of_precision
from ecgjepa.train.measuring import Cost, StepCosts, count_flop, matmul_rate, median_of, timed
from ecgjepa.train.plan import Plan, make_plan
from ecgjepa.train.plan_text import describe
from ecgjepa.train.pretrain import pretrain
from ecgjepa.train.rehearsal import nearest_folder
from ecgjepa.train.training import Training
from tests.data.stores import write_store

CPU = torch.device("cpu")
TINY = {
    "model.width": 16, "model.depth": 2, "model.heads": 2, "model.predictor_width": 8, "model.predictor_depth": 1,
    "model.predictor_heads": 2, "training.batch_size": 3, "training.warmup_epochs": 1, "training.epochs": 4,
    "training.precision": "fp32", "run.log_every": 5, "run.evaluate_epochs": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = write_store(tmp_path_factory.mktemp("stores") / "ecgs", 40)  # 30 to train on
    table = pd.read_parquet(store.path / RECORDS)
    table["labels_kind"] = [["a"] if k // 3 % 2 else ["b"] for k in range(40)]  # both in every split
    table.to_parquet(store.path / RECORDS, index=False)
    checksums = store.info["checksums"] | {RECORDS: sha256_of(store.path / RECORDS)}
    write_json(store.path / DESCRIPTION, store.info | {"checksums": checksums})
    return Store.open(store.path)


def config_for(store: Store, **changes: Any) -> Config:
    return load_config(overrides={**TINY, "data.stores": [str(store.path)], **changes})


@pytest.fixture(scope="module")
def plan(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """With an online probe, of 40 steps, and a look every 15."""
    config = config_for(store, **{"run.probe_store": str(store.path), "run.evaluate_epochs": 1.5})
    found = make_plan(config, tmp_path_factory.mktemp("plan") / "runs" / "a", budget_s=0.0)
    assert found is not None
    return found


def test_steps_looks_and_checkpoints_are_counted_as_a_run_does_them(
    plan: Plan, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(store, **{"run.probe_store": str(store.path), "run.evaluate_epochs": 1.5})
    for each in ("evaluation", "pretrain"):
        monkeypatch.setattr(f"ecgjepa.train.{each}.renew_report", lambda _: None)  # a core second each
    pretrain(config, tmp_path / "run", progress=False)
    evaluations = (tmp_path / "run" / "evaluations.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in evaluations] == ["0", "15", "30", "40"]
    assert (plan.steps, plan.steps_per_epoch, plan.draws, plan.evaluations) == (40, 10, 30, 4)
    assert plan.checkpoints == 3  # at most one after each look but the first
    written = tmp_path / "run" / "checkpoints"
    assert plan.rehearsal.checkpoint_bytes == pytest.approx((written / "last.pt").stat().st_size, rel=0.02)
    model = sum(file.stat().st_size for file in (tmp_path / "run" / "model").iterdir())
    assert plan.rehearsal.model_bytes == pytest.approx(model, rel=0.1)
    there = sum(file.stat().st_size for file in (tmp_path / "run").rglob("*") if file.is_file())
    assert there < plan.disk_bytes < there + 4 * plan.rehearsal.checkpoint_bytes + 600_000


def test_times_add_up(plan: Plan) -> None:
    done = plan.rehearsal
    seconds = 40 * plan.step.seconds + plan.start.seconds + 3 * done.checkpoint.seconds
    assert plan.training.seconds == pytest.approx(seconds)
    assert plan.looking.core_seconds == pytest.approx(4 * done.evaluation.core_seconds)
    assert plan.together.seconds == pytest.approx(seconds + 4 * done.evaluation.seconds)
    assert plan.to_json()["together"]["seconds"] == plan.together.seconds
    json.dumps(plan.to_json(), allow_nan=False)
    assert 0 < plan.utilisation < 1
    assert plan.memory_bytes > 50e6
    assert plan.memory_there_bytes is None
    assert np.isfinite(plan.loss)


def test_checkpoints_by_time_and_for_good_are_counted(store: Store, tmp_path: Path) -> None:
    config = config_for(store, **{"run.keep_epochs": 2, "run.checkpoint_minutes": 1e-6})
    plan = make_plan(config, tmp_path / "a", budget_s=0.0)
    assert plan is not None
    assert (plan.evaluations, plan.kept) == (0, 2)
    assert plan.looking == Cost(0, 0)
    assert plan.checkpoints > 40 + 2
    assert list(tmp_path.iterdir()) == []


def test_the_text_says_what_is_measured_and_what_is_not(plan: Plan) -> None:
    text = describe(plan)
    measured, extrapolated = text.split("\nextrapolated\n")
    assert "\nmeasured\n" in measured
    assert "representation: 4" in extrapolated
    assert "measured once" in measured
    part = replace(plan, rehearsal=replace(plan.rehearsal, is_whole=False), problems=("disk: full",))
    assert "scaled up from some records" in describe(part)
    assert describe(part).endswith("PROBLEM  disk: full")
    week = replace(plan, steps=100_000_000, step=Cost(0.01, 0.02))
    assert "277.78 h, 555.5" in describe(week)


def test_all_problems_are_named_at_once(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    (tmp_path / "none").mkdir()
    changes = {
        "data.stores": [str(store.path), str(tmp_path / "none")], "run.device": "cuda:77",
        "run.probe_store": str(tmp_path / "nowhere"),
    }  # fmt: skip
    found = "\n".join(find_problems(config_for(store, **changes), tmp_path))
    for part in ("device 'cuda:77'", f"{tmp_path / 'none'} is not a store", "nowhere", "not a multiple of 2 processes"):
        assert part in found
    assert find_problems(config_for(store), tmp_path)[0].startswith("batch_size: 3 records")
    monkeypatch.delenv("WORLD_SIZE")
    assert find_problems(config_for(store), tmp_path) == []
    assert "give --store" in find_problems(config_for(store, **{"data.stores": []}), tmp_path)[0]
    assert (
        "not two or more patches of 33" in find_problems(config_for(store, **{"model.patch_samples": 33}), tmp_path)[0]
    )
    with pytest.raises(RunError, match="fewer than one batch of 31"):
        make_plan(config_for(store, **{"training.batch_size": 31}), tmp_path / "a")


def test_a_disk_that_is_too_small_and_a_loss_that_is_no_number_are_problems(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Training.step
    monkeypatch.setattr(Training, "step", lambda *given: step(*given) * float("nan"))
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: type("", (), {"free": 400_000}))
    plan = make_plan(config_for(store), tmp_path / "a", budget_s=0.0)
    assert plan is not None
    assert [problem.partition(":")[0] for problem in plan.problems] == ["disk", "loss"]


def test_memory_that_does_not_suffice_is_told_with_what_to_do(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Training, "step", full)
    with pytest.raises(RunError, match="too little memory for 3 records at once: lower --micro-batch"):
        make_plan(config_for(store), tmp_path / "a")


def test_the_command(store: Store, tmp_path: Path) -> None:
    flags = [
        f"--{key.rpartition('.')[2].replace('_', '-')}={value}" for key, value in TINY.items() if "epochs" not in key
    ]
    command = ["pretrain", f"--store={store.path}", *flags, "--epochs=2", "--evaluate-epochs=0"]
    found = CliRunner().invoke(main, [*command, f"--out={tmp_path / 'a'}", "--plan", "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["steps"] == 20
    assert list(tmp_path.iterdir()) == []
    for wrong, said in (
        (["--plan", "--profile"], "either --plan or --profile"),
        (["--plan", "--trace=a.json"], "--trace belongs to --profile"),
        (["--json"], "--json belongs to"),
        (["--plan", "--resume", f"--out={tmp_path / 'a'}"], "has not begun"),
    ):
        result = CliRunner().invoke(main, [*command, *wrong])
        assert result.exit_code == 2
        assert said in result.output


def test_operations_follow_from_the_sizes() -> None:
    """A Linear of the encoder: forward twice (teacher, student), backward two products for the student."""
    small = load_config(overrides={**TINY, "training.batch_size": 1})
    one = count_flop(small, DEFAULT_CONTRACT, 18.0)
    assert count_flop(load_config(overrides={**TINY, "training.batch_size": 7}), DEFAULT_CONTRACT, 18.0) == 7 * one
    assert count_flop(small, DEFAULT_CONTRACT, 30.0) > one
    deeper = count_flop(
        load_config(overrides={**TINY, "training.batch_size": 1, "model.depth": 3}), DEFAULT_CONTRACT, 18
    )
    width, tokens, seen = 16, 400, 8 * 18
    linear = 2 * 12 * width**2  # qkv, projection and MLP of a token
    of_linear = linear * (tokens + 3 * seen)
    assert of_linear < deeper - one < 2 * of_linear  # attention comes on top


def test_measuring() -> None:
    assert median_of((Cost(1, 4), Cost(3, 2), Cost(2, 9))) == Cost(2, 4)
    costs = StepCosts(Cost(0, 0), (Cost(1, 2),), 17.0, 0.1)
    assert costs.median.times(3).plus(Cost(1, 1)) == Cost(4, 7)
    assert timed(lambda: sum(range(300_000)), CPU).core_seconds > 0
    assert 1e8 < matmul_rate(64, 64, bf16=False, device=CPU) < 1e14


def test_the_nearest_folder_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nearest_folder(tmp_path / "a" / "b") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path
    monkeypatch.chdir(tmp_path)
    assert nearest_folder(Path("runs") / "x").samefile(tmp_path)


@pytest.mark.parametrize(
    ("precision", "has_bf16", "warns"), [("bf16", False, True), ("bf16", True, False), ("fp32", False, False)]
)
def test_a_processor_without_bfloat16_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, precision: str, has_bf16: bool, warns: bool
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has_bf16)
    config = load_config(overrides={"training.precision": precision, "run.device": "cpu"})
    assert (warn_of_precision(config) is not None) == warns
