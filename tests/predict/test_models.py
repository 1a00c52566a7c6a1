"""What may be named as a classifier; the command; arrays."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result

import ecgjepa
from ecgjepa.checkpoint import CheckpointError, load_encoder
from ecgjepa.cli import main
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.head import HEAD, Head, HeadError, describe_encoder
from ecgjepa.finetune.classifier_folder import load_classifier
from ecgjepa.finetune.predicting import predict_windows
from ecgjepa.predict import model as finding
from ecgjepa.predict.model import find_classifier
from ecgjepa.windows import take_windows
from tests.finetune.runs import CLASSES, make_model
from tests.predict.conftest import LEADS, Runs, signal_uv


def test_a_run_its_parts_and_the_head_in_it(runs: Runs) -> None:
    best, last = (find_classifier(runs.multilabel, part=part) for part in ("best", "last"))
    for source in (runs.multilabel, str(runs.multilabel / "best"), runs.multilabel / "best" / HEAD):
        np.testing.assert_array_equal(find_classifier(source).head.weight_KD, best.head.weight_KD)
    assert last.folder == runs.multilabel / "last"


def test_a_head_with_its_encoder(runs: Runs, tmp_path: Path) -> None:
    encoder = load_encoder(runs.model)
    about = describe_encoder(encoder, "teacher", "runs/x")
    head = Head(np.ones((2, 16)), np.zeros(2), ("a", "b"), about=about)
    head.save(tmp_path / HEAD)
    for model in (tmp_path, tmp_path / HEAD):
        found = find_classifier(model, ckpt=runs.model)
        assert found.head.classes == ("a", "b")
        with pytest.raises(CheckpointError, match="learned on, teacher of runs/x, with --ckpt"):
            find_classifier(model)
    make_model(tmp_path / "other", seed=1)
    with pytest.raises(HeadError, match="this encoder has other weights"):
        find_classifier(tmp_path, ckpt=tmp_path / "other")
    with pytest.raises(HeadError, match="a part \\(best\\) is asked of a run"):
        find_classifier(tmp_path, ckpt=runs.model, part="best")


def test_what_is_no_classifier_is_named(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HeadError, match="no such file or folder"):
        find_classifier(tmp_path / "nowhere")
    with pytest.raises(HeadError, match="no classifier at"):
        find_classifier(runs.model)
    with pytest.raises(HeadError, match=r"has no last/head\.safetensors"):
        find_classifier(runs.model, part="last")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    with pytest.raises(HeadError, match="has not ended"):
        find_classifier(tmp_path / "run")
    (tmp_path / "run" / "best").mkdir()
    (tmp_path / "run" / "best" / "segmenter.safetensors").touch()
    with pytest.raises(HeadError, match="holds a segmenter"):
        find_classifier(tmp_path / "run")
    monkeypatch.setattr(finding, "find_model", lambda *_: runs.model)
    with pytest.raises(HeadError, match="comes as an encoder without"):
        find_classifier("hf://owner/name")
    monkeypatch.setattr(finding, "find_model", lambda *_: runs.multilabel / "best")
    assert find_classifier("hf://owner/name").head.classes == CLASSES


def test_command(runs: Runs, archive: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, ["predict", *map(str, arguments), "--device", "cpu"])

    out = tmp_path / "p.csv"
    result = run(runs.multilabel, archive, "--out", out, "--which", "last", "--batch-size", 2)
    assert result.exit_code == 3, result.output
    assert f"{out}: 4 rows from 4 of 6 ECGs" in result.output
    assert "flat: every lead is constant, expected an ECG [flat]" in result.output
    assert pd.read_csv(f"{out}.failed.csv")["record"].tolist() == ["cut", "flat"]
    again = run(runs.multilabel, archive, "--out", out)
    assert (again.exit_code, "exists already" in again.output) == (1, True)
    assert run(runs.multilabel, archive / "a.npz", "--out", out, "--overwrite").exit_code == 0
    assert len(pd.read_csv(out)) == 1
    nothing = run(runs.multilabel, archive / "cut.npz", "--out", tmp_path / "n.csv")
    assert (nothing.exit_code, "nothing could be predicted" in nothing.output) == (1, True)
    np.save(tmp_path / "bare.npy", signal_uv(0, 2, 3))
    hints = ["--sampling-rate-hz", 200, "--leads", "I,II,V1", "--unit", "uV"]
    assert run(runs.multilabel, tmp_path / "bare.npy", "--out", tmp_path / "h.csv", *hints).exit_code == 0


def test_arrays(runs: Runs) -> None:
    classifier = ecgjepa.load_classifier(runs.multilabel)
    batch = np.stack([signal_uv(seed, 5, 3) for seed in range(3)])
    said_NK = ecgjepa.predict_signals(classifier, batch, sampling_rate_hz=200, leads=LEADS, unit="uV")
    assert said_NK.shape == (3, 3)
    one_K = ecgjepa.predict_signals(classifier, torch.from_numpy(batch[1]), sampling_rate_hz=200, unit="uV")
    np.testing.assert_allclose(one_K, said_NK[1], atol=1e-6)
    first_NK = ecgjepa.predict_signals(
        classifier, batch[:, [2]], sampling_rate_hz=200, leads=["v1"], unit="uV", windows="first"
    )
    recording = ecgjepa.Recording("r", batch[0, [2]].astype(np.float32) / 1000, ("V1",), 200)
    expected_WK = predict_windows(classifier, take_windows(recording, classifier.encoder.contract))
    np.testing.assert_allclose(first_NK[0], expected_WK[0], atol=1e-6)
    with pytest.raises(RefusedRecordError, match="flat"):
        ecgjepa.predict_signals(classifier, np.zeros((3, 400)), sampling_rate_hz=200)
    with pytest.raises(ValueError, match="expected \\(leads, samples\\)"):
        ecgjepa.predict_signals(classifier, np.zeros(400), sampling_rate_hz=200)
    with pytest.warns(UserWarning, match="larger than any ECG"):
        ecgjepa.predict_signals(classifier, batch, sampling_rate_hz=200)


def test_what_is_read_is_what_the_file_says(runs: Runs, archive: Path) -> None:
    classifier = load_classifier(runs.multilabel)
    recording = read(archive / "a.npz")
    said_K = ecgjepa.predict_signals(classifier, recording.signal_mv, sampling_rate_hz=200, leads=recording.leads)
    other = replace(classifier, head=replace(classifier.head, bias_K=classifier.head.bias_K + 1))
    assert (ecgjepa.predict_signals(other, recording.signal_mv, sampling_rate_hz=200) > said_K).all()
