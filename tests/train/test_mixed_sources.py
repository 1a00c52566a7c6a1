"""Pretraining on several sources: what is drawn, what is warned about, what a resumed run refuses."""

import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from ecgjepa.cli import main
from ecgjepa.config import Config, load_config
from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.evaluate.report import write_report
from ecgjepa.train.pretrain import pretrain
from ecgjepa.train.training import Training
from tests.data.stores import write_store
from tests.train.test_pretrain import TINY


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    """The second is three times as large in amplitude."""
    small = write_store(tmp_path / "small", 20)
    return [small, write_store(tmp_path / "large", 12, signals_uv=3 * small.signals_uv[:12])]


def config_for(stores: list[Store], **changes: Any) -> Config:
    return load_config(overrides={**TINY, "data.stores": [str(store.path) for store in stores], **changes})


def run_info(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


def test_a_factor_between_sources_is_said_and_kept(
    stores: list[Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pretrain(config_for(stores, **{"training.epochs": 1}), tmp_path / "run", progress=False)
    info = run_info(tmp_path / "run")
    (line,) = info["warnings"]
    assert "large and small differ in scale by a factor of 3" in line
    assert "--gain large=0.33" in line
    assert [record.getMessage() for record in caplog.records] == [f"warning: {line}"]
    assert info["amplitudes"] == {"small": pytest.approx(2, rel=0.2), "large": pytest.approx(6, rel=0.2)}
    assert info["draws_per_epoch"] == {"small": 15, "large": 9}
    page = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "differ in scale by a factor of 3" in page


def test_gain_and_weight_from_the_command_line(
    stores: list[Store], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = [
        f"--{key.rpartition('.')[2].replace('_', '-')}={value}" for key, value in TINY.items() if "norm" not in key
    ]
    places = [word for store in stores for word in ("--store", str(store.path))]
    mixing = "--weight small=1 --weight large=2 --gain large=0.3333 --epochs 1".split()
    with caplog.at_level(logging.WARNING):
        result = CliRunner().invoke(main, ["pretrain", *places, *flags, *mixing, "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert not caplog.records
    info = run_info(tmp_path / "run")
    assert info["draws_per_epoch"] == {"small": 8, "large": 16}
    assert info["warnings"] == []
    assert info["config"]["data"]["weights"] == {"small": 1, "large": 2}
    assert load_config(tmp_path / "run" / "config.toml").data.gains == {"large": 0.3333}

    result = CliRunner().invoke(main, ["pretrain", *places, *flags, "--weight", "smal=1", "--out", str(tmp_path / "b")])
    assert "weight of smal, but the sources are small, large" in result.output
    assert not (tmp_path / "b").exists()


def test_the_example_is_of_a_source_that_is_drawn_as_the_model_gets_it(stores: list[Store], tmp_path: Path) -> None:
    changes = {"data.weights": {"small": 0, "large": 1}, "data.gains": {"large": 0.5}, "training.epochs": 1}
    pretrain(config_for(stores, **changes), tmp_path / "run", progress=False)
    info = run_info(tmp_path / "run")
    assert (info["example"]["record"], info["example"]["gain"]) == ("large0000", 0.5)
    assert info["draws_per_epoch"] == {"small": 0, "large": 9}
    assert list(info["amplitudes"]) == ["large"]


def test_a_mixed_run_resumes_to_the_bit_and_refuses_another_mixture(
    stores: list[Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = {"data.weights": {"small": 1, "large": 3}, "data.gains": {"large": 0.4}, "training.epochs": 4}
    config, done, step = config_for(stores, **mixture), [], Training.step
    pretrain(config, tmp_path / "unbroken", progress=False)

    def stops_in_step_13(self: Training, *args: Any) -> torch.Tensor:
        done.append(1)
        if len(done) == 13:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args)

    monkeypatch.setattr(Training, "step", stops_in_step_13)
    assert pretrain(config, tmp_path / "broken", progress=False).step == 13
    for changes, message in (
        ({"data.weights": {"small": 1, "large": 2}}, r"data\.weights = .*, now it is .*2\.0"),
        ({"data.weights": {}}, r"data\.weights"),
        ({"data.gains": {}}, r"data\.gains = \{'large': 0\.4\}, now it is \{\}"),
    ):
        with pytest.raises(RunError, match=message):
            pretrain(config_for(stores, **{**mixture, **changes}), tmp_path / "broken", resume=True, progress=False)
    assert pretrain(config, tmp_path / "broken", resume=True, progress=False).step == 32
    one, other = (load_file(tmp_path / name / "model" / "student.safetensors") for name in ("unbroken", "broken"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert np.isfinite(one["patch_embed.weight"].numpy()).all()
