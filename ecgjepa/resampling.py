"""Resampling of whole windows, also of windows with gaps.

Axes: L leads, S samples.
"""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Resampling = Literal["polyphase", "fft"]


def resample(
    signal_mv: Float[ndarray, "leads source"],
    sampling_rate_hz: float,
    target_rate_hz: int,
    samples: int,
    method: Resampling = "polyphase",
) -> Float[ndarray, "leads {samples}"]:
    """Resample a whole window, (L, any) -> (L, samples).

    `polyphase`: anti-aliasing FIR filter at the exact ratio of the rates; the line through first and last sample is
    taken out before and put back after, so that an offset makes no ringing at the ends. `fft`:
    `scipy.signal.resample`, as the published code does; it takes the window to be periodic.

    A gap (NaN) is bridged by a straight line, and is a gap again afterwards, wider by the next sample on either side.

    Args:
        samples: what the window has at the target rate; at most one more or less than the rates say.
    """
    from scipy.signal import resample as resample_fft
    from scipy.signal import resample_poly

    missing_LS = np.isnan(signal_mv)
    if missing_LS.any():
        bridged = np.stack([_bridge(lead_mv) for lead_mv in signal_mv])
        resampled = resample(bridged, sampling_rate_hz, target_rate_hz, samples, method)
        resampled[_resample_gaps(missing_LS, sampling_rate_hz / target_rate_hz, samples)] = np.nan
        return resampled
    if signal_mv.shape[1] == samples and sampling_rate_hz == target_rate_hz:
        return signal_mv.copy()
    if method == "fft":
        return resample_fft(signal_mv, samples, axis=1)
    ratio = Fraction(target_rate_hz) / Fraction(sampling_rate_hz).limit_denominator(100)
    resampled = resample_poly(signal_mv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    short = samples - resampled.shape[1]
    # The number of source samples is rounded, so the result may be one sample off.
    return np.pad(resampled, ((0, 0), (0, short)), mode="edge") if short > 0 else resampled[:, :samples]


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
