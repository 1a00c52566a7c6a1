"""Which patients are for training, validation and test: by a hash of their names, or checked where a table says it.

Axes: N records.
"""

import hashlib
import math
from typing import Literal

import numpy as np
from jaxtyping import Int8, UInt64
from numpy import ndarray

Split = Literal["auto", "patient", "none"]

SHARES = (0.8, 0.1, 0.1)
# Pretraining takes what is in no split as it takes `train`, so a patient in both is in no two.
SPLIT_CODES = {None: 0, "train": 0, "validation": 1, "test": 2}


def split_of_patient(patient: str, seed: int = 0, shares: tuple[float, float, float] = SHARES) -> str:
    """The split of a patient: a pure function of seed and name, so that no record added later moves another patient.

    Args:
        patient: name.
        seed: another seed, another split.
        shares: of train, validation and test among very many patients; see `check_shares`.
    """
    digest = hashlib.blake2b(f"{seed}\0{patient}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "little") / 2**64
    if place < shares[0]:
        return "train"
    return "validation" if place < shares[0] + shares[1] or not shares[2] else "test"


def check_shares(shares: tuple[float, float, float]) -> None:
    """Raises ValueError unless the shares are three numbers from 0 whose sum is 1, the first above 0."""
    if not (len(shares) == 3 and min(shares) >= 0 and shares[0] > 0 and math.isclose(sum(shares), 1.0, abs_tol=1e-6)):
        raise ValueError(f"split shares {shares}, expected those of train, validation and test, with the sum 1")


def patients_in_two_splits(patient_N: UInt64[ndarray, "n"], split_N: Int8[ndarray, "n"]) -> UInt64[ndarray, "k"]:
    """Patients whose records are not all in one split.

    Args:
        patient_N: hashes of the patients' names.
        split_N: see `SPLIT_CODES`.
    """
    if not len(patient_N):
        return patient_N
    order = np.argsort(patient_N, kind="stable")
    patient_N, split_N = patient_N[order], split_N[order]
    starts = np.flatnonzero(np.concatenate([[True], patient_N[1:] != patient_N[:-1]]))
    differ = np.minimum.reduceat(split_N, starts) != np.maximum.reduceat(split_N, starts)
    return patient_N[starts[differ]]
