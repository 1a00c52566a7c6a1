"""Checkpoints: published and own, one layout for all, and every kind of wrong file named."""

import hashlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from ecgjepa.checkpoint import CheckpointError, convert, load_encoder, load_model, random_twin, read_notes, save_model
from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import DEFAULT_CONTRACT, PUBLISHED_CONTRACT, SignalContract

SIZE = ModelConfig(width=16, depth=2, heads=2, predictor_width=8, predictor_depth=1, predictor_heads=2)
SIGNAL_BLS = torch.linspace(-1, 1, 2 * 8 * 2500).view(2, 8, 2500)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    twins = {"teacher": Encoder(SIZE, DEFAULT_CONTRACT), "student": Encoder(SIZE, DEFAULT_CONTRACT)}
    save_model(tmp_path / "run" / "model", twins, seed=3)
    return tmp_path / "run"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rejected(path: Path | str, which: Any = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_encoder(path, which)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_saved_models_come_back(saved: Path) -> None:
    teacher, student = load_encoder(saved), load_encoder(saved, "student")
    assert torch.equal(load_encoder(saved / "model")(SIGNAL_BLS), teacher(SIGNAL_BLS))
    assert torch.equal(load_encoder(saved / "model" / "student.safetensors")(SIGNAL_BLS), student(SIGNAL_BLS))
    assert not torch.equal(teacher(SIGNAL_BLS), student(SIGNAL_BLS))
    assert (teacher.config, teacher.contract) == (SIZE, DEFAULT_CONTRACT)
    assert torch.equal(teacher.position_LPD, Encoder(SIZE, DEFAULT_CONTRACT).position_LPD)
    assert all(weight.requires_grad for weight in teacher.parameters())
    assert torch.equal(random_twin(teacher, 1)(SIGNAL_BLS), random_twin(teacher, 1)(SIGNAL_BLS))
    for source in (saved, saved / "model", saved / "model" / "student.safetensors"):
        assert read_notes(source)["seed"] == 3
    (saved / "model" / "teacher.safetensors").write_bytes(b"replaced")
    assert teacher(SIGNAL_BLS).isfinite().all(), "an encoder does not hang on its file"


def test_what_is_there_is_read_unless_the_other_is_asked_for(saved: Path, tmp_path: Path) -> None:
    student = load_encoder(saved, "student")(SIGNAL_BLS)
    (saved / "model" / "teacher.safetensors").unlink()
    model = load_model(saved)
    assert model.network == "student"
    assert torch.equal(model.encoder(SIGNAL_BLS), student)
    assert "no teacher.safetensors in" in (said := rejected(saved, "teacher"))
    assert "student.safetensors holds the student" in said
    assert "holds the student" in rejected(saved / "model" / "student.safetensors", "teacher")

    plain = saved / "model" / "model.safetensors"
    (saved / "model" / "student.safetensors").rename(plain)
    assert torch.equal(load_encoder(saved)(SIGNAL_BLS), student)
    assert "an encoder that is not said to be teacher or student" in rejected(saved, "student")
    config = saved / "model" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "provenance": {"network": "student"}}))
    assert torch.equal(load_encoder(saved, "student")(SIGNAL_BLS), student)
    plain.unlink()
    assert "expected teacher.safetensors or student.safetensors or model.safetensors" in rejected(saved)


def test_published_file_loads_with_its_contract(parity_dir: Path) -> None:
    encoder = load_encoder(parity_dir / "encoder_tiny.pth", heads=4)
    assert (encoder.config.width, encoder.config.depth, encoder.contract) == (64, 3, PUBLISHED_CONTRACT)
    assert read_notes(parity_dir / "encoder_tiny.pth") == {}
    assert load_model(parity_dir / "encoder_tiny.pth", "teacher", heads=4).network == "student"
    with pytest.raises(CheckpointError, match=r"encoder_tiny.pth: model: width and heads: 64 is not a multiple of 7$"):
        load_encoder(parity_dir / "encoder_tiny.pth", heads=7)


def test_published_whole_model_has_both(parity_dir: Path) -> None:
    """`outputs.npz` has the tokens of both for the same input."""
    signal_mv_BLS = torch.from_numpy(np.load(parity_dir / "input.npy"))
    with np.load(parity_dir / "outputs.npz") as outputs, torch.inference_mode():
        for which, name in (("student", "tokens"), ("teacher", "teacher_tokens")):
            encoder = load_encoder(parity_dir / "jepa_tiny.pth", which, heads=4)
            tokens_BND = encoder.forward_features(signal_mv_BLS).flatten(1, 2)
            torch.testing.assert_close(tokens_BND, torch.from_numpy(outputs[name]), atol=1e-5, rtol=0)


def test_converted_weights_are_equal_to_the_bit_and_compute_the_same(parity_dir: Path, tmp_path: Path) -> None:
    file, out = parity_dir / "encoder_tiny.pth", tmp_path / "out"
    said = run("convert", file, out, "--heads", 4)
    assert "student of" in said.output, said.output
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "student.safetensors"]
    published = torch.load(file, weights_only=True)
    config = json.loads((out / "config.json").read_text())
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert config["provenance"] == {"source": "encoder_tiny.pth", "sha256": sha256, "network": "student"}
    assert (config["format"], config["epoch"]) == (1, published["epoch"])
    assert SignalContract.from_dict(config["contract"]) == PUBLISHED_CONTRACT
    weights = load_file(out / "student.safetensors")
    assert torch.equal(weights["patch_embed.weight"], published["encoder"]["W_P.weight"])
    assert torch.equal(weights["norm.bias"], published["encoder"]["norm.bias"])
    assert len(weights) == len(published["encoder"]) - 1, "all but the position table"

    encoder = load_encoder(out)
    before = load_encoder(file, heads=4).state_dict()
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    with np.load(parity_dir / "outputs.npz") as outputs, torch.inference_mode():
        found = encoder(torch.from_numpy(np.load(parity_dir / "input.npy")))
        torch.testing.assert_close(found, torch.from_numpy(outputs["representation"]), atol=1e-5, rtol=0)

    again = tmp_path / "again"
    convert(out, again)
    assert (again / "student.safetensors").read_bytes() == (out / "student.safetensors").read_bytes()
    assert (again / "config.json").read_text() == (out / "config.json").read_text(), "provenance stays with the weights"


def test_convert_of_a_run_takes_one_network_and_its_recipe(saved: Path, tmp_path: Path) -> None:
    store = {"path": "/home/me/stores/ptbxl", "dataset": "ptbxl", "trained_on": 5, "account": {"kept": 7}}
    info = {"status": "finished", "steps": 40, "stores": [store], "config": {"mask": {"type": "block"}}}
    (saved / "run.json").write_text(json.dumps(info))
    for source, which, network in ((saved, None, "teacher"), (saved / "model", "student", "student")):
        out = tmp_path / network
        convert(source, out, which)
        assert [path.name for path in out.glob("*.safetensors")] == [f"{network}.safetensors"]
        assert torch.equal(load_encoder(out)(SIGNAL_BLS), load_encoder(saved, which)(SIGNAL_BLS))
        notes = read_notes(out)
        assert (notes["seed"], notes["provenance"]["network"]) == (3, network)
        assert notes["training"]["stores"] == [{"name": "ptbxl"} | {key: store[key] for key in store if key != "path"}]
        assert notes["training"]["mask"] == {"type": "block", "scale": [0.175, 0.225]}
    assert read_notes(tmp_path / "teacher")["provenance"]["source"] == "run/model/teacher.safetensors"


def test_convert_overwrites_a_model_on_demand_and_nothing_else(saved: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(saved, out)
    assert f"{out} exists already; --overwrite replaces it" in run("convert", saved, out).output
    assert run("convert", saved, out, "--overwrite", "--encoder", "student").exit_code == 0
    assert [path.name for path in out.glob("*.safetensors")] == ["student.safetensors"]
    (out / "probes").mkdir()
    assert "holds probes, which is no part of a model" in run("convert", saved, out, "--overwrite").output
    assert "is not a folder" in run("convert", saved, saved / "model" / "config.json", "--overwrite").output
    assert "no model at" in run("convert", tmp_path / "nowhere", tmp_path / "new").output

    broken = load_encoder(saved)
    torch.nn.init.constant_(broken.norm.weight, torch.nan)
    save_model(tmp_path / "broken", {"teacher": broken})
    assert "teacher: norm.weight holds numbers that are not finite" in run(
        "convert", tmp_path / "broken", tmp_path / "new"
    ).output  # fmt: skip
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*")), "nothing is left behind"


def test_names_of_published_files(parity_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = rejected("ejepa_multiblock")
    assert "no file weights/multiblock_epoch100.pth" in said
    assert str(tmp_path) in said
    assert "fetched by hand" in said
    (tmp_path / "weights").mkdir()
    shutil.copyfile(parity_dir / "encoder_tiny.pth", tmp_path / "weights" / "multiblock_epoch100.pth")
    assert load_encoder("ejepa_multiblock", heads=4).config.width == 64
    assert "no file weights/random_epoch100.pth" in rejected("ejepa_random")
    convert("ejepa_multiblock", "ejepa_multiblock", heads=4)
    assert load_model("ejepa_multiblock").file.name == "student.safetensors", "a path that is there comes first"


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
    assert "keys.pth: published weights: expected a matrix W_P.weight, found keys a" in rejected(tmp_path / "keys.pth")
    torch.save({"encoder": {1: 2}, "epoch": 1}, tmp_path / "numbers.pth")
    assert "must be tensors by name" in rejected(tmp_path / "numbers.pth")
    (saved / "checkpoints").mkdir()
    torch.save({"model": {}, "step": 3}, saved / "checkpoints" / "last.pt")
    shutil.rmtree(saved / "model")
    assert "last.pt is not a checkpoint of ecgjepa: no 'description'" in rejected(saved)


def test_wrong_weights_are_named(saved: Path) -> None:
    teacher, config = saved / "model" / "teacher.safetensors", saved / "model" / "config.json"
    whole, weights = teacher.read_bytes(), load_file(teacher)
    for part in (b"", whole[:5], whole[: len(whole) // 2], whole[:-1], b"{}" + whole):
        teacher.write_bytes(part)
        assert "teacher.safetensors is not a safetensors file, or is cut" in rejected(saved)
    save_file({"norm.weight": torch.zeros(3)}, teacher)
    assert "is of another size than its description: 1 tensors, expected 2 blocks" in rejected(saved)
    save_file({name: value for name, value in weights.items() if name != "norm.bias"}, teacher)
    assert "1 tensors differ, norm.bias is missing, expected (16,)" in rejected(saved)
    save_file({**weights, "extra": torch.zeros(3)}, teacher)
    assert "extra is (3,), expected none of that name" in rejected(saved)
    save_file({**weights, "norm.bias": torch.zeros(16, dtype=torch.int64)}, teacher)
    assert "norm.bias is torch.int64, expected floating-point numbers" in rejected(saved)
    save_file({name: value.half() for name, value in weights.items()}, teacher)
    assert load_encoder(saved).norm.weight.dtype == torch.float32
    teacher.write_bytes(whole)
    config.unlink()
    assert "no config.json beside" in rejected(saved / "model")
    assert "neither sizes nor signal contract are known" in rejected(teacher)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("format", 2, "model format 2, expected 1"),
        ("format", "1", "model format '1', expected 1"),
        ("model", None, "model: expected its sizes, found None"),
        ("model", {"width": 32}, "teacher.safetensors is of another size than its description: .* expected \\(32"),
        ("model", {"width": 18}, "config.json: model: width and heads: the position table needs .*found 18"),
        ("model", {"width": "wide"}, "config.json: model.width: Input should be a valid integer.*, found 'wide'"),
        ("model", {"layers": 3}, "config.json: model.layers: Extra inputs are not permitted"),
        ("model", {"heads": ...}, "config.json: model: heads missing, expected width, depth, heads"),
        ("model", {"patch_samples": 49}, "expected a whole number of patches of 49 samples, found 2500"),
        ("model", {"depth": 10**9}, "expected 1000000000 blocks"),
        ("contract", [], "contract: expected leads, sampling_rate_hz, .*found \\[\\]"),
        ("contract", {"colour": "red"}, "contract: unknown keys \\['colour'\\], expected leads, sampling_rate_hz"),
        ("contract", {"seconds": ...}, "contract: seconds missing, expected leads"),
        ("contract", {"leads": "I"}, "contract: leads must be a list of names, found 'I'"),
        ("contract", {"leads": ["I", "V7"]}, "leads must be distinct names of .*found \\('I', 'V7'\\)"),
        ("contract", {"leads": [1]}, "contract: expected names of leads"),
        ("contract", {"sampling_rate_hz": "250"}, "sampling_rate_hz must be a whole number, found '250'"),
        ("contract", {"sampling_rate_hz": 0}, "must be positive"),
        ("contract", {"seconds": True}, "seconds must be a number, found True"),
        ("contract", {"seconds": float("inf")}, "expected names of leads and a finite time"),
        ("contract", {"unit": "uV"}, "unit must be 'mV', found 'uV'"),
        ("contract", {"resampling": "nearest"}, "resampling must be one of .*found 'nearest'"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_unknown_descriptions_are_named(saved: Path, part: str, change: Any, message: str) -> None:
    config = saved / "model" / "config.json"
    values = json.loads(config.read_text())
    if isinstance(change, dict):
        values[part] = {name: value for name, value in {**values[part], **change}.items() if value is not ...}
    else:
        values[part] = change
    config.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=message) as caught:
        load_encoder(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"model": {}}', "\0", "[" * 100_000])
def test_what_is_no_description_is_named(saved: Path, text: str) -> None:
    (saved / "model" / "config.json").write_text(text)
    assert "config.json is not the description of a model" in rejected(saved)
