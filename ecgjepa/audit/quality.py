"""Numbers that tell a usable ECG from a broken one: pure functions of one window of a record.

A lead with a sample that is no number has no spectrum; its shares and amplitude are NaN.

Axes: L leads, S samples, F frequencies.
"""

import functools

import numpy as np
import scipy.fft
from jaxtyping import Bool, Complex, Float
from numpy import ndarray

from ecgjepa.data.amplitude import BAND_HZ

# Of the band-passed window, where its mirror image may ring.
EDGE_S = 1.0
# Baseline wander lies below the slowest heart's fundamental (30 a minute): AHA recommendations, Kligfield 2007.
WANDER_HZ = 0.5
# Around the frequency of the mains, which wanders by 0.2 Hz at most and is smeared by 0.1 Hz in 10 s.
MAINS_WIDTH_HZ = 1.0
# A plateau at an extreme is a rail if it lasts this long, and is entered or left by a step of this many quanta: the
# rounded top of a T wave lasts as long, but its steps are one or two.
RAIL_SAMPLES, RAIL_S, RAIL_QUANTA = 4, 0.008, 8


def without_padding(signal_mv: Float[ndarray, "leads source"]) -> Float[ndarray, "leads samples"]:
    """The record between zeros on every lead at its ends; all of it if there is nothing else."""
    filled = np.flatnonzero(signal_mv.any(axis=0))
    return signal_mv[:, filled[0] : filled[-1] + 1] if filled.size else signal_mv


def spectrum(signal_mv: Float[ndarray, "leads samples"]) -> Complex[ndarray, "leads frequencies"]:
    """Fourier transform of each lead without its mean, in mV; NaN for a lead with a sample that is no number."""
    finite_L1 = np.isfinite(signal_mv.sum(axis=1, keepdims=True))
    centred_LS = np.where(finite_L1, signal_mv, np.float32(0))
    centred_LS = (centred_LS - centred_LS.mean(axis=1, keepdims=True)).astype(np.float32)
    spectrum_LF = scipy.fft.rfft(centred_LS, axis=1)
    spectrum_LF[~finite_L1[:, 0]] = np.nan
    return spectrum_LF


def power_share(
    spectrum_LF: Complex[ndarray, "leads frequencies"],
    samples: int,
    sampling_rate_hz: float,
    band_hz: tuple[float, float],
    total_from_hz: float = 0.0,
) -> Float[ndarray, "leads"]:
    """Power in a band, as a share of all power from `total_from_hz` upwards; without the mean.

    Args:
        spectrum_LF: see `spectrum`.
        samples: of the window.
        band_hz: edges, both within; a band beyond half the sampling rate has no power.

    Returns:
        (L,) 0 to 1; 0 for a lead without any power, NaN where the spectrum is.
    """
    frequency_F = np.arange(spectrum_LF.shape[1]) * (sampling_rate_hz / samples)
    power_LF = spectrum_LF.real**2 + spectrum_LF.imag**2
    power_LF[:, 0] = 0
    first, last = np.searchsorted(frequency_F, [band_hz[0] - 1e-9, band_hz[1] + 1e-9])
    if samples % 2 == 0:
        power_LF[:, -1] /= 2  # every other frequency stands for its negative as well
    total_L = power_LF[:, np.searchsorted(frequency_F, total_from_hz - 1e-9) :].sum(axis=1)
    within_L = power_LF[:, first:last].sum(axis=1)
    return np.divide(within_L, total_L, out=np.where(np.isnan(total_L), np.nan, 0.0), where=total_L > 0)


def mains_share(
    spectrum_LF: Complex[ndarray, "leads frequencies"], samples: int, sampling_rate_hz: float, mains_hz: float
) -> Float[ndarray, "leads"]:
    """Power within 1 Hz of the mains' frequency as a share of all from 0.5 Hz upwards, so that no wander hides it."""
    band_hz = mains_hz - MAINS_WIDTH_HZ, mains_hz + MAINS_WIDTH_HZ
    return power_share(spectrum_LF, samples, sampling_rate_hz, band_hz, WANDER_HZ)


def wander_share(
    spectrum_LF: Complex[ndarray, "leads frequencies"], samples: int, sampling_rate_hz: float
) -> Float[ndarray, "leads"]:
    """Power below 0.5 Hz, without the mean, as a share of all."""
    return power_share(spectrum_LF, samples, sampling_rate_hz, (0.0, WANDER_HZ - 1e-6))


def peak_to_peak_mv(signal_mv: Float[ndarray, "leads samples"], sampling_rate_hz: float) -> Float[ndarray, "leads"]:
    """Peak-to-peak amplitude between 0.67 and 40 Hz, in mV, (L,); NaN for a lead with a sample that is no number.

    Filtered with the squared gain of a Butterworth band-pass of second order, as forwards and backwards in time. Beyond
    its ends the window is mirrored; the second there, at most an eighth of the window, is not measured.
    """
    samples = signal_mv.shape[1]
    finite_L1 = np.isfinite(signal_mv.sum(axis=1, keepdims=True))
    levels_LS = scipy.fft.dct(np.where(finite_L1, signal_mv, np.float32(0)), axis=1)  # of what is mirrored, no jump
    filtered_LS = scipy.fft.idct(levels_LS * _band_gain(samples, sampling_rate_hz), axis=1)
    edge = min(round(EDGE_S * sampling_rate_hz), samples // 8)
    return np.where(finite_L1[:, 0], np.ptp(filtered_LS[:, edge : samples - edge], axis=1), np.nan)


def rails(signal_mv: Float[ndarray, "leads samples"], sampling_rate_hz: float) -> tuple[ndarray, ndarray]:
    """How long each lead stays at a rail: in seconds, altogether and at once, two times (L,).

    A rail is the largest or smallest value of the lead, held for at least 4 samples and 8 ms, and entered or left by a
    step of at least 8 times the smallest step that the lead makes anywhere.
    """
    leads, samples = signal_mv.shape
    total_L, longest_L = np.zeros(leads), np.zeros(leads)
    least = max(RAIL_SAMPLES, round(RAIL_S * sampling_rate_hz))
    quantum: dict[int, float] = {}
    for extreme_L in (signal_mv.max(axis=1), signal_mv.min(axis=1)):
        is_there_LS = np.zeros((leads, samples + 2), bool)
        is_there_LS[:, 1:-1] = signal_mv == extreme_L[:, None]
        flips = np.flatnonzero(is_there_LS.ravel()[1:] != is_there_LS.ravel()[:-1])
        for start, end in zip(flips[::2].tolist(), flips[1::2].tolist(), strict=True):
            if (length := end - start) < least or length == samples:
                continue
            lead, begin = divmod(start, samples + 2)
            around = [signal_mv[lead, at] for at in (begin - 1, begin + length) if 0 <= at < samples]
            if lead not in quantum:
                steps = np.abs(np.diff(signal_mv[lead]))
                quantum[lead] = float(steps[steps > 0].min(initial=np.inf))
            if max(abs(float(each - extreme_L[lead])) for each in around) >= (RAIL_QUANTA - 0.5) * quantum[lead]:
                total_L[lead] += length
                longest_L[lead] = max(longest_L[lead], length)
    return total_L / sampling_rate_hz, longest_L / sampling_rate_hz


def einthoven_error(
    i_mv: Float[ndarray, "samples"], ii_mv: Float[ndarray, "samples"], iii_mv: Float[ndarray, "samples"]
) -> float:
    """How far II is from I + III: standard deviation of the difference over the root mean variance of the three.

    0 for leads that agree but for an offset; NaN where a sample is no number or all three are constant.
    """
    variance = (i_mv.var(dtype=np.float64) + ii_mv.var(dtype=np.float64) + iii_mv.var(dtype=np.float64)) / 3
    difference = (ii_mv - i_mv - iii_mv).std(dtype=np.float64)
    return float(difference / np.sqrt(variance)) if variance > 0 else float("nan")


def not_finite(signal_mv: Float[ndarray, "leads samples"]) -> Bool[ndarray, "leads"]:
    """True for a lead with a sample that is no finite number."""
    return ~np.isfinite(signal_mv).all(axis=1)


@functools.lru_cache(maxsize=32)
def _band_gain(samples: int, sampling_rate_hz: float) -> Float[ndarray, "samples"]:
    """Squared gain of the Butterworth band-pass of second order at the frequencies of a cosine transform."""
    low, high = BAND_HZ
    frequency_S = np.arange(1, samples) * (sampling_rate_hz / (2 * samples))
    detuning_S = (frequency_S**2 - low * high) / (frequency_S * (high - low))
    return np.concatenate([[0.0], 1 / (1 + detuning_S**4)]).astype(np.float32)
