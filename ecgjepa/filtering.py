"""The filter of the published fine-tuning protocol: what an encoder may ask for in its contract.

Axes: L leads, S samples; any axes before the samples.
"""

import functools
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy import ndarray

Filter = Literal["none", "butterworth"]

ORDER, HIGH_PASS_HZ, LOW_PASS_HZ = 5, 0.67, 40.0
# Signals that are filtered at once: float64 copies of 64 records of 8 leads and 10 s are 10 MB each.
BLOCK = 512


def apply_filter(
    signal_mv: Float[ndarray, "*batch samples"], sampling_rate_hz: float, filter: Filter
) -> Float32[ndarray, "*batch samples"]:
    """Filter signals along their last axis; float32, as long as before.

    `butterworth`: 5th order, high-pass 0.67 Hz, then low-pass 40 Hz, each forwards and backwards (zero phase), with
    SciPy's odd extension at the ends, shorter where the signal is. Computed in float64. Gaps (NaN) are bridged by a
    straight line, by the nearest sample at the ends, and are gaps again afterwards.

    Source: the protocol of fine-tuning in the released code of arXiv:2410.08559.

    Raises:
        ValueError: an unknown filter, or a sampling rate of 80 Hz or less.
    """
    check_filter(filter, sampling_rate_hz)
    if filter == "none" or not signal_mv.size:
        return signal_mv.astype(np.float32)
    rows_RS = signal_mv.reshape(-1, signal_mv.shape[-1])
    filtered_RS = np.empty(rows_RS.shape, np.float32)
    for start in range(0, len(rows_RS), BLOCK):
        filtered_RS[start : start + BLOCK] = _butterworth(rows_RS[start : start + BLOCK], float(sampling_rate_hz))
    return filtered_RS.reshape(signal_mv.shape)


def check_filter(filter: str, sampling_rate_hz: float) -> None:
    """Raises ValueError for a filter that does not exist, or not at this rate."""
    if filter not in get_args(Filter):
        raise ValueError(f"filter: expected one of {get_args(Filter)}, found {filter!r}")
    if filter == "butterworth" and sampling_rate_hz <= 2 * LOW_PASS_HZ:
        raise ValueError(f"filter: a low-pass of {LOW_PASS_HZ:g} Hz needs more than 80 Hz, found {sampling_rate_hz} Hz")


def _butterworth(rows_RS: ndarray, sampling_rate_hz: float) -> Float64[ndarray, "r s"]:
    from scipy.signal import sosfiltfilt  # slow to import

    values_RS = rows_RS.astype(np.float64)
    missing_RS = np.isnan(values_RS)
    place_S = np.arange(values_RS.shape[1])
    for row in np.flatnonzero(missing_RS.any(axis=1) & ~missing_RS.all(axis=1)):
        there_S = ~missing_RS[row]
        values_RS[row] = np.interp(place_S, place_S[there_S], values_RS[row, there_S])
    values_RS[missing_RS.all(axis=1)] = 0.0
    for sections in _sections(sampling_rate_hz):
        # The default of SciPy: each section has two poles and zeros, the odd one a single one.
        padding = 3 * (2 * len(sections) + 1 - min((sections[:, 2] == 0).sum(), (sections[:, 5] == 0).sum()))
        values_RS = sosfiltfilt(sections, values_RS, axis=1, padlen=min(int(padding), values_RS.shape[1] - 1))
    values_RS[missing_RS] = np.nan
    return values_RS


@functools.lru_cache(maxsize=16)
def _sections(sampling_rate_hz: float) -> tuple[ndarray, ndarray]:
    from scipy.signal import butter

    high = butter(ORDER, HIGH_PASS_HZ, "highpass", fs=sampling_rate_hz, output="sos")
    return high, butter(ORDER, LOW_PASS_HZ, "lowpass", fs=sampling_rate_hz, output="sos")
