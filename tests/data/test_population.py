"""Synthetic ECGs: the physics of the leads holds, and each kind of heart looks like its kind."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecgjepa.data.simulated.dipole import AFTER_R_S, BEFORE_R_S, DOWER_LA, beats, fibrillation, leads_of
from ecgjepa.data.simulated.population import SyntheticECG, draw_patient, patient_number, synthesize
from ecgjepa.leads import LEADS_12

RECORDS, SEED = 240, 3
RATE_HZ = 500
BEFORE, AFTER = 150, 250  # samples of a median beat around R


@pytest.fixture(scope="module")
def ecgs() -> list[SyntheticECG]:
    return [synthesize(SEED, index) for index in range(RECORDS)]


def of_kind(ecgs: list[SyntheticECG], rhythm: str, ventricles: str) -> list[SyntheticECG]:
    return [ecg for ecg in ecgs if (ecg.patient.rhythm, ecg.patient.ventricles) == (rhythm, ventricles)]


def median_beat(ecg: SyntheticECG) -> np.ndarray:
    """(12, 400) mV around R, over the level before QRS."""
    at_B = np.rint(ecg.r_times_s * RATE_HZ).astype(int)
    at_B = at_B[(at_B >= BEFORE) & (at_B + AFTER <= ecg.signal_mv.shape[1])]
    beat = np.median([ecg.signal_mv[:, at - BEFORE : at + AFTER] for at in at_B], axis=0)
    return beat - np.median(beat[:, BEFORE - 35 : BEFORE - 27], axis=1, keepdims=True)


def at(beat: np.ndarray, lead: str, start_ms: float, stop_ms: float) -> np.ndarray:
    start, stop = (BEFORE + round(ms * RATE_HZ / 1000) for ms in (start_ms, stop_ms))
    return beat[LEADS_12.index(lead), start:stop]


def qrs_ms(ecg: SyntheticECG) -> float:
    """Duration of the part around R in which the leads change fast."""
    beat = median_beat(ecg)
    speed = np.linalg.norm(np.gradient(beat, axis=1), axis=0)
    speed = np.convolve(speed, np.ones(7) / 7, mode="same")
    fast = speed > 0.08 * speed[BEFORE - 40 : BEFORE + 50].max()
    first = BEFORE - np.argmin(fast[BEFORE - 4 :: -1]) - 4
    last = BEFORE + 15 + np.argmin(fast[BEFORE + 15 :])
    return (last - first) * 1000 / RATE_HZ


def rr_spread(ecg: SyntheticECG) -> float:
    intervals_s = np.diff(ecg.r_times_s)
    return float(intervals_s.std() / intervals_s.mean())


def medians(measure: Callable[[SyntheticECG], float], *groups: list[SyntheticECG]) -> list[float]:
    return [float(np.median([measure(ecg) for ecg in group])) for group in groups]


def test_limb_leads_obey_einthoven_and_goldberger_noise_included(ecgs: list[SyntheticECG]) -> None:
    for ecg in ecgs[:40]:
        lead = dict(zip(LEADS_12, ecg.signal_mv, strict=True))
        np.testing.assert_allclose(lead["I"] + lead["III"], lead["II"], atol=1e-12)
        np.testing.assert_allclose(lead["aVR"], -(lead["I"] + lead["II"]) / 2, atol=1e-12)
        np.testing.assert_allclose(lead["aVL"], lead["I"] - lead["II"] / 2, atol=1e-12)
        np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, atol=1e-12)


def test_every_record_is_a_function_of_seed_and_index_alone(ecgs: list[SyntheticECG]) -> None:
    np.testing.assert_array_equal(synthesize(SEED, 137).signal_mv, ecgs[137].signal_mv)
    assert not np.allclose(synthesize(SEED + 1, 137).signal_mv, ecgs[137].signal_mv)


def test_all_records_are_finite_and_distinct_and_of_real_size(ecgs: list[SyntheticECG]) -> None:
    signals_mv = np.array([ecg.signal_mv for ecg in ecgs])
    assert np.isfinite(signals_mv).all()
    likeness = np.corrcoef(signals_mv[:, 1])  # lead II
    assert np.max(likeness - np.eye(RECORDS)) < 0.98
    # Of 859 PTB-XL records the medians of the twelve leads' peak-to-peak are 1.25 mV, 90 % between 0.8 and 2.1 mV.
    size_mv = np.median(np.ptp(signals_mv, axis=2), axis=1)
    assert 1.05 < np.median(size_mv) < 1.45
    assert 0.5 < np.quantile(size_mv, 0.05) < np.quantile(size_mv, 0.95) < 2.4


def test_the_same_heart_at_another_rate(ecgs: list[SyntheticECG]) -> None:
    """At 250 Hz the heart beats at the same times, and only the noise is another."""
    for ecg in (of_kind(ecgs, "sinus", "normal")[0], of_kind(ecgs, "fibrillation", "normal")[0]):
        other = synthesize(SEED, ecg.index, sampling_rate_hz=250)
        assert other.signal_mv.shape == (12, 2500)
        np.testing.assert_array_equal(other.r_times_s, ecg.r_times_s)
        pairs = zip(other.signal_mv, ecg.signal_mv[:, ::2], strict=True)
        correlation = [np.corrcoef(here, there)[0, 1] for here, there in pairs]
        assert np.median(correlation) > 0.9
        longer = synthesize(SEED, ecg.index, sampling_rate_hz=400, seconds=10.24)
        assert longer.signal_mv.shape == (12, 4096)
        assert longer.noise == ecg.noise
        np.testing.assert_array_equal(longer.patient.waves_W, ecg.patient.waves_W)


def test_beats_are_computed_far_enough_from_r() -> None:
    """Cutting a beat off at its ends leaves no step: below 1 µV for the longest intervals."""
    for number in range(0, 120, 2):
        waves_W = draw_patient(SEED, number).waves_W
        time_s_S = np.arange(0, 3, 0.002)
        dipole_mv = beats(waves_W, np.array([1.0]), np.array([1.25]), np.ones((1, 3)), time_s_S)
        first, last = (round((1 + offset_s) * RATE_HZ) for offset_s in (0.004 - BEFORE_R_S, AFTER_R_S - 0.004))
        assert np.abs(dipole_mv).max() > 0.3
        assert np.abs(dipole_mv[:, [first, last]]).max() < 1e-3


def test_fibrillation_has_irregular_beats_and_no_p(ecgs: list[SyntheticECG]) -> None:
    sinus, fibrillating = of_kind(ecgs, "sinus", "normal"), of_kind(ecgs, "fibrillation", "normal")
    regular, irregular = medians(rr_spread, sinus, fibrillating)
    assert regular < 0.05 < 0.12 < irregular

    def p_mv(ecg: SyntheticECG) -> float:
        return float(np.ptp(at(median_beat(ecg), "II", -210, -70)))

    with_p, without = medians(p_mv, sinus, fibrillating)
    assert with_p > 2 * without


def test_fibrillating_atria_beat_4_to_9_times_a_second() -> None:
    time_s_S = np.arange(0, 10, 1 / RATE_HZ)
    for seed, frequency_hz in enumerate((4.5, 6.0, 8.5)):
        dipole_mv = fibrillation(np.random.default_rng(seed), 0.06, frequency_hz, time_s_S)
        signal_mv = leads_of(DOWER_LA, dipole_mv, np.zeros((9, time_s_S.size)))
        power = np.abs(np.fft.rfft(signal_mv)) ** 2
        strongest_hz = np.fft.rfftfreq(time_s_S.size, 1 / RATE_HZ)[power.argmax(axis=1)]
        assert np.all(np.abs(strongest_hz - frequency_hz) < 1.5)
        rms_mv = dict(zip(LEADS_12, signal_mv.std(axis=1), strict=True))
        assert 0.02 < rms_mv["V6"] < rms_mv["V1"] < 0.1


def test_sinus_rhythm_is_between_50_and_100_with_normal_pr_and_qt(ecgs: list[SyntheticECG]) -> None:
    for ecg in ecgs:
        if ecg.patient.rhythm == "fibrillation":
            continue
        assert 48 < 60 / np.diff(ecg.r_times_s).mean() < 103
        begin_p, begin_qrs = (ecg.patient.waves_W[[0, 2], 0] - [42, 18]).tolist()
        assert 115 < begin_qrs - begin_p < 205
        time, fall = ecg.patient.waves_W[8, [0, 2]]
        assert 310 < time + 2 * fall - begin_qrs < 480  # QT at a rate of 70


def test_bundle_branch_blocks_are_broad_and_of_their_side(ecgs: list[SyntheticECG]) -> None:
    normal, left, right = (of_kind(ecgs, "sinus", kind) for kind in ("normal", "left_bundle", "right_bundle"))
    normal_ms, left_ms, right_ms = medians(qrs_ms, normal, left, right)
    assert normal_ms < 110
    assert left_ms > 120
    assert right_ms > 120

    for ecg in left:  # V1 points away, V6 towards; T against QRS
        beat = median_beat(ecg)
        assert -at(beat, "V1", -40, 110).min() > 2 * at(beat, "V1", -40, 110).max()
        assert at(beat, "V6", -40, 110).max() > -at(beat, "V6", -40, 110).min()
        assert at(beat, "V1", 180, 320).mean() > 0
    late = [(at(median_beat(ecg), "V1", 30, 60).mean(), at(median_beat(ecg), "V6", 30, 60).mean()) for ecg in right]
    v1, v6 = np.array(late).T
    assert np.mean(v1 > 0.1) > 0.9
    assert np.mean(v6 < -0.05) > 0.9


def test_injury_raises_st_over_the_injured_wall_only(ecgs: list[SyntheticECG]) -> None:
    groups = [of_kind(ecgs, "sinus", kind) for kind in ("normal", "inferior_injury", "anterior_injury")]

    def st_mv(lead: str) -> list[float]:
        return medians(lambda ecg: float(at(median_beat(ecg), lead, 70, 90).mean()), *groups)

    normal, inferior, anterior = st_mv("III")
    assert inferior > 0.1 > abs(normal)
    assert inferior > anterior
    normal, inferior, anterior = st_mv("aVL")
    assert inferior < -0.04 < normal  # reciprocal
    normal, inferior, anterior = st_mv("V2")
    assert anterior > normal + 0.08
    assert inferior < normal


def test_r_grows_from_v1_to_v4_in_normal_hearts(ecgs: list[SyntheticECG]) -> None:
    beats_mv = [median_beat(ecg) for ecg in of_kind(ecgs, "sinus", "normal")]
    r_mv = [np.median([at(beat, f"V{n}", -40, 40).max() for beat in beats_mv]) for n in range(1, 5)]
    assert np.all(np.diff(r_mv) > 0)


def test_kinds_can_be_told_apart_by_hand_features_but_not_perfectly(ecgs: list[SyntheticECG]) -> None:
    def features(ecg: SyntheticECG) -> list[float]:
        beat = median_beat(ecg)
        p_mv, st_mv = float(np.ptp(at(beat, "II", -210, -70))), [at(beat, lead, 70, 90).mean() for lead in LEADS_12]
        return [rr_spread(ecg), qrs_ms(ecg), p_mv, at(beat, "V1", 30, 60).mean(), *st_mv]

    values = np.array([features(ecg) for ecg in ecgs])
    patients = [ecg.patient.number for ecg in ecgs]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    auc = {}
    for name, positive in {
        "normal": lambda p: (p.rhythm, p.ventricles) == ("sinus", "normal"),
        "fibrillation": lambda p: p.rhythm == "fibrillation",
        "left_bundle": lambda p: p.ventricles == "left_bundle",
        "right_bundle": lambda p: p.ventricles == "right_bundle",
        "injury": lambda p: p.ventricles.endswith("injury"),
    }.items():
        label = np.array([positive(ecg.patient) for ecg in ecgs])
        score = cross_val_predict(model, values, label, groups=patients, cv=GroupKFold(4), method="decision_function")
        auc[name] = roc_auc_score(label, score)
    assert min(auc.values()) > 0.7, auc
    assert np.mean(list(auc.values())) < 0.995, auc


def test_some_patients_come_twice_with_different_records() -> None:
    numbers = [patient_number(SEED, index) for index in range(400)]
    twice = [n for n in range(0, 400, 2) if numbers[n] == numbers[n + 1]]
    assert 0.05 < len(twice) / 200 < 0.3
    assert all(numbers[index] in (index, index - 1) for index in range(400))
    first, second = synthesize(SEED, twice[0]), synthesize(SEED, twice[0] + 1)
    np.testing.assert_array_equal(first.patient.waves_W, second.patient.waves_W)
    assert not np.allclose(first.signal_mv, second.signal_mv)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1, "index": 0}, "must not be negative"),
        ({"seed": 0, "index": -1}, "must not be negative"),
        ({"seed": 0, "index": 0, "sampling_rate_hz": 50}, "at least 100 Hz"),
        ({"seed": 0, "index": 0, "seconds": 0.5}, "at least 100 Hz and 1 s"),
    ],
)
def test_records_that_cannot_be_made(arguments: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        synthesize(**arguments)
