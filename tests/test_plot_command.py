"""`ecgjepa plot` as a user types it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.checkpoint import save_model
from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.evaluate.head import HEAD, Head, describe_encoder
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from tests.data.archives import smooth_signal, write_code15, write_wfdb

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=2)
MODEL = ModelConfig(width=8, depth=2, heads=2, patch_samples=20, predictor_width=8, predictor_heads=2)


def plot(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def failed(*arguments: object) -> str:
    result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), "one line, no traceback"
    return result.output


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write_wfdb(tmp_path, "ecg7", smooth_signal(0, 5000), comments=["Age: 50"])


@pytest.fixture
def model(tmp_path: Path) -> tuple[Path, Path]:
    """A model folder, and a result folder with a head for its student."""
    encoders = {
        name: Encoder(MODEL, CONTRACT, generator=torch.Generator().manual_seed(seed))
        for seed, name in enumerate(("teacher", "student"))
    }
    save_model(tmp_path / "model", encoders)
    about = describe_encoder(encoders["student"], "student", "model")
    (tmp_path / "result").mkdir()
    head = Head(np.random.default_rng(0).standard_normal((2, 8)), np.zeros(2), ("MI", "A/B"), about=about)
    head.save(tmp_path / "result" / HEAD)
    return tmp_path / "model", tmp_path / "result"


def shades(file: Path) -> set[str]:
    return set(re.findall(r'id="shade-([^"]+)"', file.read_text()))


def test_a_record_is_drawn_where_the_user_is_or_says(
    record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot(record) == "ecg7.png"
    assert (tmp_path / "ecg7.png").read_bytes()[1:4] == b"PNG"
    assert "ecg7.png exists already" in failed(record)
    assert plot(record.with_suffix(""), "--overwrite", "--start_s", 2, "--seconds", 3) == "ecg7.png"
    svg = tmp_path / "ecg.svg"
    plot(record, "--out", svg)
    assert "Age: 50" not in svg.read_text()
    plot(record, "--out", svg, "--overwrite", "--comments", "--gain-mm-per-mv", 5)
    assert "Age: 50" in svg.read_text()
    assert "25 mm/s · 5 mm/mV" in svg.read_text()
    write_code15(tmp_path / "code15")
    assert plot(tmp_path / "code15" / "exams_part0.hdf5", "--row", 2) == "exams_part0-2.png"


def test_hints_reach_the_reader(record: Path, tmp_path: Path) -> None:
    for flags in (("--sampling-rate-hz", 250), ("--unit", "uV"), ("--leads", "I, Y")):
        assert "contradiction" in failed(record, *flags, "--out", tmp_path / "a.png")
    plot(record, "--sampling-rate-hz", 500, "--unit", "mV", "--leads", "I,II", "--out", tmp_path / "a.png")


def test_attention_is_shaded(record: Path, model: tuple[Path, Path], tmp_path: Path) -> None:
    texts = []
    for number, flags in enumerate(((), ("--layer", 1), ("--layer", "rollout"), ("--encoder", "student"))):
        plot(record, "--attention", model[0], *flags, "--out", tmp_path / f"{number}.svg")
        assert shades(tmp_path / f"{number}.svg") == {f"{lead}-{k}" for lead in ("I", "II", "V1") for k in range(10)}
        texts.append((tmp_path / f"{number}.svg").read_text())
    assert len(set(texts)) == 4
    assert "rolled out over all 2 layers" in texts[2]
    assert "layer 3, expected 1 to 2" in failed(
        record, "--attention", model[0], "--layer", 3, "--out", tmp_path / "a.svg"
    )
    assert "--layer x" in failed(record, "--attention", model[0], "--layer", "x", "--out", tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_occlusion_uses_the_encoder_of_the_head(
    record: Path, model: tuple[Path, Path], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert plot(record, "--occlusion", *model, "--class", "A/B") == "ecg7-occlusion-A_B.png"
    out = tmp_path / "a.svg"
    for head in (model[1], model[1] / HEAD):
        plot(record, "--occlusion", model[0], head, "--class", "MI", "--all-leads", "--out", out, "--overwrite")
    assert "0.4 s are hidden, in all leads at once" in out.read_text()
    assert len(shades(out)) == 30
    assert "this encoder has other weights" in failed(
        record, "--occlusion", *model, "--class", "MI", "--encoder", "teacher", "--out", tmp_path / "b.svg"
    )
    assert "no class 'AF', expected one of MI, A/B" in failed(record, "--occlusion", *model, "--class", "AF")
    assert "no head at" in failed(record, "--occlusion", model[0], model[0], "--class", "MI")


def test_flags_that_do_not_go_together_are_refused(record: Path, tmp_path: Path) -> None:
    assert "--occlusion and --class belong together" in failed(record, "--class", "MI")
    assert "--layer belongs to --attention" in failed(record, "--layer", 1)
    both = ("--attention", "x", "--occlusion", "x", "y", "--class", "MI")
    assert "either --attention or --occlusion" in failed(record, *both)
    assert "pictures are .png, .svg, .pdf" in failed(record, "--out", tmp_path / "a.jpg")
    assert "[file_absent]" in failed(tmp_path / "nowhere", "--out", tmp_path / "a.png")
    assert "found 10 s in the recording" in failed(record, "--start-s", 10, "--out", tmp_path / "a.png")
