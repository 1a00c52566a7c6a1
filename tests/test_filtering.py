"""The filter of the published protocol: what it passes, gaps, short signals, and its place in the contract."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from ecgjepa.filtering import apply_filter
from ecgjepa.leads import LEADS_12
from ecgjepa.signal import PUBLISHED_CONTRACT, Recording, SignalContract
from ecgjepa.windows import standardize, take_windows

RATE = 250
FILTERED = SignalContract(filter="butterworth")


def sine(hz: float, seconds: float = 20) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(int(RATE * seconds)) / RATE)


@pytest.mark.parametrize(
    ("hz", "gain"), [(0.1, 0), (0.67, 0.5), (2, 1), (10, 1), (25, 1), (40, 0.5), (60, 0), (100, 0)]
)
def test_frequencies_pass_as_the_order_says_and_nothing_is_delayed(hz: float, gain: float) -> None:
    signal = sine(hz)
    filtered = apply_filter(signal[None], RATE, "butterworth")[0]
    middle = slice(5 * RATE, 15 * RATE)
    # Forwards and backwards, half of the amplitude is left at the corners. In phase: the fit on the sine is the gain.
    assert filtered[middle] @ signal[middle] / (signal[middle] @ signal[middle]) == pytest.approx(gain, abs=0.02)


def test_it_is_the_same_as_scipys_other_form() -> None:
    signal = np.random.default_rng(0).standard_normal((2, 3, 1000))
    expected = signal
    for corner, kind in ((0.67, "highpass"), (40, "lowpass")):
        expected = filtfilt(*butter(5, corner, kind, fs=RATE), expected, axis=-1, padlen=18)
    found = apply_filter(signal.astype(np.float32), RATE, "butterworth")
    assert (found.dtype, found.shape) == (np.float32, signal.shape)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    one = apply_filter(signal[1, 2].astype(np.float32), RATE, "butterworth")
    np.testing.assert_array_equal(one, found[1, 2])


def test_gaps_of_a_lead_are_bridged_and_stay_gaps() -> None:
    signal = np.stack([sine(3, 4), sine(5, 4), sine(7, 4)])
    broken = signal.copy()
    broken[0, 300:320] = np.nan
    broken[0, :10] = np.nan
    broken[2] = np.nan
    filtered = apply_filter(broken, RATE, "butterworth")
    np.testing.assert_array_equal(np.isnan(filtered), np.isnan(broken))
    bridged = signal.copy()
    bridged[0, 299:321] = np.linspace(signal[0, 299], signal[0, 320], 22)
    bridged[0, :10] = signal[0, 10]
    expected = apply_filter(bridged, RATE, "butterworth")
    there = ~np.isnan(broken)
    np.testing.assert_allclose(filtered[there], expected[there], atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 17, 18, 19])
def test_short_signals_are_filtered_too(samples: int) -> None:
    filtered = apply_filter(np.ones((1, samples)), RATE, "butterworth")
    assert filtered.shape == (1, samples)
    assert np.isfinite(filtered).all()


@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="filter: expected one of"):
        SignalContract.from_dict({"filter": "notch"})
    with pytest.raises(ValueError, match="expected one of"):
        apply_filter(np.ones((1, 50)), RATE, "bandpass")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="more than 80 Hz, found 50"):
        SignalContract(sampling_rate_hz=50, filter="butterworth")
    signal = np.ones((1, 50))
    np.testing.assert_array_equal(apply_filter(signal, RATE, "none"), signal)


def test_a_contract_without_a_filter_is_written_as_before() -> None:
    assert "filter" not in PUBLISHED_CONTRACT.to_dict()
    assert SignalContract.from_dict(PUBLISHED_CONTRACT.to_dict()) == PUBLISHED_CONTRACT
    assert FILTERED.to_dict()["filter"] == "butterworth"
    assert SignalContract.from_dict(FILTERED.to_dict()) == FILTERED


def test_windows_are_filtered_last_and_say_so() -> None:
    signal = np.random.default_rng(1).standard_normal((12, 6000)).astype(np.float32)
    recording = Recording("r", signal, LEADS_12, 500)
    plain, filtered = standardize(recording), standardize(recording, FILTERED)
    np.testing.assert_array_equal(filtered.signal_mv, apply_filter(plain.signal_mv, RATE, "butterworth"))
    assert set(filtered.changes) - set(plain.changes) == {"filtered"}
    window = take_windows(recording, FILTERED)[0]
    np.testing.assert_array_equal(window.signal_mv, filtered.signal_mv)
    gap = signal.copy()
    gap[1, 1000:1100] = np.nan
    window = take_windows(replace(recording, signal_mv=gap), FILTERED)[0]
    assert np.isnan(window.signal_mv[1]).sum() in range(50, 54)
    assert np.isfinite(window.signal_mv[0]).all()
