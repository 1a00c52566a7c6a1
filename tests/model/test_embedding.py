"""`Encoder.embed`: any rate, unit, leads and length; what is missing has no influence; batch mates neither."""

import numpy as np
import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8, LEADS_12
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from ecgjepa.windows import standardize, take_windows
from tests.test_signal import twelve_leads

CONFIG = ModelConfig(width=32, depth=2, heads=4, patch_norm=True)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(CONFIG, SignalContract(), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def signal_mv() -> np.ndarray:
    """(5, 12, 5000) at 500 Hz."""
    return np.stack([twelve_leads(seed=seed).signal_mv for seed in range(5)])


def test_embedding_is_the_forward_pass_of_the_standardised_signal(encoder: Encoder, signal_mv: np.ndarray) -> None:
    standardized = np.stack([standardize(twelve_leads(seed=seed)).signal_mv for seed in range(5)])
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(standardized)).numpy()
    embedded = encoder.embed(signal_mv, sampling_rate_hz=500)
    assert embedded.dtype == np.float32
    np.testing.assert_allclose(embedded, expected, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(signal_mv[3], sampling_rate_hz=500), expected[3], atol=1e-6)
    np.testing.assert_allclose(encoder.embed(signal_mv, sampling_rate_hz=500, batch_size=2), expected, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(torch.from_numpy(signal_mv), sampling_rate_hz=500), expected, atol=1e-6)


@pytest.mark.parametrize(("unit", "per_mv", "gain"), [("uV", 1e3, None), ("V", 1e-3, None), ("adc", 200.0, 200.0)])
def test_units(encoder: Encoder, signal_mv: np.ndarray, unit: str, per_mv: float, gain: float | None) -> None:
    expected = encoder.embed(signal_mv, sampling_rate_hz=500)
    embedded = encoder.embed(signal_mv * per_mv, sampling_rate_hz=500, unit=unit, gain_per_mv=gain)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)


def test_order_of_leads_does_not_matter_and_limb_leads_are_derived(encoder: Encoder, signal_mv: np.ndarray) -> None:
    expected = encoder.embed(signal_mv, sampling_rate_hz=500)
    order = [7, 2, 5, 11, 6, 10, 8, 9]  # III and aVF in place of I and II
    leads = [LEADS_12[row].lower() for row in order]
    embedded = encoder.embed(signal_mv[:, order], sampling_rate_hz=500, leads=leads)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    rows = [LEADS_12.index(lead) for lead in LEADS_8]
    np.testing.assert_allclose(encoder.embed(signal_mv[:, rows], sampling_rate_hz=500), expected, atol=1e-6)


def test_other_rates_give_nearly_the_same(encoder: Encoder, signal_mv: np.ndarray) -> None:
    expected = encoder.embed(signal_mv, sampling_rate_hz=500)
    for rate in (250, 360, 1000):
        embedded = encoder.embed(twelve_leads(rate=rate, seed=2).signal_mv, sampling_rate_hz=rate)
        assert np.abs(embedded - expected[2]).max() < 0.01 * np.abs(expected[2] - expected[1]).max() + 2e-3


def test_one_lead_and_one_second(encoder: Encoder, signal_mv: np.ndarray) -> None:
    second = signal_mv[:, 1:2, :500]
    tokens = encoder.embed(second, sampling_rate_hz=500, leads=["II"], tokens=True)
    there = ~np.isnan(tokens).all(axis=-1)
    assert tokens.shape == (5, 8, 50, 32)
    assert there[:, LEADS_8.index("II"), :5].all()
    assert there.sum() == 5 * 5
    embedded = encoder.embed(second, sampling_rate_hz=500, leads=["II"])
    np.testing.assert_allclose(embedded, np.nanmean(tokens, axis=(1, 2)), atol=1e-6)


def test_a_gap_is_left_out_whatever_lies_in_it(encoder: Encoder, signal_mv: np.ndarray) -> None:
    gap = signal_mv.copy()
    gap[0, 7, 1000:2000] = np.nan
    gap[1, :, 4000:] = np.inf
    tokens = encoder.embed(gap, sampling_rate_hz=500, tokens=True)
    there = ~np.isnan(tokens).any(axis=-1)
    assert not there[0, LEADS_8.index("V2"), 10:20].any()
    assert there[0].sum() == pytest.approx(400 - 10, abs=2)
    assert not there[1, :, 40:].any()
    assert there[2:].all()
    embedded = encoder.embed(gap, sampling_rate_hz=500)
    np.testing.assert_allclose(embedded, np.nanmean(tokens, axis=(1, 2)), atol=1e-6)
    alone = np.stack([encoder.embed(each, sampling_rate_hz=500) for each in gap])
    np.testing.assert_allclose(embedded, alone, atol=1e-6)
    # A record whose end is lost is a shorter record.
    short = encoder.embed(signal_mv[1, :, :3900], sampling_rate_hz=500, tokens=True)
    np.testing.assert_allclose(short[:, :37], tokens[1, :, :37], atol=0.15)


def test_longer_recordings(encoder: Encoder, signal_mv: np.ndarray) -> None:
    long = np.concatenate([signal_mv[0], signal_mv[1], signal_mv[2][:, :1500]], axis=1)
    each = encoder.embed(long, sampling_rate_hz=500, windows="all")
    assert each.shape == (3, 32)
    np.testing.assert_allclose(each[:2], encoder.embed(signal_mv[:2], sampling_rate_hz=500), atol=1e-6)
    np.testing.assert_allclose(encoder.embed(long, sampling_rate_hz=500), each[0], atol=1e-6)
    mean = encoder.embed(long[None], sampling_rate_hz=500, windows="mean")
    np.testing.assert_allclose(mean[0], (50 * each[0] + 50 * each[1] + 15 * each[2]) / 115, atol=1e-6)
    assert encoder.embed(long[None], sampling_rate_hz=500, windows="all", tokens=True).shape == (1, 3, 8, 50, 32)


def test_layers(encoder: Encoder, signal_mv: np.ndarray) -> None:
    first = encoder.embed(signal_mv, sampling_rate_hz=500, layer=1)
    assert first.shape == (5, 32)
    assert np.abs(first - encoder.embed(signal_mv, sampling_rate_hz=500)).max() > 0.1
    with pytest.raises(ValueError, match="layer: expected 1 to 2, found 3"):
        encoder.embed(signal_mv, sampling_rate_hz=500, layer=3)


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_embedded_is_named(encoder: Encoder, signal_mv: np.ndarray) -> None:
    def refused(signal: np.ndarray, **options: object) -> str:
        with pytest.raises(RefusedRecordError) as caught:
            encoder.embed(signal, **{"sampling_rate_hz": 500, **options})  # type: ignore[arg-type]
        return str(caught.value)

    assert "unknown_unit" in refused(signal_mv, unit="mmHg")
    assert "uncalibrated" in refused(signal_mv, unit="adc")
    assert "missing_lead" in refused(signal_mv[:, :1], leads=["PLETH"])
    assert "[short]" in refused(signal_mv[:, :, :100])
    assert "sampling rate 20" in refused(signal_mv, sampling_rate_hz=20)
    broken = signal_mv.copy()
    broken[3] = np.nan
    assert refused(broken).startswith("signal[3]:")
    with pytest.raises(ValueError, match="3 leads without names"):
        encoder.embed(signal_mv[:, :3], sampling_rate_hz=500)
    with pytest.raises(ValueError, match="one name for each"):
        encoder.embed(signal_mv[:, :3], sampling_rate_hz=500, leads=["I", "II"])
    with pytest.raises(ValueError, match=r"shape \(5000,\)"):
        encoder.embed(signal_mv[0, 0], sampling_rate_hz=500, leads=["I"])
    with pytest.raises(ValueError, match="a mean of windows has no tokens"):
        encoder.embed(signal_mv, sampling_rate_hz=500, windows="mean", tokens=True)


def test_embedding_does_not_touch_gradients_or_mode(encoder: Encoder, signal_mv: np.ndarray) -> None:
    encoder.embed(signal_mv, sampling_rate_hz=500)
    loss = encoder(torch.from_numpy(take_windows(twelve_leads())[0].signal_mv)[None]).sum()
    loss.backward()
    assert encoder.patch_embed.weight.grad is not None
    encoder.zero_grad()


@pytest.mark.usefixtures("unchecked")
def test_a_unit_that_cannot_be_is_warned_of(encoder: Encoder, signal_mv: np.ndarray) -> None:
    with pytest.warns(UserWarning, match=r"signal\[0\] is larger than any ECG, is its unit mV\?"):
        encoder.embed(signal_mv[:1] * 1000, sampling_rate_hz=500)
    with pytest.raises(ValueError, match="windows: expected one of"):
        encoder.embed(signal_mv, sampling_rate_hz=500, windows="mena")  # type: ignore[arg-type]


@pytest.mark.usefixtures("unchecked")
def test_arrays_of_any_kind(encoder: Encoder, signal_mv: np.ndarray) -> None:
    expected = encoder.embed(signal_mv, sampling_rate_hz=500)
    for given in (signal_mv.astype(np.float64), np.asfortranarray(signal_mv), torch.from_numpy(signal_mv).double()):
        found = encoder.embed(given, sampling_rate_hz=np.float32(500))  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    rough = encoder.embed(torch.from_numpy(signal_mv).bfloat16().requires_grad_(), sampling_rate_hz=500)
    np.testing.assert_allclose(rough, expected, atol=0.05)
    masked = np.ma.MaskedArray(signal_mv, mask=False)
    masked[0, 6, :2000], gap = np.ma.masked, signal_mv.copy()
    gap[0, 6, :2000] = np.nan
    np.testing.assert_array_equal(encoder.embed(masked, sampling_rate_hz=500), encoder.embed(gap, sampling_rate_hz=500))


@pytest.mark.filterwarnings("ignore:embed")
def test_numbers_that_are_not_finite_are_never_given(encoder: Encoder, signal_mv: np.ndarray) -> None:
    signal_mv = signal_mv.copy()
    signal_mv[2] *= 1e30
    for tokens in (False, True):
        with pytest.raises(RefusedRecordError, match=r"signal\[2\]: the encoder gives numbers that are not finite"):
            encoder.embed(signal_mv, sampling_rate_hz=500, tokens=tokens)


def test_contracts_of_less_than_a_second() -> None:
    contract = SignalContract(leads=("II",), sampling_rate_hz=100, seconds=0.5)
    brief = Encoder(ModelConfig(width=16, depth=1, heads=2, patch_samples=10), contract)
    assert brief.embed(twelve_leads(0.5).signal_mv, sampling_rate_hz=500).shape == (16,)
    with pytest.raises(RefusedRecordError, match=r"0\.4\d* s, expected at least 0\.5 s"):
        brief.embed(twelve_leads(0.4).signal_mv, sampling_rate_hz=500)
