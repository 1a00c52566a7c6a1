"""Splits by patient: shares, stability, and what is no split of patients."""

import numpy as np
import pytest
from scipy.stats import binom

from ecgjepa.data.listings.splits import SHARES, SPLIT_CODES, check_shares, patients_in_two_splits, split_of_patient
from ecgjepa.data.store import SPLITS

# Of p0, p1, ...
KNOWN = ["test", "train", "train", "train", "train", "test", "train", "train", "train", "test", "test", "train"]
PATIENTS = [f"p{number:08d}" for number in range(10_000)]


@pytest.mark.parametrize("seed", [0, 1])
def test_shares_are_those_asked_for(seed: int) -> None:
    found = [split_of_patient(patient, seed) for patient in PATIENTS]
    for split, share in zip(SPLITS, SHARES, strict=True):
        low, high = binom.interval(1 - 1e-6, len(PATIENTS), share)
        assert low <= found.count(split) <= high


def test_a_patient_stays_whatever_else_there_is() -> None:
    """Known answers: a change of the function would move patients of stores that exist."""
    known = {name: split_of_patient(name) for name in ("a", "10001725", "Müller", "")}
    assert known == {name: split_of_patient(name) for name in reversed(known)}
    assert [split_of_patient(f"p{k}") for k in range(12)] == KNOWN


def test_another_seed_is_another_split() -> None:
    first, second = ([split_of_patient(patient, seed) for patient in PATIENTS] for seed in (0, 1))
    same = np.mean(np.array(first) == np.array(second))
    assert 0.60 < same < 0.72  # 0.8^2 + 2 * 0.1^2 = 0.66 where they are independent


def test_shares_of_nothing_give_nobody() -> None:
    assert {split_of_patient(patient, 0, (1.0, 0.0, 0.0)) for patient in PATIENTS} == {"train"}
    assert {split_of_patient(patient, 0, (0.7, 0.3, 0.0)) for patient in PATIENTS} == {"train", "validation"}
    assert {split_of_patient(patient, 0, (0.7, 0.0, 0.3)) for patient in PATIENTS} == {"train", "test"}


@pytest.mark.parametrize("shares", [(0.8, 0.1, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_shares_that_are_none(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="split shares"):
        check_shares(shares)


def test_patients_in_two_splits_are_found() -> None:
    patients = np.array([7, 5, 7, 9, 5, 7], dtype=np.uint64)
    splits = ["train", "test", None, "validation", "test", "train"]
    codes = np.array([SPLIT_CODES[split] for split in splits], dtype=np.int8)
    assert patients_in_two_splits(patients, codes).tolist() == []  # of no split is trained on as well
    codes[4] = SPLIT_CODES["validation"]
    codes[2] = SPLIT_CODES["test"]
    assert patients_in_two_splits(patients, codes).tolist() == [5, 7]
    assert patients_in_two_splits(patients[:0], codes[:0]).tolist() == []
