"""Fewer leads and noise: what the encoder is given is what was asked for, and features are kept and told apart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgjepa.checkpoint import generator_of
from ecgjepa.evaluate.conditions import LeadSubset, NoisyStore, noise_of
from ecgjepa.evaluate.feature_cache import FeatureCache
from ecgjepa.evaluate.features import embed_rows
from ecgjepa.evaluate.frozen import FrozenEncoder
from ecgjepa.model.encoder import Encoder
from tests.data.stores import write_store
from tests.finetune.runs import CONTRACT, MODEL

CACHE = {"progress": False}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MODEL, CONTRACT, generator=generator_of(0))


def test_the_leads_that_are_left_out_do_not_exist(encoder: Encoder) -> None:
    subset = LeadSubset(encoder, ["V1", "I"])
    assert isinstance(subset, FrozenEncoder)
    assert subset.leads == ("I", "V1")
    signal = torch.randn(2, 3, CONTRACT.samples, generator=generator_of(1))
    changed = signal.clone()
    changed[:, 1] = 100.0
    torch.testing.assert_close(subset(signal), subset(changed))
    torch.testing.assert_close(subset(signal), encoder(signal[:, [0, 2]], ("I", "V1")))
    torch.testing.assert_close(subset.tokens(signal).mean(dim=1), subset(signal))
    torch.testing.assert_close(subset.accelerated()(signal), subset(signal))
    assert subset.weights_sha256() != encoder.weights_sha256()
    for wrong in (["aVR"], [], ["I", "I"]):
        with pytest.raises(ValueError, match="expected distinct ones of"):
            LeadSubset(encoder, wrong)


@pytest.mark.parametrize("snr_db", [20.0, 0.0, -10.0])
def test_noise_has_the_power_that_was_asked_for(snr_db: float) -> None:
    rng = np.random.default_rng(0)
    signal_mv = (3.0 + rng.standard_normal((8, 2500))).astype(np.float32)
    noise_mv = noise_of(signal_mv, 250, snr_db, np.random.default_rng(1))
    centred = signal_mv - np.median(signal_mv, axis=1, keepdims=True)
    found = 10 * np.log10((centred**2).mean() / (noise_mv**2).mean())
    assert found == pytest.approx(snr_db, abs=0.3)
    spectrum = np.abs(np.fft.rfft(noise_mv, axis=1)) ** 2
    hz = np.fft.rfftfreq(2500, 1 / 250)
    assert spectrum[:, hz <= 0.5].sum() / spectrum.sum() == pytest.approx(0.5, abs=0.1)


def test_noise_is_a_function_of_seed_and_row_and_leaves_the_store_alone(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", 6, contract=CONTRACT)
    clean = store.signals_mv(range(6))
    noisy = NoisyStore.over(store, 10.0, 3)
    whole = noisy.signals_mv(range(6))
    np.testing.assert_array_equal(noisy.signals_mv([4, 1]), whole[[4, 1]])
    np.testing.assert_array_equal(store.signals_mv(range(6)), clean)
    assert not np.allclose(whole, clean)
    assert not np.allclose(NoisyStore.over(store, 10.0, 4).signals_mv(range(6)), whole)


def test_features_are_kept_and_told_apart(encoder: Encoder, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", 10, contract=CONTRACT)
    cache, rows = FeatureCache(tmp_path / "cache", **CACHE), np.array([7, 2])
    found = cache.features(encoder, store, rows)
    np.testing.assert_allclose(found, embed_rows(encoder, store, rows, progress=False), rtol=1e-5, atol=1e-6)
    kept = list((tmp_path / "cache").glob("*.npy"))
    assert [len(np.load(file)) for file in kept] == [10]
    times = [file.stat().st_mtime_ns for file in kept]
    np.testing.assert_array_equal(cache.features(encoder, store, rows), found)
    assert [file.stat().st_mtime_ns for file in kept] == times
    others = [
        cache.features(LeadSubset(encoder, ["II"]), store, rows),
        cache.features(encoder, NoisyStore.over(store, 0.0, 0), rows),
        cache.features(encoder, store, rows, pooling="mean_std"),
        cache.features(Encoder(MODEL, CONTRACT, generator=generator_of(5)), store, rows),
    ]
    assert all(each.shape != found.shape or not np.allclose(each, found) for each in others)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 5
    tokens = cache.tokens(encoder, store, rows)
    np.testing.assert_allclose(tokens.tokens(np.arange(2)).mean(dim=1).numpy(), found, rtol=1e-5, atol=1e-6)


def test_a_cut_file_of_features_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", 10, contract=CONTRACT)
    cache = FeatureCache(tmp_path / "cache", **CACHE)
    cache.features(encoder, store, np.arange(10))
    (file,) = (tmp_path / "cache").glob("*.npy")
    np.save(file, np.load(file)[:3])
    with pytest.raises(ValueError, match="3 rows, expected 10; delete it"):
        cache.features(encoder, store, np.arange(10))
