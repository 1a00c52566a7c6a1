"""The heart as one dipole, and the twelve leads that see it.

A beat is a sum of asymmetric Gaussians (after McSharry et al., IEEE TBME 50, 2003; here in three dimensions), each a
force that grows and fades along a fixed direction of Frank's axes: X to the left, Y to the feet, Z to the back. The
leads are linear in the dipole and in the potentials of the electrodes, so that the limb leads of everything made here,
noise included, obey Einthoven and Goldberger.

Axes: W waves of a beat, B beats, A the three axes, E electrodes, L leads, S samples.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ecgjepa.leads import LEADS_8, LEADS_12, LIMB_LEADS

Ventricles = Literal["normal", "left_bundle", "right_bundle", "inferior_injury", "anterior_injury"]

# Dower, Machado, Osborne, "On deriving the electrocardiogram from vectorcardiographic leads", Clin Cardiol 3 (1980).
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

# A table of waves. Rows: what makes the wave. Columns: when it peaks, relative to R; how fast it grows and fades; the
# dipole at its peak. Chosen by hand beside the median beats of PTB-XL, seen through the inverse of the lead matrix.
WAVES = ("right atrium", "left atrium", "septum", "apex", "free wall", "base", "last", "ST", "T")
WAVE_COLUMNS = ("time_ms", "rise_ms", "fall_ms", "x_mv", "y_mv", "z_mv")

# The two atria; their times count from the beginning of P.
ATRIA_W = np.array([[42, 20, 20, 0.050, 0.070, -0.040], [70, 20, 18, 0.085, 0.060, 0.035]])
# The septal force begins this long before its peak, and QRS with it.
SEPTUM_RISES_MS = 18
VENTRICLES_W: dict[Ventricles, ndarray] = {
    "normal": np.array(
        [
            [-20, 7, 8, -0.14, -0.05, -0.30],
            [-1, 9, 8, 1.26, 0.66, 0.15],
            [10, 9, 8, 0.12, 0.08, 0.50],
            [20, 8, 11, -0.20, -0.05, 0.42],
            [34, 8, 10, -0.03, -0.02, 0.03],
            [105, 40, 70, 0.01, 0.00, -0.06],
            [255, 55, 36, 0.36, 0.14, -0.19],
        ]
    ),
    "left_bundle": np.array(
        [
            [-24, 9, 11, 0.16, 0.06, -0.22],
            [4, 12, 17, 0.55, 0.36, 1.30],
            [30, 15, 16, 0.18, 0.16, 1.45],
            [56, 15, 15, 0.40, -0.02, 0.95],
            [78, 14, 15, 0.14, -0.10, 0.25],
            [125, 35, 70, -0.07, -0.03, -0.17],
            [272, 80, 42, -0.25, -0.07, -0.62],
        ]
    ),
    "right_bundle": np.array(
        [
            [-32, 7, 9, -0.12, -0.05, -0.30],
            [-13, 9, 8, 1.05, 0.52, 0.10],
            [-1, 9, 8, 0.10, 0.06, 0.22],
            [20, 12, 13, -0.20, -0.06, -0.28],
            [46, 16, 19, -0.38, -0.06, -0.56],
            [115, 35, 70, 0.02, 0.00, 0.05],
            [266, 55, 38, 0.30, 0.12, 0.16],
        ]
    ),
    "inferior_injury": np.array(
        [
            [-21, 8, 9, -0.08, -0.30, -0.24],
            [-1, 9, 8, 1.15, 0.55, 0.20],
            [10, 9, 8, 0.10, 0.14, 0.44],
            [20, 8, 11, -0.18, 0.02, 0.34],
            [34, 8, 10, -0.03, 0.00, 0.03],
            [88, 20, 95, -0.04, 0.20, 0.05],
            [255, 60, 38, 0.18, 0.30, -0.10],
        ]
    ),
    "anterior_injury": np.array(
        [
            [-20, 7, 8, -0.10, -0.04, 0.02],
            [-1, 9, 8, 0.90, 0.60, 0.40],
            [10, 9, 8, 0.10, 0.08, 0.46],
            [20, 8, 11, -0.16, -0.04, 0.34],
            [34, 8, 10, -0.03, -0.02, 0.00],
            [88, 20, 95, 0.10, -0.03, -0.20],
            [255, 60, 38, 0.32, 0.10, -0.38],
        ]
    ),
}

# The part of a beat around R that is computed; outside of it no wave reaches 1 % of its peak.
BEFORE_R_S, AFTER_R_S = 0.35, 0.75

# Every standard lead from the eight independent ones.
_TWELVE_FROM_EIGHT = np.array(
    [
        [*LIMB_LEADS[lead], 0, 0, 0, 0, 0, 0] if lead in LIMB_LEADS else [lead == other for other in LEADS_8]
        for lead in LEADS_12
    ],
    dtype=float,
)
# The eight from the potentials of RA, LA, LL, C1..C6: Einthoven, and Wilson's central terminal for the chest.
_EIGHT_FROM_ELECTRODES = np.zeros((8, 9))
_EIGHT_FROM_ELECTRODES[0, :3] = -1, 1, 0
_EIGHT_FROM_ELECTRODES[1, :3] = -1, 0, 1
_EIGHT_FROM_ELECTRODES[2:, :3] = -1 / 3
_EIGHT_FROM_ELECTRODES[2:, 3:] = np.eye(6)


def leads_of(
    lead_matrix_LA: Float[ndarray, "8 3"], dipole_AS: Float[ndarray, "3 s"], electrode_ES: Float[ndarray, "9 s"]
) -> Float[ndarray, "12 s"]:
    """The twelve leads, in the order of `LEADS_12`, of a dipole and of potentials at the electrodes; all in mV."""
    heart_LS = (_TWELVE_FROM_EIGHT @ lead_matrix_LA) @ dipole_AS
    return heart_LS + (_TWELVE_FROM_EIGHT @ _EIGHT_FROM_ELECTRODES) @ electrode_ES


def beats(
    waves_W: Float[ndarray, "9 6"],
    r_times_s_B: Float[ndarray, "b"],
    t_stretch_B: Float[ndarray, "b"],
    gain_BA: Float[ndarray, "b 3"],
    time_s_S: Float[ndarray, "s"],
) -> Float[ndarray, "3 s"]:
    """The dipole in mV of a train of beats.

    Args:
        waves_W: one beat; rows as `WAVES`, columns as `WAVE_COLUMNS`.
        r_times_s_B: time of every R in s, also of beats that begin before or end after the record.
        t_stretch_B: time scale of the T wave of every beat; it follows the heart rate.
        gain_BA: factor per beat and axis; breathing turns and stretches the heart.
        time_s_S: times of the samples in s, rising.
    """
    dipole_AS = np.zeros((3, time_s_S.size))
    peak_s_W, rise_s_W, fall_s_W = waves_W[:, :3].T[:, :, None] / 1000
    stretch_W = np.ones((len(waves_W), 1))
    first_B = np.searchsorted(time_s_S, r_times_s_B - BEFORE_R_S)
    last_B = np.searchsorted(time_s_S, r_times_s_B + AFTER_R_S)
    for beat, (first, last) in enumerate(zip(first_B, last_B, strict=True)):
        stretch_W[-1] = t_stretch_B[beat]
        from_peak_WS = (time_s_S[first:last] - r_times_s_B[beat]) / stretch_W - peak_s_W
        width_WS = np.where(from_peak_WS < 0, rise_s_W, fall_s_W)
        height_WS = np.exp(-0.5 * (from_peak_WS / width_WS) ** 2)
        dipole_AS[:, first:last] += (gain_BA[beat] * waves_W[:, 3:]).T @ height_WS
    return dipole_AS


def fibrillation(
    rng: np.random.Generator, amplitude_mv: float, frequency_hz: float, time_s_S: Float[ndarray, "s"]
) -> Float[ndarray, "3 s"]:
    """The dipole in mV of fibrillating atria: waves of wandering frequency and height, largest in V1 and V2.

    After Stridh and Sörnmo, "Spatiotemporal QRST cancellation techniques for analysis of atrial fibrillation", IEEE
    TBME 48 (2001): a saw-tooth of few harmonics, modulated in frequency and amplitude; here on three axes that wander
    apart.
    """
    wander_hz, wander_rad = rng.uniform(0.2, 1.4, (3, 2, 1)), rng.uniform(0, 2 * np.pi, (3, 2, 1))
    wander_A2S = np.sin(2 * np.pi * wander_hz * time_s_S + wander_rad)
    phase_AS = 2 * np.pi * frequency_hz * time_s_S + rng.uniform(0, 2 * np.pi) + 1.4 * wander_A2S[:, 0]
    wave_AS = np.sin(phase_AS) + 0.35 * np.sin(2 * phase_AS + 0.6) + 0.15 * np.sin(3 * phase_AS + 1.1)
    return amplitude_mv * np.array([[-0.45], [0.5], [-0.8]]) * (1 + 0.5 * wander_A2S[:, 1]) * wave_AS
