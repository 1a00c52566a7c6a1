"""Features: in order, in float32, a batch at a time, and only of signals that the encoder was made for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import contract_warnings, embed_rows
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
