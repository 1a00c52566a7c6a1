"""The scikit-learn transformer: pipelines, cross-validation, clones, pickles."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgjepa import ECGEmbedder
from ecgjepa.checkpoint import save_model
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.model.encoder import Encoder
from tests.data.archives import smooth_signal


@pytest.fixture(scope="module")
def signals_mv() -> np.ndarray:
    """(24, 12, 5000) at 500 Hz, the second half three times as large."""
    signals_mv = np.stack([smooth_signal(k).T for k in range(24)]).astype(np.float32)
    signals_mv[12:] *= 3
    return signals_mv


@pytest.fixture
def ckpt(encoder: Encoder, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", {"teacher": encoder})
    return tmp_path / "model"


def test_embeddings_are_those_of_the_encoder(ckpt: Path, encoder: Encoder, signals_mv: np.ndarray) -> None:
    expected = encoder.embed(signals_mv, sampling_rate_hz=500)
    for given in (ckpt, str(ckpt), encoder):
        embedder = ECGEmbedder(given, sampling_rate_hz=500, unit="mV")
        np.testing.assert_allclose(embedder.fit_transform(signals_mv), expected, atol=1e-6)
        np.testing.assert_allclose(embedder.transform(list(signals_mv)), expected, atol=1e-6)
    assert embedder.n_features_out_ == 16
    assert list(embedder.get_feature_names_out()[:2]) == ["ecgembedder0", "ecgembedder1"]
    assert embedder.contract_ == encoder.contract


def test_pipeline_and_cross_validation(ckpt: Path, signals_mv: np.ndarray) -> None:
    labels = np.arange(24) >= 12
    pipeline = make_pipeline(
        ECGEmbedder(ckpt, sampling_rate_hz=500, unit="mV"), StandardScaler(), LogisticRegression(max_iter=1000)
    )
    scores = cross_val_score(pipeline, signals_mv, labels, cv=3)
    assert scores.shape == (3,)
    search = GridSearchCV(pipeline, {"ecgembedder__layer": [None, 1]}, cv=2).fit(signals_mv, labels)
    assert search.best_estimator_.predict(signals_mv).shape == (24,)


def test_clones_and_pickles(ckpt: Path, encoder: Encoder, signals_mv: np.ndarray) -> None:
    embedder = ECGEmbedder(ckpt, sampling_rate_hz=500, unit="mV", windows="mean").fit()
    expected = embedder.transform(signals_mv)
    copied = clone(embedder)
    assert copied.get_params() == embedder.get_params()
    np.testing.assert_array_equal(copied.fit_transform(signals_mv), expected)
    pickled = pickle.dumps(embedder)
    assert len(pickled) < 3000, "the weights stay where they are"
    np.testing.assert_array_equal(pickle.loads(pickled).transform(signals_mv), expected)
    held = ECGEmbedder(encoder, sampling_rate_hz=500, unit="mV").fit()
    held.transform(signals_mv)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(held)).transform(signals_mv), expected, atol=1e-6)


def test_files_recordings_and_broken_ones(encoder: Encoder, archive: Path) -> None:
    good, broken = archive / "a" / "good0.hea", archive / "b" / "cut.hea"
    embedder = ECGEmbedder(encoder).fit()
    expected = embedder.transform([read(good)])
    np.testing.assert_array_equal(embedder.transform([good, str(good)]), np.concatenate([expected, expected]))
    with pytest.raises(RefusedRecordError, match="cut"):
        embedder.transform([good, broken])
    embedded = ECGEmbedder(encoder, refused="nan").fit_transform([broken, good])
    assert np.isnan(embedded[0]).all()
    np.testing.assert_array_equal(embedded[1], expected[0])


@pytest.mark.usefixtures("unchecked")
def test_what_is_not_said_is_not_guessed(encoder: Encoder, signals_mv: np.ndarray) -> None:
    with pytest.raises(ValueError, match="arrays need sampling_rate_hz"):
        ECGEmbedder(encoder, unit="mV").fit_transform(signals_mv)
    with pytest.raises(ValueError, match=r"X\[0\]: shape \(5000,\)"):
        ECGEmbedder(encoder, sampling_rate_hz=500, unit="mV").fit_transform(signals_mv[0])
    with pytest.raises(ValueError, match="windows must be one of"):
        ECGEmbedder(encoder, windows="all").fit()  # type: ignore[arg-type]


def test_a_model_that_was_trained_on_is_another_one(ckpt: Path, encoder: Encoder, signals_mv: np.ndarray) -> None:
    embedder = ECGEmbedder(ckpt, sampling_rate_hz=500, unit="mV").fit()
    before = embedder.transform(signals_mv[:2])
    other = Encoder(encoder.config, encoder.contract)
    save_model(ckpt, {"teacher": other})
    after = embedder.transform(signals_mv[:2])
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, other.embed(signals_mv[:2], sampling_rate_hz=500), atol=1e-6)


def test_options_and_weights_that_change_count(encoder: Encoder, ckpt: Path, signals_mv: np.ndarray) -> None:
    own = Encoder(encoder.config, encoder.contract)
    embedder = ECGEmbedder(own, sampling_rate_hz=500)
    before = embedder.fit_transform(signals_mv[:2])
    with torch.no_grad():
        own.norm.weight.mul_(2)
    np.testing.assert_allclose(embedder.transform(signals_mv[:2]), 2 * before, atol=1e-5)
    rough = embedder.set_params(precision="bf16").transform(signals_mv[:2])
    assert 1e-6 < np.abs(rough - 2 * before).max() < 0.1
    file = ckpt / "teacher.safetensors"
    single = ECGEmbedder(file, sampling_rate_hz=500)
    first = single.fit_transform(signals_mv[:2])
    save_model(ckpt, {"teacher": own})
    assert np.abs(single.transform(signals_mv[:2]) - first).max() > 1e-3


def test_nothing_gives_nothing_and_long_lists_are_embedded_in_parts(encoder: Encoder, signals_mv: np.ndarray) -> None:
    embedder = ECGEmbedder(encoder, sampling_rate_hz=500, batch_size=2)
    assert embedder.fit_transform([]).shape == (0, 16)
    np.testing.assert_allclose(
        embedder.transform(signals_mv), encoder.embed(signals_mv, sampling_rate_hz=500), atol=1e-6
    )
