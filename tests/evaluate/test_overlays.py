"""From a recording of any rate, leads and length to the shading of its picture."""

import numpy as np
import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.attention_map import attention_received
from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.occlusion import occlusion_map
from ecgjepa.evaluate.overlays import attention_shading, occlusion_shading
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.windows import take_windows

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=4)
MODEL = ModelConfig(width=8, depth=2, heads=2, patch_samples=20, predictor_width=8, predictor_heads=2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MODEL, CONTRACT, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def head() -> Head:
    return Head(np.random.default_rng(0).standard_normal((1, 8)), np.zeros(1), ("MI",), "multilabel", np.array([0.9]))


def recording(seconds: float = 3.3, rate_hz: float = 250, leads: tuple[str, ...] = ("III", "V6", "II")) -> Recording:
    signal_mv = np.random.default_rng(0).standard_normal((len(leads), round(seconds * rate_hz))).astype(np.float32)
    return Recording("r", signal_mv, leads, rate_hz)


def test_shading_is_that_of_the_window_that_the_encoder_gets(encoder, head) -> None:
    shading, notes = attention_shading(recording(), encoder)
    window = take_windows(recording(), CONTRACT)[0]
    assert tuple(shading.leads) == window.leads == ("I", "II")
    assert (shading.value_LP.shape, shading.seconds) == ((2, 16), 0.2)  # 3.2 of 3.3 s are whole patches
    expected = attention_received(encoder, window.signal_mv[:, :320], window.leads)
    np.testing.assert_allclose(shading.value_LP, expected * 32)
    assert shading.value_LP.mean() == pytest.approx(1)
    assert "in layer 2 of 2" in notes[0]
    assert "rolled out over all 2 layers" in attention_shading(recording(), encoder, "rollout")[1][0]

    shading, notes = occlusion_shading(recording(), encoder, head, "MI", stretch_s=0.6, all_leads=True)
    expected = occlusion_map(
        encoder, head, window.signal_mv[:, :320], window.leads, "MI", stretch_patches=3, all_leads=True
    )
    np.testing.assert_allclose(shading.value_LP, 100 * expected)
    assert shading.diverging
    assert "percentage points" in shading.label
    probability = head.predict_proba(embed(encoder))
    assert notes[0] == f"MI: probability {100 * probability[0, 0]:.1f} % · threshold 90.0 % · not called"
    assert "0.6 s are hidden, in all leads at once" in notes[1]


def embed(encoder: Encoder) -> np.ndarray:
    window = take_windows(recording(), CONTRACT)[0]
    with torch.no_grad():
        return encoder(torch.from_numpy(window.signal_mv[None, :, :320]), window.leads).numpy()


def test_log_odds_are_not_percent(encoder, head) -> None:
    points, odds = (
        occlusion_shading(recording(), encoder, head, "MI", score=score)[0] for score in ("probability", "log_odds")
    )
    assert "log-odds" in odds.label
    assert (np.sign(points.value_LP) == np.sign(odds.value_LP)).all()
    assert not np.allclose(points.value_LP, 100 * odds.value_LP)


def test_padding_moves_the_shading_and_gaps_have_none(encoder) -> None:
    record = recording(6.0, 100, ("I", "II", "V1"))
    record.signal_mv[:, :100] = 0
    record.signal_mv[1, 205:210] = np.nan
    shading, _ = attention_shading(record, encoder)
    assert shading.start_s == pytest.approx(1.0)
    assert np.argwhere(np.isnan(shading.value_LP)).tolist() == [[1, 5]]


def test_what_cannot_be_shaded_is_refused(encoder, head) -> None:
    with pytest.raises(ValueError, match=r"stretches of 0\.3 s, expected a multiple of the patch, 0\.2 s"):
        occlusion_shading(recording(), encoder, head, "MI", stretch_s=0.3)
    with pytest.raises(RefusedRecordError, match="missing_lead"):
        attention_shading(recording(leads=("V2",)), encoder)
    with pytest.raises(RefusedRecordError, match="short"):
        attention_shading(recording(0.4), encoder)
