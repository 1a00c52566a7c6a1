"""Checkpoints: published and own, and every kind of wrong file named."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ecgjepa.checkpoint import CheckpointError, load_encoder, random_twin, save_model
from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import DEFAULT_CONTRACT, PUBLISHED_CONTRACT

SIZE = ModelConfig(width=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    twins = {"teacher": Encoder(SIZE, DEFAULT_CONTRACT), "student": Encoder(SIZE, DEFAULT_CONTRACT)}
    save_model(tmp_path / "run" / "model", twins, seed=3)
    return tmp_path / "run"


def test_saved_models_come_back(saved: Path) -> None:
    signal_BLS = torch.randn(2, 8, 2500)
    teacher, student = load_encoder(saved), load_encoder(saved, "student")
    assert torch.equal(load_encoder(saved / "model")(signal_BLS), teacher(signal_BLS))
    assert not torch.equal(teacher(signal_BLS), student(signal_BLS))
    assert (teacher.config, teacher.contract) == (SIZE, DEFAULT_CONTRACT)
    assert torch.equal(random_twin(teacher, 1)(signal_BLS), random_twin(teacher, 1)(signal_BLS))


def test_published_file_loads_with_its_contract(parity_dir: Path) -> None:
    encoder = load_encoder(parity_dir / "encoder_tiny.pth", heads=4)
    assert (encoder.config.width, encoder.config.depth, encoder.contract) == (64, 3, PUBLISHED_CONTRACT)


def rejected(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_encoder(path)
    return str(caught.value)


def test_wrong_files_are_named(saved: Path, tmp_path: Path) -> None:
    assert "does not exist" in rejected(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "expected a run folder" in rejected(tmp_path / "empty")
    (tmp_path / "text.pth").write_text("hello")
    assert "text.pth is not a checkpoint" in rejected(tmp_path / "text.pth")
    (tmp_path / "code.pth").write_bytes(pickle.dumps(Path, protocol=2))
    assert "holds more than tensors" in rejected(tmp_path / "code.pth")
    torch.save({"model": {}}, tmp_path / "other.pth")
    assert "not in the published form" in rejected(tmp_path / "other.pth")
    torch.save({"encoder": {"a": torch.zeros(1)}, "epoch": 1}, tmp_path / "keys.pth")
    assert "keys.pth" in rejected(tmp_path / "keys.pth")

    teacher = saved / "model" / "teacher.safetensors"
    whole = teacher.read_bytes()
    teacher.write_bytes(whole[: len(whole) // 2])
    assert "is cut" in rejected(saved)
    save_file({"norm.weight": torch.zeros(3)}, teacher)
    assert "of another size than its description" in rejected(saved)
    teacher.write_bytes(whole)
    config = saved / "model" / "config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "model": {**values["model"], "width": 32}}))
    assert "expected (32" in rejected(saved)
    config.write_text(json.dumps({**values, "contract": {"sampling_rate_hz": 250, "colour": "red"}}))
    assert "unknown keys ['colour']" in rejected(saved)
    config.write_text(json.dumps({**values, "format": 2}))
    assert "format 2, expected 1" in rejected(saved)
    config.write_text("{")
    assert "not the description of a model" in rejected(saved)
    teacher.unlink()
    config.write_text(json.dumps(values))
    assert "no teacher.safetensors" in rejected(saved)
