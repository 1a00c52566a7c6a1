"""The heart as one dipole, and the twelve leads that see it.

A beat is a sum of asymmetric Gaussians, each a force that grows and fades along a fixed direction of Frank's axes: X to the
left, Y to the feet, Z to the back. The leads are linear in the dipole and in the potentials of the electrodes, so that the
limb leads of everything made here, noise included, obey Einthoven and Goldberger.

Axes: W waves of a beat, B beats, A the three axes, E electrodes, L leads, S samples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.fft import irfft, next_fast_len, rfftfreq

from ecgjepa.signal import LEADS_8, LEADS_12, LIMB_LEADS

# Dower, Machado, Osborne, "On deriving the electrocardiogram from vectorcardiographic leads", Clin Cardiol 3:87-95 (1980).
# Rows as LEADS_8, columns X, Y, Z.
DOWER_LA = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

# Columns of a table of waves: when (relative to R), how fast it grows, how fast it fades, and the dipole at its peak.
WAVE_COLUMNS = ("time_ms", "rise_ms", "fall_ms", "x_mv", "y_mv", "z_mv")
# Rows of a table of waves. Only the last follows the heart rate.
WAVES = ("right atrium", "left atrium", "septum", "apex", "free wall", "base", "terminal", "ST", "T")

# What part of a beat around R is computed; outside of it every wave is below 0.1 % of its peak.
BEFORE_R_S, AFTER_R_S = 0.4, 0.8

# Every standard lead from the eight independent ones.
_TWELVE_FROM_EIGHT = np.array(
    [
        [*LIMB_LEADS[lead], 0, 0, 0, 0, 0, 0] if lead in LIMB_LEADS else [lead == other for other in LEADS_8]
        for lead in LEADS_12
    ],
    dtype=float,
)
# The eight independent leads from the potentials of RA, LA, LL, C1..C6: Einthoven, and Wilson's central terminal.
ELECTRODES = 9
_EIGHT_FROM_ELECTRODES = np.zeros((8, ELECTRODES))
_EIGHT_FROM_ELECTRODES[0, :3] = -1, 1, 0
_EIGHT_FROM_ELECTRODES[1, :3] = -1, 0, 1
_EIGHT_FROM_ELECTRODES[2:, :3] = -1 / 3
_EIGHT_FROM_ELECTRODES[2:, 3:] = np.eye(6)


def leads_of(
    lead_matrix_LA: Float[ndarray, "8 3"], dipole_AS: Float[ndarray, "3 s"], electrode_ES: Float[ndarray, "9 s"]
) -> Float[ndarray, "12 s"]:
    """The twelve leads, in the order of `LEADS_12`, of a dipole (mV) and of potentials at the electrodes (mV)."""
    return (_TWELVE_FROM_EIGHT @ lead_matrix_LA) @ dipole_AS + (
        _TWELVE_FROM_EIGHT @ _EIGHT_FROM_ELECTRODES
    ) @ electrode_ES


def beats(
    waves_W: Float[ndarray, "w 6"],
    r_times_s_B: Float[ndarray, "b"],
    t_stretch_B: Float[ndarray, "b"],
    gain_BA: Float[ndarray, "b 3"],
    time_s_S: Float[ndarray, "s"],
) -> Float[ndarray, "3 s"]:
    """The dipole in mV of a train of beats.

    Args:
        waves_W: one beat; rows as `WAVES`, columns as `WAVE_COLUMNS`.
        r_times_s_B: time of every R in s, also of beats that begin before or end after the record.
        t_stretch_B: time scale of the T wave of every beat.
        gain_BA: factor per beat and axis (breathing turns and stretches the heart).
        time_s_S: times of the samples in s, evenly spaced.
    """
    dipole_AS = np.zeros((3, time_s_S.size))
    first_S = np.searchsorted(time_s_S, r_times_s_B - BEFORE_R_S)
    last_S = np.searchsorted(time_s_S, r_times_s_B + AFTER_R_S)
    for r_time_s, t_stretch, gain_A, first, last in zip(
        r_times_s_B, t_stretch_B, gain_BA, first_S, last_S, strict=True
    ):
        centre_W, rise_W, fall_W = waves_W[:, :3].T[:, :, None] / 1000
        scale_W = np.ones((len(waves_W), 1))
        scale_W[-1] = t_stretch
        offset_WS = time_s_S[first:last] - r_time_s - centre_W * scale_W
        width_WS = np.where(offset_WS < 0, rise_W, fall_W) * scale_W
        dipole_AS[:, first:last] += (gain_A * waves_W[:, 3:]).T @ np.exp(-0.5 * (offset_WS / width_WS) ** 2)
    return dipole_AS


def fibrillation(
    rng: np.random.Generator, amplitude_mv: float, frequency_hz: float, time_s_S: Float[ndarray, "s"]
) -> Float[ndarray, "3 s"]:
    """The dipole in mV of fibrillating atria: waves of wandering frequency and height, largest towards V1.

    After Petrenas, Marozas, Sornmo, "Electrocardiogram modeling during paroxysmal atrial fibrillation", IEEE TBME 59 (2012):
    a saw-tooth-like sum of harmonics, frequency- and amplitude-modulated; here with axes that drift apart.
    """
    wander_hz, wander_phase = rng.uniform(0.1, 0.9, (3, 2)), rng.uniform(0, 2 * np.pi, (3, 2))
    wander_AMS = np.sin(2 * np.pi * wander_hz[..., None] * time_s_S + wander_phase[..., None])
    phase_AS = 2 * np.pi * frequency_hz * time_s_S + rng.normal(0, 0.9) + 1.2 * wander_AMS[:, 0]
    height_AS = 1 + 0.4 * wander_AMS[:, 1]
    wave_AS = np.sin(phase_AS) + 0.35 * np.sin(2 * phase_AS + 0.6) + 0.15 * np.sin(3 * phase_AS + 1.1)
    return amplitude_mv * np.array([[-0.25], [0.55], [-1.0]]) * height_AS * wave_AS


@dataclass(frozen=True)
class NoiseLevels:
    """Strength of each kind of noise at one electrode, rms in mV: slow drift, muscle, mains."""

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
    """Potentials in mV that are not the heart's, at every electrode alone, so that they cancel in no lead by accident.

    Drift is breathing plus a random walk below 1 Hz with a little electrode noise above; muscle noise is a broad hump from
    20 to 120 Hz that swells once in the record; mains is a sine with its third harmonic.
    """
    samples, rate = time_s_S.size, 1 / float(time_s_S[1] - time_s_S[0])
    length = next_fast_len(samples + samples // 2)  # longer than the record: the noise must not be periodic in it
    frequency_hz = rfftfreq(length, 1 / rate)
    phase_E = rng.uniform(0, 2 * np.pi, (2, ELECTRODES, 1))
    strength_E = rng.lognormal(0, 0.4, (3, ELECTRODES, 1))

    walk = 1 / np.maximum(frequency_hz, 0.08) ** 1.2 * (frequency_hz > 0)
    hump = (frequency_hz / 20) / (1 + (frequency_hz / 20) ** 2) / np.sqrt(1 + (frequency_hz / 120) ** 6)
    breath_ES = np.sin(2 * np.pi * breathing_hz * time_s_S + 0.4 * phase_E[0])
    swell_ES = np.exp(
        -0.5 * ((time_s_S - rng.uniform(0, 1.3, (ELECTRODES, 1)) * time_s_S[-1]) / rng.uniform(0.5, 3)) ** 2
    )
    drift_ES = _noise(rng, walk, length)[:, :samples] + breath_ES
    muscle_ES = _noise(rng, hump, length)[:, :samples] * (0.8 + rng.uniform(0, 1.5) * swell_ES)
    mains_phase_ES = 2 * np.pi * mains_hz * time_s_S + phase_E[1]
    mains_ES = np.sin(mains_phase_ES) + 0.2 * np.sin(3 * mains_phase_ES)
    return (
        levels.drift_mv * strength_E[0] * drift_ES
        + levels.muscle_mv * strength_E[1] * muscle_ES
        + levels.mains_mv * strength_E[2] * mains_ES
    )


def _noise(rng: np.random.Generator, amplitude_F: Float[ndarray, "f"], length: int) -> Float[ndarray, "9 length"]:
    """Gaussian noise of unit rms with a given amplitude spectrum, one independent row per electrode."""
    used = int(np.flatnonzero(amplitude_F > 1e-3 * amplitude_F.max())[-1]) + 1
    scale = length / (2 * np.sqrt(np.sum(amplitude_F**2)))
    coefficients_EF = rng.standard_normal((2, ELECTRODES, used))
    return irfft((coefficients_EF[0] + 1j * coefficients_EF[1]) * (scale * amplitude_F[:used]), length, axis=1)
