"""Synthetic patients and their ECGs: what varies between hearts, between visits and between beats.

Everything is a function of (seed, index): record 7 is the same whether ten or ten thousand are made. The spreads were
chosen beside the records of PTB-XL.

Axes: W waves of a beat, B beats, A the three axes of the dipole, L leads, E electrodes, S samples.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ecgjepa.data.simulated.dipole import (
    ATRIA_W,
    DOWER_LA,
    SEPTUM_RISES_MS,
    VENTRICLES_W,
    Ventricles,
    beats,
    fibrillation,
    leads_of,
)
from ecgjepa.data.simulated.noise import NoiseLevels, electrode_noise

Rhythm = Literal["sinus", "fibrillation"]

# Forty patients of these kinds, shuffled, then the next forty.
_DECK: tuple[tuple[int, Rhythm, Ventricles], ...] = (
    (14, "sinus", "normal"),
    (6, "fibrillation", "normal"),
    (5, "sinus", "left_bundle"),
    (1, "fibrillation", "left_bundle"),
    (5, "sinus", "right_bundle"),
    (1, "fibrillation", "right_bundle"),
    (4, "sinus", "inferior_injury"),
    (4, "sinus", "anterior_injury"),
)
_SECOND_RECORD_SHARE = 0.15
_SHARE_OF_WOMEN = {"normal": 0.54, "left_bundle": 0.45, "right_bundle": 0.30}
_SHARE_OF_WOMEN |= {"inferior_injury": 0.34, "anterior_injury": 0.42}
# How far a heart goes from the normal beat (0) to the full picture of its kind (1), lowest and highest. A normal heart
# leans a little towards one of the others, so that mild forms and normal variants meet; a block is never mild.
_SEVERITY = {"normal": (0.0, 0.3), "left_bundle": (0.75, 1.1), "right_bundle": (0.65, 1.1)}
_SEVERITY |= {"inferior_injury": (0.3, 1.4), "anterior_injury": (0.3, 1.4)}
_SHORTEST_RR_S = 0.32
# The interval at which T stands where VENTRICLES_W has it, and how it follows the rate (Fridericia: cube root).
_REFERENCE_RR_S, _QT_EXPONENT = 0.86, 1 / 3


class Stream(IntEnum):
    """Independent sources of chance: what is drawn from one never moves what is drawn from another."""

    PAIR, DECK, PATIENT, RECORD, ARCHIVE = range(5)


def generator(seed: int, stream: Stream, number: int) -> np.random.Generator:
    """The chance of one pair of records, deck of patients, patient, record or file entry."""
    return np.random.default_rng((seed, int(stream), number))


@dataclass(frozen=True, eq=False)
class Patient:
    """A heart in a chest, the same at every visit.

    Attributes:
        number: index of the patient's first record.
        severity: from the normal beat (0) to the full picture of `ventricles` (1).
        waves_W: this heart's own beat, rows as `dipole.WAVES`, columns as `dipole.WAVE_COLUMNS`.
        lead_matrix_LA: what I, II, V1..V6 see of the dipole through this chest.
    """

    number: int
    rhythm: Rhythm
    ventricles: Ventricles
    severity: float
    age: int
    female: bool
    waves_W: Float[ndarray, "9 6"]
    lead_matrix_LA: Float[ndarray, "8 3"]


@dataclass(frozen=True, eq=False)
class SyntheticECG:
    """One record.

    Attributes:
        signal_mv: (12, S) in mV, leads as `signal.LEADS_12`.
        r_times_s: the R peaks that lie in the record, in s.
        noise: how much of each kind of noise was added.
        beat_times_s: R of every beat, also of those that begin before or end after the record.
        t_stretch: time scale of the T wave of each of them, see `dipole.beats`.
    """

    index: int
    patient: Patient
    signal_mv: Float[ndarray, "12 samples"]
    sampling_rate_hz: int
    r_times_s: Float[ndarray, "beats"]
    noise: NoiseLevels
    beat_times_s: Float[ndarray, "all_beats"]
    t_stretch: Float[ndarray, "all_beats"]


def patient_number(seed: int, index: int) -> int:
    """Whose record this is: some patients come twice, with two neighbouring records."""
    same = generator(seed, Stream.PAIR, index // 2).random() < _SECOND_RECORD_SHARE
    return index - index % 2 if same else index


def draw_patient(seed: int, number: int) -> Patient:
    """The patient whose first record has this index."""
    deck = [(rhythm, ventricles) for count, rhythm, ventricles in _DECK for _ in range(count)]
    turn, place = divmod(number, len(deck))
    rhythm, ventricles = deck[generator(seed, Stream.DECK, turn).permutation(len(deck))[place]]
    rng = generator(seed, Stream.PATIENT, number)
    healthy = rhythm == "sinus" and ventricles == "normal"
    age = int(np.clip(rng.normal(52, 16) if healthy else rng.normal(68, 12), 18, 95))
    female = bool(rng.random() < _SHARE_OF_WOMEN[ventricles])

    low, high = _SEVERITY[ventricles]
    severity = low + (high - low) * rng.beta(1.3, 1.8)
    towards = list(VENTRICLES_W)[rng.integers(1, len(VENTRICLES_W))] if ventricles == "normal" else ventricles
    typical_W = (1 - severity) * VENTRICLES_W["normal"] + severity * VENTRICLES_W[towards]
    waves_W = _individual(rng, np.vstack([ATRIA_W, typical_W]), age, female)
    if rhythm == "fibrillation":
        waves_W[:2, 3:] = 0

    chest_LA = DOWER_LA * rng.lognormal(0, 0.15, (8, 1))
    chest_LA[2:] += rng.normal(0, 0.07, (6, 3))
    return Patient(number, rhythm, ventricles, float(severity), age, female, waves_W, chest_LA)


def synthesize(
    seed: int, index: int, sampling_rate_hz: int = 500, seconds: float = 10.0, mains_hz: float = 50.0
) -> SyntheticECG:
    """Make one record; (seed, index) is the same heart and strength of noise at every rate and duration.

    At every rate it beats at the same times; a longer record beats differently.

    Raises:
        ValueError: a negative seed or index, less than 100 Hz or less than 1 s.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"synthetic record: seed and index must not be negative, found {seed} and {index}")
    if sampling_rate_hz < 100 or seconds < 1:
        raise ValueError(f"synthetic record: expected at least 100 Hz and 1 s, found {sampling_rate_hz} and {seconds}")
    patient = draw_patient(seed, patient_number(seed, index))
    rng = generator(seed, Stream.RECORD, index)
    time_s_S = np.arange(round(sampling_rate_hz * seconds)) / sampling_rate_hz
    breathing_hz = rng.uniform(0.18, 0.33)
    noise = NoiseLevels(
        drift_mv=float(0.022 * rng.lognormal(0, 0.7)),
        muscle_mv=float(0.006 * rng.lognormal(0, 0.7)),
        mains_mv=float(0.0075 * rng.lognormal(0, 0.6)) if rng.random() < 0.2 else 0.0,
    )
    visit_W = patient.waves_W * np.array([1, 1, 1, *rng.lognormal(0, 0.04, 3)])
    if patient.rhythm == "sinus":
        rr_s_B = _sinus_intervals(rng, patient.age, breathing_hz, seconds)
        atria_AS = np.zeros((3, time_s_S.size))
    else:
        rr_s_B = _irregular_intervals(rng, seconds)
        atria_AS = fibrillation(rng, 0.05 * rng.lognormal(0, 0.35), rng.uniform(4.5, 8.5), time_s_S)
    # The record starts in the third interval. Repolarisation follows mostly the mean rate, a little the last beat.
    r_times_s_B = np.cumsum(rr_s_B) - rr_s_B[:2].sum() - rr_s_B[2] * rng.random()
    t_stretch_B = ((0.75 * rr_s_B.mean() + 0.25 * rr_s_B) / _REFERENCE_RR_S) ** _QT_EXPONENT
    breath_B = np.sin(2 * np.pi * breathing_hz * r_times_s_B + rng.uniform(0, 2 * np.pi))
    gain_BA = 1 + rng.normal(0, 0.04, 3) * breath_B[:, None] + rng.normal(0, 0.015, (r_times_s_B.size, 1))
    dipole_AS = beats(visit_W, r_times_s_B, t_stretch_B, gain_BA, time_s_S) + atria_AS
    electrode_ES = electrode_noise(rng, noise, breathing_hz, mains_hz, time_s_S)
    signal_mv = leads_of(patient.lead_matrix_LA, dipole_AS, electrode_ES)
    inside_B = (r_times_s_B >= 0) & (r_times_s_B < seconds)
    inside = r_times_s_B[inside_B]
    return SyntheticECG(index, patient, signal_mv, sampling_rate_hz, inside, noise, r_times_s_B, t_stretch_B)


def _individual(rng: np.random.Generator, waves_W: ndarray, age: int, female: bool) -> ndarray:
    """One heart's own version of a beat: times, widths, sizes and directions."""
    waves_W = waves_W.copy()
    atria, qrs, st, t = slice(0, 2), slice(2, 7), 7, 8
    waves_W[qrs, :3] *= np.exp(rng.normal(-0.02 if female else 0.02, 0.06))
    waves_W[t, :3] *= np.exp(rng.normal(0.03 if female else 0.0, 0.045))
    pr_ms = np.clip(rng.normal(150 + 0.25 * (age - 50), 15), 124, 196)
    waves_W[atria, 0] += waves_W[2, 0] - SEPTUM_RISES_MS - pr_ms
    waves_W[:, 1:3] *= rng.lognormal(0, 0.08, (len(waves_W), 2))

    size = rng.lognormal(-0.06 if female else 0.04, 0.2)
    waves_W[:, 3:] *= rng.lognormal(0, 0.15, (len(waves_W), 1))
    waves_W[atria, 3:] *= rng.lognormal(0, 0.25)
    waves_W[qrs, 3:] *= size
    waves_W[[st, t], 3:] *= np.sqrt(size)
    waves_W[t, 3:] *= np.exp(rng.normal(-0.006 * (age - 50), 0.24))
    length_W = np.linalg.norm(waves_W[:, 3:], axis=1, keepdims=True)
    waves_W[:, 3:] += rng.normal(0, 0.12, (len(waves_W), 3)) * length_W

    # The heart lies flatter with age: the frontal axis turns from the feet to the left. P, ST and T follow half way.
    turn_A = np.radians(rng.normal([0, 0, -4 - 0.4 * (age - 50)], [9, 11, 11]))
    other_turn_A = 0.5 * turn_A + np.radians(rng.normal(0, 6, 3))
    waves_W[qrs, 3:] = waves_W[qrs, 3:] @ _rotation(turn_A).T
    waves_W[[0, 1, st, t], 3:] = waves_W[[0, 1, st, t], 3:] @ _rotation(other_turn_A).T
    return waves_W


def _sinus_intervals(rng: np.random.Generator, age: int, breathing_hz: float, seconds: float) -> ndarray:
    """RR intervals in s of 50-100 beats a minute that follow the breath (less with age) and the slow wave of 0.1 Hz."""
    mean_rr_s = 60 / np.clip(71 * rng.lognormal(0, 0.17), 51, 99)
    time_s_B = mean_rr_s * np.arange(_enough(seconds, 0.8 * mean_rr_s))
    breath = min(0.035 * rng.lognormal(-0.012 * (age - 50), 0.6), 0.12)
    slow, jitter = min(0.015 * rng.lognormal(0, 0.5), 0.05), 0.004
    phase = rng.uniform(0, 2 * np.pi, 2)
    return mean_rr_s * (
        1
        + breath * np.sin(2 * np.pi * breathing_hz * time_s_B + phase[0])
        + slow * np.sin(2 * np.pi * 0.1 * time_s_B + phase[1])
        + jitter * rng.standard_normal(time_s_B.size)
    )


def _irregular_intervals(rng: np.random.Generator, seconds: float) -> ndarray:
    """RR intervals in s of conducted atrial fibrillation: independent, 50-140 a minute on average."""
    mean_rr_s = 60 / np.clip(86 * rng.lognormal(0, 0.25), 50, 140)
    spread = rng.uniform(0.10, 0.32)
    intervals = rng.lognormal(0, spread, _enough(seconds, _SHORTEST_RR_S))
    return np.maximum(mean_rr_s * intervals, _SHORTEST_RR_S)


def _enough(seconds: float, shortest_rr_s: float) -> int:
    """Intervals that cover the record, two beats before it and one after."""
    return int(np.ceil(seconds / shortest_rr_s)) + 5


def _rotation(angle_A: ndarray) -> ndarray:
    """Turn about X, then Y, then Z, in radians; a positive turn about Z takes the left towards the feet."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angle_A), np.sin(angle_A)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
