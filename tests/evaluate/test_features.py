"""Features: in order, in float32, a batch at a time, and only of signals that the encoder was made for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import contract_warnings, embed_rows
from ecgjepa.filtering import apply_filter
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract

from .fakes import CONTRACT, MODEL, LeadEncoder, make_store


def test_features_come_in_the_order_of_the_rows_and_do_not_depend_on_the_batch():
    store, encoder = make_store(20), LeadEncoder("I")
    rows = [7, 3, 19, 3]
    features = embed_rows(encoder, store, rows, batch_size=3, progress=False)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, store.signals_mv(rows)[:, 0])
    np.testing.assert_array_equal(features, embed_rows(encoder, store, np.array(rows), batch_size=64, progress=False))


def test_a_real_encoder_gives_its_pooled_features():
    store, encoder = make_store(5), Encoder(MODEL, CONTRACT)
    features = embed_rows(encoder, store, range(5), batch_size=2, progress=False)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(store.signals_mv(range(5)))).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-6)


def test_one_batch_of_signals_at_a_time(monkeypatch):
    sizes, read = [], Store.signals_mv
    monkeypatch.setattr(Store, "signals_mv", lambda store, rows: sizes.append(len(rows)) or read(store, rows))
    embed_rows(LeadEncoder("I"), make_store(20), range(20), batch_size=8, progress=False)
    assert sizes == [8, 8, 4]


def test_float32_even_under_autocast_and_for_a_half_precision_model():
    class Times(LeadEncoder):
        def forward(self, signal_mv_BLS, leads=None):
            assert self.patch_embed.weight.dtype == torch.float32
            return signal_mv_BLS[:, 0] @ torch.eye(10)

    store = make_store(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = embed_rows(Times("I").to(torch.bfloat16), store, range(4), progress=False)
    np.testing.assert_array_equal(features, store.signals_mv(range(4))[:, 0])


@pytest.mark.parametrize("training", [True, False])
def test_runs_in_evaluation_mode_without_gradients_and_leaves_the_mode_as_it_was(training):
    class Watching(LeadEncoder):
        def forward(self, signal_mv_BLS, leads=None):
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return signal_mv_BLS[:, 0]

    encoder = Watching("I").train(training)
    embed_rows(encoder, make_store(4), [0, 1], progress=False)
    assert encoder.training is training


def test_progress_names_what_runs_and_can_be_silent(capsys):
    embed_rows(LeadEncoder("I"), make_store(4), [0, 1], description="embedding, random weights")
    assert "embedding, random weights" in (shown := capsys.readouterr().err)
    assert "2/2" in shown
    assert "records/s" in shown
    embed_rows(LeadEncoder("I"), make_store(4), [0, 1], progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leads": ("II", "I")}, r"leads \('I', 'II'\), the encoder expects \('II', 'I'\)"),
        ({"sampling_rate_hz": 20}, "sampling_rate_hz 10, the encoder expects 20"),
        ({"seconds": 2}, r"seconds 1, the encoder expects 2"),
    ],
)
def test_another_contract_is_an_error_with_both(changes, message):
    other = SignalContract(**{"leads": ("I", "II"), "sampling_rate_hz": 10, "seconds": 1} | changes)
    with pytest.raises(ValueError, match=message):
        embed_rows(LeadEncoder("I", other), make_store(4), [0], progress=False)


def test_another_resampling_is_allowed_and_said():
    other = replace(CONTRACT, resampling="fft")
    assert contract_warnings(CONTRACT, CONTRACT) == []
    (warning,) = contract_warnings(CONTRACT, other)
    assert "polyphase" in warning
    assert "fft" in warning
    assert embed_rows(LeadEncoder("I", other), make_store(4), [0], progress=False).shape == (1, 10)


def test_features_that_are_not_finite_are_named():
    class Broken(LeadEncoder):
        def forward(self, signal_mv_BLS, leads=None):
            features = signal_mv_BLS[:, 0].clone()
            features[1, 4] = torch.nan
            return features

    with pytest.raises(ValueError, match=r"2 of 4 records .* not finite, the first is r0002"):
        embed_rows(Broken("I"), make_store(10), [5, 2, 7, 9], batch_size=2, progress=False)


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="0 rows"):
        embed_rows(LeadEncoder("I"), make_store(4), [], progress=False)


def test_mean_and_deviation_over_the_tokens():
    store, encoder = make_store(5), Encoder(MODEL, CONTRACT)
    features = embed_rows(encoder, store, range(5), pooling="mean_std", batch_size=2, progress=False)
    with torch.no_grad():
        tokens = encoder.forward_features(torch.from_numpy(store.signals_mv(range(5)))).flatten(1, 2).numpy()
    np.testing.assert_allclose(features, np.hstack([tokens.mean(axis=1), tokens.std(axis=1)]), atol=1e-6)
    np.testing.assert_allclose(features[:, :8], embed_rows(encoder, store, range(5), progress=False), atol=1e-6)


class Plain:
    """Any object with a contract, a width, a call and `to` will do."""

    def __init__(self, contract=CONTRACT):
        self.contract, self.width, self.device = contract, contract.samples, None

    def __call__(self, signal_mv_BLS):
        assert torch.is_inference_mode_enabled()
        return signal_mv_BLS[:, 1]

    def to(self, device):
        self.device = str(device)


def test_an_encoder_need_not_be_one_of_ours():
    store, encoder = make_store(6), Plain()
    features = embed_rows(encoder, store, [3, 1], progress=False)
    np.testing.assert_array_equal(features, store.signals_mv([3, 1])[:, 1])
    assert encoder.device == "cpu"
    with pytest.raises(ValueError, match="Plain gives none, expected an encoder with `tokens"):
        embed_rows(encoder, store, [3], pooling="mean_std", progress=False)


def test_the_filter_of_the_encoder_is_applied_to_a_store_without():
    contract = SignalContract(leads=("I", "II"), sampling_rate_hz=100, seconds=1)
    signals_uv = (1000 * np.random.default_rng(0).standard_normal((6, 2, 100))).astype(np.int16)
    store = replace(make_store(6), contract=contract, signals_uv=signals_uv)
    filtering = replace(contract, filter="butterworth")
    (warning,) = contract_warnings(contract, filtering)
    assert "butterworth" in warning
    features = embed_rows(Plain(filtering), store, [5, 0], progress=False)
    raw = store.signals_mv([5, 0])[:, 1]
    np.testing.assert_allclose(features, apply_filter(raw, 100, "butterworth"), atol=1e-6)
    assert np.abs(features - raw).max() > 0.1
    already = replace(store, contract=filtering)
    assert contract_warnings(filtering, filtering) == []
    np.testing.assert_array_equal(embed_rows(Plain(filtering), already, [5, 0], progress=False), raw)
    with pytest.raises(ValueError, match="the store has filter butterworth, the encoder expects none"):
        embed_rows(Plain(contract), already, [0], progress=False)
