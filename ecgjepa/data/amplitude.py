"""How large the ECGs of each source are, and a warning where sources that are mixed differ in scale.

Data sets whose numbers are not in the unit they claim look like ECGs all the same; mixed with others they teach an
encoder to tell data sets by their amplitude. Ten exams of CODE-15%, read as mV, are 2.5 times as large as PTB-XL.

Axes: B records, L leads, S samples.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from scipy.signal import butter, sosfiltfilt

from ecgjepa.data.store import Store

# Above this factor between two sources a user is told.
AMPLITUDE_FACTOR = 1.5
SAMPLED_RECORDS = 500
BAND_HZ = (0.67, 40.0)
# Measured on 2,620 records of PTB-XL; tells which of two sources is the more likely to be in mV.
TYPICAL_MV = 1.4
# The edge at 0.67 Hz takes that long to forget that a signal began; what is left of it at both ends is not looked at.
_PADDING_S, _EDGE_S = 2.0, 1.0
_AT_ONCE = 50


def peak_to_peak_mv(signal_mv_BLS: Float32[ndarray, "b l s"], sampling_rate_hz: float) -> Float64[ndarray, "b"]:
    """The median over the leads of the peak-to-peak amplitude between 0.67 and 40 Hz, for each record.

    Filtered forwards and backwards with a Butterworth filter of second order. Where the sampling rate does not reach an
    edge of the band, that edge is left out.
    """
    edges = [edge for edge in BAND_HZ if edge < sampling_rate_hz / 2]
    signal = signal_mv_BLS.astype(np.float64)
    if edges:
        kind = "bandpass" if len(edges) == 2 else "highpass"
        sections = butter(2, edges if len(edges) == 2 else edges[0], kind, fs=sampling_rate_hz, output="sos")
        padding = min(round(_PADDING_S * sampling_rate_hz), signal.shape[-1] - 1)
        signal = sosfiltfilt(sections, signal, axis=-1, padtype="even", padlen=padding)
        edge = min(round(_EDGE_S * sampling_rate_hz), signal.shape[-1] // 8)
        signal = signal[..., edge : signal.shape[-1] - edge]
    return np.median(np.ptp(signal, axis=-1), axis=1)


def measure_amplitudes(
    stores: Sequence[Store], rows: Sequence[ndarray], gains: Mapping[str, float]
) -> dict[str, float]:
    """The median peak-to-peak amplitude of each source, in mV after its gain; of up to 500 records a store.

    Args:
        stores: a source is a data set, of one or several of them.
        rows: for each store, the rows that are trained on; the sample is a function of their number.
        gains: factors by source, 1 where none is named.
    """
    found: dict[str, list[ndarray]] = {}
    for store, chosen in zip(stores, rows, strict=True):
        sample = np.sort(np.random.default_rng(0).permutation(len(chosen))[:SAMPLED_RECORDS])
        for first in range(0, len(sample), _AT_ONCE):
            signal_mv_BLS = store.signals_mv(chosen[sample[first : first + _AT_ONCE]])
            sizes_mv = peak_to_peak_mv(signal_mv_BLS, store.contract.sampling_rate_hz)
            found.setdefault(store.info["dataset"], []).append(sizes_mv)
    return {
        source: float(np.median(np.concatenate(sizes_mv))) * gains.get(source, 1.0)
        for source, sizes_mv in found.items()
    }


def amplitude_warnings(amplitudes_mv: Mapping[str, float], gains: Mapping[str, float]) -> list[str]:
    """One line for every source whose amplitude is not that of the others, with the gain that would make it so.

    The others are judged by the source nearest to `TYPICAL_MV`.

    Args:
        amplitudes_mv: of each source, after its gain.
        gains: that they were measured with.
    """
    flat = [source for source, found_mv in amplitudes_mv.items() if not found_mv > 0]
    lines = [f"{source}: half of the records or more are flat lines, or not numbers" for source in flat]
    known = {source: found_mv for source, found_mv in amplitudes_mv.items() if found_mv > 0}
    if len(known) < 2:
        return lines
    reference = min(known, key=lambda source: abs(math.log(known[source] / TYPICAL_MV)))
    for source, found_mv in known.items():
        factor = found_mv / known[reference]
        if max(factor, 1 / factor) > AMPLITUDE_FACTOR:
            gain = gains.get(source, 1.0) / factor
            lines.append(
                f"{source} and {reference} differ in scale by a factor of {max(factor, 1 / factor):.2g}: the median "
                f"peak-to-peak amplitude is {found_mv:.3g} mV in {source}, {known[reference]:.3g} mV in {reference}. "
                f"Unless their patients differ so, one is not in mV: --gain {source}={gain:.2g} brings {source} "
                f"to the scale of {reference}"
            )
    return lines
