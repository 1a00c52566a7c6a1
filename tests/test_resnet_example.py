"""The example of another encoder: trained on a tiny store, saved, opened as a factory, read by a probe."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import examples.resnet1d as resnet1d
from ecgjepa.evaluate.encoders import check_encoder, open_encoder, random_twin_of
from ecgjepa.evaluate.features import embed_rows
from ecgjepa.evaluate.readouts import LinearProbe
from ecgjepa.evaluate.targets import read_targets
from ecgjepa.signal import SignalContract
from tests.evaluate.fakes import make_store

CONTRACT = SignalContract(leads=("I", "II"), sampling_rate_hz=64, seconds=1)


def tiny_store(records=240):
    """Each class is a wave of its own frequency in lead I; the phase is random."""
    store, rng = make_store(records), np.random.default_rng(0)
    labels = read_targets(store, "superdiagnostic", "multilabel").labels_NK
    cycles = np.array([3, 8, 15])[:, None] * np.arange(64) / 64
    waves = np.sin(2 * np.pi * (cycles + rng.random((records, 3, 1))))
    signal_mv = 0.3 * rng.standard_normal((records, 2, 64))
    signal_mv[:, 0] += (labels[..., None] * waves).sum(axis=1)
    return replace(store, contract=CONTRACT, signals_uv=(1000 * signal_mv).astype(np.int16))


@pytest.fixture(scope="module")
def trained():
    store = tiny_store()
    return store, *resnet1d.train(store, "superdiagnostic", width=16, depth=2, epochs=6, say=False)


def test_it_learns_and_keeps_the_epoch_that_validation_chose(trained):
    _, _, about = trained
    aucs = about["validation_macro_auc"]
    assert max(aucs) > 0.8
    assert about["epoch"] == 1 + int(np.argmax(aucs))


def test_as_an_encoder_on_the_command_line(trained, tmp_path, monkeypatch):
    store, model, about = trained
    resnet1d.save(model, about, tmp_path)
    monkeypatch.setenv("RESNET1D", str(tmp_path))
    monkeypatch.chdir(Path(__file__).parents[1])
    encoder = open_encoder("examples.resnet1d:trained").encoder
    check_encoder(encoder, "resnet")
    targets = read_targets(store, "superdiagnostic", "multilabel")
    features = embed_rows(encoder, store, targets.rows_N, progress=False)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(store.signals_mv(targets.rows_N))).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)
    twin = random_twin_of(encoder, 0)
    scores = []
    for each in (encoder, twin):
        features = embed_rows(each, store, targets.rows_N, progress=False)
        parts = [x[targets.of(split)] for split in ("train", "validation") for x in (features, targets.labels_NK)]
        scores.append(LinearProbe("multilabel").fit(*parts).grid_)
    assert max(auc for _, auc in scores[0]) > 0.8
    assert twin.weights_sha256() != encoder.weights_sha256()


def test_a_seed_gives_the_same_network():
    store = tiny_store(60)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(states))
        model, _ = resnet1d.train(store, "superdiagnostic", width=4, depth=1, epochs=1, seed=seed, say=False)
        states.append(torch.cat([value.flatten().double() for value in model.state_dict().values()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_nothing_is_overwritten_or_guessed(trained, tmp_path):
    _, model, about = trained
    with pytest.raises(ValueError, match=r"no trained ResNet at .*nowhere"):
        resnet1d.load(tmp_path / "nowhere")
    resnet1d.save(model, about, tmp_path / "a")
    with pytest.raises(FileExistsError, match="--overwrite replaces it"):
        resnet1d.save(model, about, tmp_path / "a")
    resnet1d.save(model, about | {"seed": 9}, tmp_path / "a", overwrite=True)
    assert json.loads((tmp_path / "a" / "resnet1d.json").read_text())["seed"] == 9
    (tmp_path / "store").mkdir()
    arguments = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "a")]
    found = CliRunner().invoke(resnet1d.main, arguments)
    assert found.exit_code == 1
    assert "--overwrite replaces it" in found.output
    shutil.rmtree(tmp_path / "a")
    found = CliRunner().invoke(resnet1d.main, arguments)
    assert found.exit_code == 1
    assert "is not a store" in found.output
