"""Tokens from a file and computed are the same, and a file is never taken for that of another encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgjepa.checkpoint import random_twin
from ecgjepa.data.store import Store
from ecgjepa.evaluate.readouts import CachedTokens, ComputedTokens, TokenPart, token_source
from ecgjepa.model.encoder import Encoder

from .fakes import CONTRACT, MODEL, make_store


class Plain:
    """Features, no tokens."""

    contract, width = CONTRACT, 10

    def __call__(self, signal_mv_BLS):
        return signal_mv_BLS[:, 0]

    def to(self, device):
        return self


def make(seed=0):
    store = make_store(20)
    return random_twin(Encoder(MODEL, CONTRACT), seed), replace(store, info=store.info | {"checksums": {"a": "b"}})


def test_computed_and_cached_tokens_are_those_of_the_encoder(tmp_path):
    encoder, store = make()
    rows, positions = np.array([4, 2, 9, 2, 7]), np.array([3, 0, 4])
    with torch.no_grad():
        expected = encoder.forward_features(torch.from_numpy(store.signals_mv(rows[positions]))).flatten(1, 2)
    computed = token_source(encoder, store, rows, batch_size=2)
    cached = token_source(encoder, store, rows, tmp_path / "cache", batch_size=2, progress=False)
    assert isinstance(computed, ComputedTokens)
    assert isinstance(cached, CachedTokens)
    for source in (computed, cached):
        assert (len(source), source.width) == (5, 8)
        tokens = source.tokens(positions)
        assert tokens.shape == (3, 4, 8)
        assert tokens.dtype == torch.float32
        assert not tokens.is_inference()
        torch.testing.assert_close(tokens, expected, atol=1e-6, rtol=0)
        part = TokenPart(source, np.array([1, 3, 0, 4]))
        assert (len(part), part.width) == (4, 8)
        torch.testing.assert_close(part.tokens(np.array([1, 2, 3])), expected, atol=1e-6, rtol=0)


def test_a_cache_is_written_once(tmp_path, monkeypatch):
    encoder, store = make()
    first = token_source(encoder, store, range(6), tmp_path, progress=False).tokens(np.arange(6))
    read, signals = [], Store.signals_mv
    monkeypatch.setattr(Store, "signals_mv", lambda store, rows: read.append(len(rows)) or signals(store, rows))
    again = token_source(encoder, store, range(6), tmp_path, progress=False).tokens(np.arange(6))
    assert read == [1]  # to know the shape
    torch.testing.assert_close(again, first)


def test_a_cache_of_something_else_is_refused(tmp_path):
    encoder, store = make()
    token_source(encoder, store, range(6), tmp_path, progress=False)
    other = replace(store, info=store.info | {"checksums": {"a": "c"}})
    for arguments, what in (
        ((make(1)[0], store, range(6)), "another encoder;"),
        ((encoder, store, range(1, 7)), "another rows;"),
        ((encoder, store, range(7)), "another rows and shape;"),
        ((encoder, other, range(6)), "another store;"),
    ):
        with pytest.raises(ValueError, match=what):
            token_source(*arguments, tmp_path, progress=False)


def test_too_large_a_cache_is_not_written(tmp_path):
    encoder, store = make()
    size = 6 * 4 * 8 * 4
    assert isinstance(token_source(encoder, store, range(6), tmp_path / "a", limit_bytes=size - 1), ComputedTokens)
    assert not (tmp_path / "a").exists()
    found = token_source(encoder, store, range(6), tmp_path / "a", limit_bytes=size, progress=False)
    assert isinstance(found, CachedTokens)


def test_a_token_that_is_not_finite_is_named_and_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("ecgjepa.evaluate.features.accelerated", lambda encoder, device: encoder)
    encoder, store = make()
    forward = encoder.forward_features

    def broken(signal_mv_BLS, *arguments):
        features = forward(signal_mv_BLS, *arguments)
        features[signal_mv_BLS[:, 0, 0] == float(store.signals_mv([3])[0, 0, 0])] = torch.nan
        return features

    encoder.forward_features = broken
    with pytest.raises(ValueError, match="tokens: those of r0003 are not finite"):
        token_source(encoder, store, range(6), tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_no_rows_or_no_tokens_is_an_error():
    encoder, store = make()
    with pytest.raises(ValueError, match="0 rows"):
        token_source(encoder, store, [])
    with pytest.raises(ValueError, match="Plain gives none"):
        token_source(Plain(), store, [0])
