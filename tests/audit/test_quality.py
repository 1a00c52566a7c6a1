"""Numbers of quality on signals whose answer is known."""

import numpy as np
import pytest
from numpy import ndarray

from ecgjepa.audit.findings import look_at, measure
from ecgjepa.audit.quality import (
    einthoven_error,
    mains_share,
    not_finite,
    peak_to_peak_mv,
    power_share,
    rails,
    spectrum,
    wander_share,
    without_padding,
)
from ecgjepa.leads import LEADS_12
from ecgjepa.signal import DEFAULT_CONTRACT, Recording
from tests.audit.signals import RATE_HZ, beats


def sine(hz: float, mv: float = 1.0, samples: int = 5000, rate_hz: float = RATE_HZ) -> ndarray:
    return (mv * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz)).astype(np.float32)


@pytest.mark.parametrize("mains_hz", [50.0, 60.0])
@pytest.mark.parametrize(("samples", "rate_hz"), [(5000, 500.0), (4999, 500.0), (4096, 400.0), (2500, 250.0)])
def test_share_of_the_mains_is_what_was_added(mains_hz: float, samples: int, rate_hz: float) -> None:
    ecg, hum = (sine(hz, samples=samples, rate_hz=rate_hz) for hz in (10.0, mains_hz))
    signal_mv = np.stack([ecg, ecg + 0.1 * hum, ecg + hum, hum])
    found = mains_share(spectrum(signal_mv), samples, rate_hz, mains_hz)
    np.testing.assert_allclose(found, [0, 0.01 / 1.01, 0.5, 1], rtol=0.025, atol=1e-4)  # 2 % leak beyond 1 Hz


def test_mains_at_another_frequency_or_beyond_the_rate_are_none() -> None:
    signal_mv = np.stack([sine(60.0) + sine(10.0)])
    assert mains_share(spectrum(signal_mv), 5000, 500.0, 50.0)[0] < 1e-6
    slow_mv = np.stack([sine(10.0, samples=800, rate_hz=80)])
    assert mains_share(spectrum(slow_mv), 800, 80.0, 50.0)[0] == 0


def test_wander_hides_no_mains_and_an_offset_is_no_wander() -> None:
    signal_mv = np.stack([sine(10.0) + sine(50.0) + 30 * sine(0.2), sine(10.0) + 500])
    spectrum_LF = spectrum(signal_mv)
    np.testing.assert_allclose(mains_share(spectrum_LF, 5000, 500.0, 50.0), [0.5, 0], atol=1e-3)
    np.testing.assert_allclose(wander_share(spectrum_LF, 5000, 500.0), [900 / 902, 0], atol=1e-3)


def test_shares_of_nothing_and_of_no_numbers() -> None:
    signal_mv = np.zeros((3, 1000), np.float32)
    signal_mv[1, 7], signal_mv[2] = np.nan, sine(5.0, samples=1000)
    spectrum_LF = spectrum(signal_mv)
    share_L = power_share(spectrum_LF, 1000, 500.0, (4.0, 6.0))
    np.testing.assert_allclose(share_L, [0, np.nan, 1], atol=1e-6)
    assert np.isnan(peak_to_peak_mv(signal_mv, 500.0)).tolist() == [False, True, False]
    assert not_finite(signal_mv).tolist() == [False, True, False]


@pytest.mark.parametrize("samples", [1, 2, 3, 17])
def test_very_short_windows_have_numbers(samples: int) -> None:
    signal_mv = np.ones((2, samples), np.float32)
    spectrum_LF = spectrum(signal_mv)
    np.testing.assert_allclose(peak_to_peak_mv(signal_mv, 500.0), 0, atol=1e-6)
    assert wander_share(spectrum_LF, samples, 500.0).tolist() == [0, 0]
    assert rails(signal_mv, 500.0)[0].tolist() == [0, 0]


def test_amplitude_is_that_between_the_edges_of_the_band() -> None:
    time_s = np.arange(5000, dtype=np.float32) / 500
    drift = 0.5 * time_s
    signal_mv = np.stack([sine(8.0), sine(8.0) + drift, sine(8.0) + 3 * sine(150.0), sine(8.0) + 3 * sine(0.05), drift])
    found = peak_to_peak_mv(signal_mv, 500.0)
    np.testing.assert_allclose(found[:4], 2.0, rtol=0.05)
    assert found[4] < 0.2


def test_a_clipped_sine_is_at_its_rails_as_long_as_it_is_cut() -> None:
    whole = np.round(sine(5.03, 2.0), 3)
    cut = np.clip(whole, -1, 1)  # two thirds of the time beyond
    one_side = np.minimum(whole, 1.9)
    total_L, longest_L = rails(np.stack([whole, cut, one_side]).astype(np.float32), 500.0)
    expected_s = [0, (np.abs(whole) >= 1).mean() * 10, (whole >= 1.9).mean() * 10]
    np.testing.assert_allclose(total_L, expected_s, atol=0.02)
    np.testing.assert_allclose(longest_L, [0, 1 / 5.03 / 3, np.arccos(0.95) / np.pi / 5.03], atol=0.005)


def test_a_rounded_top_of_coarse_steps_is_no_rail() -> None:
    coarse = np.round(sine(0.5, 0.3) / 0.005) * 0.005  # 5 uV, as many converters: the top lasts 0.1 s
    top = coarse == coarse.max()
    assert top.sum() > 50
    assert rails(coarse[None].astype(np.float32), 500.0)[0][0] == 0


def test_a_constant_lead_is_flat_and_at_no_rail_and_a_step_is() -> None:
    step = np.where(np.arange(5000) < 2500, 0.0, 1.0).astype(np.float32)
    step += np.where(np.arange(5000) % 100 == 50, 0.05, 0.0).astype(np.float32) * (step == 0)
    total_L, longest_L = rails(np.stack([np.full(5000, 3, np.float32), step]), 500.0)
    assert total_L[0] == 0
    assert longest_L[1] == pytest.approx(5.0)


def test_einthoven() -> None:
    one, three = sine(3.0), sine(7.0)
    assert einthoven_error(one, one + three, three) < 1e-6
    assert einthoven_error(one, one + three + 5, three) < 1e-5  # an offset is none
    assert einthoven_error(one, -(one + three), three) == pytest.approx(2 * np.sqrt(1 / (2 / 3)), rel=1e-3)
    assert np.isnan(einthoven_error(0 * one, 0 * one, 0 * one))


def test_padding_is_zeros_on_every_lead_at_the_ends() -> None:
    signal_mv = np.zeros((2, 10), np.float32)
    signal_mv[0, 3], signal_mv[1, 6] = 1, 2
    assert without_padding(signal_mv).tolist() == [[1, 0, 0, 0], [0, 0, 0, 2]]
    assert without_padding(np.zeros((2, 10), np.float32)).shape == (2, 10)


def test_a_good_record_has_nothing_to_note() -> None:
    noted, amplitude_mv = measure(beats(), LEADS_12, 500.0)
    assert noted == {}
    assert set(amplitude_mv) == set(LEADS_12)


def look(signal_mv: ndarray, leads: tuple[str, ...] = LEADS_12) -> dict[str, tuple[str, ...]]:
    return look_at(Recording("a", signal_mv.astype(np.float32), leads, 500.0), DEFAULT_CONTRACT)["noted"]


def test_faults_are_noted_with_their_leads() -> None:
    signal_mv = beats()
    signal_mv[3] = 0.25
    signal_mv[6] += sine(50.0, 0.2)
    signal_mv[7] += sine(60.0, 0.2)
    signal_mv[8] += sine(0.25, 1.0)
    signal_mv[9] = np.minimum(np.round(signal_mv[9], 3), 0.4)
    signal_mv[10, 1000:1400] = 9.0
    signal_mv[11, 50] = np.nan
    assert look(signal_mv) == {
        "not_finite": ("V6",),
        "flat": ("aVR",),
        "clipped": ("V4", "V5"),
        "saturated": ("V5",),
        "mains_50_hz": ("V1",),
        "mains_60_hz": ("V2",),
        "wander": ("V3", "V5"),
    }


def test_an_inverted_limb_lead_is_no_einthoven() -> None:
    signal_mv = beats()
    signal_mv[1] *= -1
    assert look(signal_mv) == {"einthoven": ("I", "II", "III")}


@pytest.mark.parametrize(("factor", "what"), [(0.01, "amplitude_low"), (30, "amplitude_high")])
def test_gains_in_doubt(factor: float, what: str) -> None:
    assert look(factor * beats()) == {what: ()}


def test_what_cannot_be_measured_does_not_end_the_look() -> None:
    assert look(np.zeros((12, 0))) == {}
    assert look(np.zeros((12, 5000))) == {"flat": LEADS_12}
    assert look(np.full((12, 5000), np.nan)) == {"not_finite": LEADS_12}
    assert look(np.full((12, 5000), np.inf)) == {"not_finite": LEADS_12}
    assert set(look(1e30 * beats())) <= {"amplitude_high", "einthoven"}
    assert look(beats(), tuple(f"X{k}" for k in range(12))) == {}
    assert look(beats(samples=1)) in ({}, {"flat": LEADS_12})
