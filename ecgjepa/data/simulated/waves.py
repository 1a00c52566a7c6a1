"""Where the waves of a synthetic ECG begin, peak and end: known, since they are Gaussians.

Axes: W waves of a beat, B beats.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ecgjepa.data.formats.annotations import Wave, WaveKind
from ecgjepa.data.simulated.dipole import WAVES
from ecgjepa.data.simulated.population import SyntheticECG

# A wave begins and ends this many standard deviations from its peak, where 14 % of it is left.
SIGMAS = 2.0
# The Gaussians of a wave, by place in `dipole.WAVES`; ST belongs to none.
_PARTS: dict[WaveKind, slice] = {"P": slice(0, 2), "QRS": slice(2, 7), "T": slice(8, 9)}
assert WAVES[7] == "ST", "the rows are those of the dipole"


def true_waves(ecg: SyntheticECG) -> list[Wave]:
    """The waves that lie in the record as a whole, in the order of time, in samples of the record.

    They are those of the dipole, the same in all leads, also in one that hardly sees a wave. Atria that fibrillate have
    no P. Where a wave reaches into the next, it ends before that begins; a T or P whose peak is hidden in the next wave
    is left out.
    """
    found: list[tuple[float, float, float, WaveKind]] = []
    for r_time_s, t_stretch in zip(ecg.beat_times_s, ecg.t_stretch, strict=True):
        for kind, part in _PARTS.items():
            waves_W = ecg.patient.waves_W[part]
            if not waves_W[:, 3:].any():
                continue
            stretch = t_stretch if kind == "T" else 1.0
            found.append((*(r_time_s + stretch * moment_s for moment_s in _bounds(waves_W)), kind))
    samples, rate_hz = ecg.signal_mv.shape[1], ecg.sampling_rate_hz
    waves: list[Wave] = []
    for onset_s, peak_s, offset_s, kind in sorted(found, key=lambda each: each[1]):
        onset, peak, offset = (round(moment_s * rate_hz) for moment_s in (onset_s, peak_s, offset_s))
        if onset < 0 or offset >= samples:
            continue
        if waves and waves[-1].offset >= onset:
            before = waves[-1]
            if kind == "QRS" and before.peak >= onset:  # of the two, QRS is the one that is seen
                waves.pop()
            elif onset > before.peak:
                waves[-1] = Wave(before.kind, before.onset, before.peak, onset - 1)
            elif before.offset < peak:
                onset = before.offset + 1
            else:
                continue
        waves.append(Wave(kind, onset, peak, offset))
    return waves


def _bounds(waves_W: Float[ndarray, "w 6"]) -> tuple[float, float, float]:
    """Onset, peak and offset in s from R of a sum of Gaussians; the peak is that of the largest of them."""
    peak_s_W, rise_s_W, fall_s_W = waves_W[:, :3].T / 1000
    largest = int(np.argmax(np.linalg.norm(waves_W[:, 3:], axis=1)))
    onset_s, offset_s = np.min(peak_s_W - SIGMAS * rise_s_W), np.max(peak_s_W + SIGMAS * fall_s_W)
    return float(onset_s), float(peak_s_W[largest]), float(offset_s)
