"""Resampling of whole windows, also of windows with gaps.

Axes: L leads, S samples.
"""

import functools
import math
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

Resampling = Literal["polyphase", "fft"]

# Samples of the filter on either side, in units of the slower rate's period, and its window's shape: those of
# `scipy.signal.resample_poly`.
HALF_LENGTH, KAISER_BETA = 10, 5.0
# Target samples that one matrix product gives; ratios that need more for one turn of their phases are SciPy's.
BLOCK = 32


def resample(
    signal_mv: Float[ndarray, "leads source"],
    sampling_rate_hz: float,
    target_rate_hz: int,
    samples: int,
    method: Resampling = "polyphase",
) -> Float[ndarray, "leads {samples}"]:
    """Resample a whole window, (L, any) -> (L, samples).

    `polyphase`: anti-aliasing FIR filter at the exact ratio of the rates; beyond its ends the
    signal goes on as the line through first and last sample, so that an offset makes no ringing there. `fft`:
    `scipy.signal.resample`, as the published code does; it takes the window to be periodic.

    A gap (NaN) is bridged by a straight line, and is a gap again afterwards, wider by the next sample on either side.

    Args:
        samples: what the window has at the target rate; at most one more or less than the rates say.
    """
    if np.isnan(signal_mv).any():
        missing_LS = np.isnan(signal_mv)
        bridged = np.stack([_bridge(lead_mv) for lead_mv in signal_mv])
        resampled = resample(bridged, sampling_rate_hz, target_rate_hz, samples, method)
        resampled[_resample_gaps(missing_LS, sampling_rate_hz / target_rate_hz, samples)] = np.nan
        return resampled
    if signal_mv.shape[1] == samples and sampling_rate_hz == target_rate_hz:
        return signal_mv.copy()
    if method == "fft":
        from scipy.signal import resample as resample_fft

        return resample_fft(signal_mv, samples, axis=1)
    resampled = polyphase(signal_mv, Fraction(target_rate_hz) / Fraction(sampling_rate_hz).limit_denominator(100))
    short = samples - resampled.shape[1]
    # The number of source samples is rounded, so the result may be one sample off.
    return np.pad(resampled, ((0, 0), (0, short)), mode="edge") if short > 0 else resampled[:, :samples]


def polyphase(signal_mv: Float[ndarray, "leads source"], ratio: Fraction) -> Float[ndarray, "leads target"]:
    """`scipy.signal.resample_poly(..., padtype="line")`, as products with one small matrix, several times faster.

    Every run of `up` target samples weighs the source samples around it alike, `down` source samples further on.
    """
    up, down = ratio.numerator, ratio.denominator
    if up > BLOCK or signal_mv.dtype != np.float32:
        from scipy.signal import resample_poly

        return resample_poly(signal_mv, up, down, axis=1, padtype="line")
    leads, source = signal_mv.shape
    target = -(-source * up // down)
    weights_IO = _weights(up, down)
    reach, turns = _reach(up, down), BLOCK // up
    blocks = -(-target // (turns * up))
    padded_LS = np.empty((leads, reach + max(source, blocks * turns * down) + reach), np.float32)
    padded_LS[:, reach : reach + source] = signal_mv
    slope_L1 = (signal_mv[:, -1:] - signal_mv[:, :1]) / np.float32(max(source - 1, 1))
    padded_LS[:, :reach] = signal_mv[:, :1] + slope_L1 * np.arange(-reach, 0, dtype=np.float32)
    after = padded_LS.shape[1] - reach - source
    padded_LS[:, reach + source :] = signal_mv[:, -1:] + slope_L1 * np.arange(1, after + 1, dtype=np.float32)
    stride = padded_LS.itemsize
    strides = (padded_LS.strides[0], turns * down * stride, stride)  # the windows overlap
    windows_LBI = np.ndarray((leads, blocks, len(weights_IO)), np.float32, padded_LS, strides=strides)
    return (windows_LBI @ weights_IO).reshape(leads, -1)[:, :target]


@functools.lru_cache(maxsize=16)
def _weights(up: int, down: int) -> Float32[ndarray, "source target"]:
    """The filter as a matrix from the source samples around a block to its target samples.

    A windowed sinc that passes half of the slower rate, of gain 1 at 0 Hz, as `scipy.signal.firwin` makes it.
    """
    slower, half = max(up, down), HALF_LENGTH * max(up, down)
    taps = np.sinc(np.arange(-half, half + 1) / slower) * np.kaiser(2 * half + 1, KAISER_BETA)
    taps *= up / taps.sum()
    reach, turns = _reach(up, down), BLOCK // up
    # Target sample t lies at t * down, source sample s at s * up, both counted at up times the source's rate.
    distance_IO = np.arange(turns * up) * down - (np.arange(2 * reach + turns * down)[:, None] - reach) * up
    return np.where(np.abs(distance_IO) <= half, taps[np.clip(distance_IO + half, 0, 2 * half)], 0).astype(np.float32)


def _reach(up: int, down: int) -> int:
    """Source samples before (and after) a target sample that have a weight."""
    return -(-HALF_LENGTH * max(up, down) // up)


def _bridge(lead_mv: ndarray) -> ndarray:
    there = np.flatnonzero(~np.isnan(lead_mv))
    return np.interp(np.arange(len(lead_mv)), there, lead_mv[there]).astype(lead_mv.dtype)


def _resample_gaps(missing_LS: ndarray, step: float, samples: int) -> ndarray:
    """True where a target sample lies in a gap, or nearer to one than a sample of either rate."""
    reach = math.ceil(max(step, 1))
    before_LS = np.pad(np.cumsum(missing_LS, axis=1), ((0, 0), (1, 0)))
    place_S = np.arange(samples) * step
    low_S = np.clip(np.floor(place_S).astype(int) - reach + 1, 0, missing_LS.shape[1])
    high_S = np.clip(np.ceil(place_S).astype(int) + reach, 0, missing_LS.shape[1])
    return before_LS[:, high_S] > before_LS[:, low_S]
