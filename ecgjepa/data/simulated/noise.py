"""What an ECG shows that is not the heart: drift, muscle and mains, as potentials of the electrodes.

Axes: E the nine electrodes RA, LA, LL, C1..C6, F frequencies, S samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.fft import irfft, next_fast_len, rfftfreq

ELECTRODES = 9


@dataclass(frozen=True)
class NoiseLevels:
    """Strength of each kind of noise at a typical electrode, about the rms in mV."""

    drift_mv: float
    muscle_mv: float
    mains_mv: float


def electrode_noise(
    rng: np.random.Generator,
    levels: NoiseLevels,
    breathing_hz: float,
    mains_hz: float,
    time_s_S: Float[ndarray, "s"],
) -> Float[ndarray, "9 s"]:
    """Potentials in mV at every electrode, of different strength at each.

    Drift is breathing plus a random walk; muscle noise is a hump from 20 to 120 Hz that swells once in the record;
    mains is a sine with its third harmonic.
    """
    samples, rate_hz = time_s_S.size, 1 / float(time_s_S[1] - time_s_S[0])
    # Drift is made longer than the record and cut: its end must not meet its beginning.
    walk_ES = _noise(rng, _random_walk, samples + samples // 2, rate_hz)[:, :samples]
    drift_ES = walk_ES + _tone(rng, breathing_hz, time_s_S, spread_rad=0.5)
    centre_s, width_s = rng.uniform(0, 1.3) * time_s_S[-1], rng.uniform(0.5, 3)
    swell_S = np.exp(-0.5 * ((time_s_S - centre_s) / width_s) ** 2)
    muscle_ES = _noise(rng, _muscle, samples, rate_hz) * (0.8 + rng.uniform(0, 1.5) * swell_S)

    strength_E = rng.lognormal(0, 0.4, (3, ELECTRODES, 1))
    noise_ES = levels.drift_mv * strength_E[0] * drift_ES + levels.muscle_mv * strength_E[1] * muscle_ES
    if levels.mains_mv:
        mains_ES = _tone(rng, mains_hz, time_s_S) + 0.2 * _tone(rng, 3 * mains_hz, time_s_S)
        noise_ES += levels.mains_mv * strength_E[2] * mains_ES
    return noise_ES


def _random_walk(frequency_hz_F: ndarray) -> ndarray:
    return (frequency_hz_F > 0) / np.maximum(frequency_hz_F, 0.08) ** 1.2


def _muscle(frequency_hz_F: ndarray) -> ndarray:
    return frequency_hz_F / (1 + (frequency_hz_F / 20) ** 2) / np.sqrt(1 + (frequency_hz_F / 120) ** 6)


def _noise(
    rng: np.random.Generator, spectrum: Callable[[ndarray], ndarray], samples: int, rate_hz: float
) -> Float[ndarray, "9 s"]:
    """Gaussian noise of unit rms with the given amplitude spectrum, independent rows; single precision, for speed."""
    length = next_fast_len(samples, real=True)
    amplitude_F = spectrum(rfftfreq(length, 1 / rate_hz))
    used = int(np.flatnonzero(amplitude_F > 1e-3 * amplitude_F.max())[-1]) + 1
    scale = length / (2 * np.sqrt(np.sum(amplitude_F**2)))
    gauss_EF = rng.standard_normal((ELECTRODES, used, 2), dtype=np.float32).view(np.complex64)[..., 0]
    return irfft(gauss_EF * (scale * amplitude_F[:used]).astype(np.float32), length, axis=1)[:, :samples]


def _tone(
    rng: np.random.Generator, frequency_hz: float, time_s_S: ndarray, spread_rad: float = np.pi
) -> Float[ndarray, "9 s"]:
    """A sine of amplitude 1 at every electrode; its phases lie within `spread_rad` of a common one."""
    phase_E = (rng.uniform(0, 2 * np.pi) + rng.uniform(-spread_rad, spread_rad, ELECTRODES))[:, None]
    angle_S = 2 * np.pi * frequency_hz * time_s_S
    return np.cos(phase_E) * np.sin(angle_S) + np.sin(phase_E) * np.cos(angle_S)
