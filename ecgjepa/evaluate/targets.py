"""What a probe learns and on which records: from the table of a store to labels and splits.

Axes: N records of the store that take part, K classes.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.logistic import Task

EvaluationProtocol = Literal["strict", "paper"]

SPLITS = ("train", "validation", "test")
# Share of the training patients that the strict protocol holds out where a store has no validation split.
HELD_OUT = 1 / 8


@dataclass(frozen=True)
class Targets:
    """Labelled records of a store.

    Attributes:
        classes: K names, in the order of the store.
        rows_N: where each record stands in the store.
        labels_NK: True where a record has a class.
        patients_N: who it belongs to.
        split_N: `train`, `validation` or `test`.
        left_out: how many records of the store do not take part, by reason.
        warnings: what a reader of the results must know.
    """

    classes: tuple[str, ...]
    rows_N: Int64[ndarray, "n"]
    labels_NK: Bool[ndarray, "n k"]
    patients_N: Shaped[ndarray, "n"]
    split_N: Shaped[ndarray, "n"]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows_N)

    def of(self, split: str) -> Int64[ndarray, "m"]:
        """Positions (not rows of the store) of a split."""
        return np.flatnonzero(self.split_N == split)

    def taking(self, chosen: ndarray) -> "Targets":
        """The same with some of the records only, as positions or a mask."""
        parts = {name: getattr(self, name)[chosen] for name in ("rows_N", "labels_NK", "patients_N", "split_N")}
        return replace(self, **parts)

    def counts(self) -> dict[str, dict[str, int]]:
        """Records and patients of every split."""
        parts = {split: self.patients_N[self.of(split)] for split in SPLITS}
        records = {split: len(patients) for split, patients in parts.items()}
        return {"records": records, "patients": {split: len(set(names)) for split, names in parts.items()}}


def read_targets(store: Store, level: str, task: Task) -> Targets:
    """Labels of one level, with the store's splits.

    Multilabel takes every record that is labelled at that level, multiclass those with exactly one label. Records
    outside of the three splits do not take part. A record without a patient is a patient of its own.

    Raises:
        ValueError: the store does not have the level, it has no class, or a record has a label that is no class of it.
    """
    levels = store.info.get("levels") or {}
    column = f"labels_{level}"
    if level not in levels or column not in store.records:
        raise ValueError(f"labels: level {level!r} is not in this store, expected one of {sorted(levels) or 'none'}")
    classes = tuple(levels[level] or ())
    if not classes:
        raise ValueError(f"labels: level {level!r} has no class")
    labels = [None if names is None else list(names) for names in _objects(store.records[column])]
    labels_NK = _multi_hot(labels, classes, store.records["record"].tolist(), level)

    count_N = labels_NK.sum(axis=1)
    none_N = np.array([names is None for names in labels]) if task == "multilabel" else count_N == 0
    several_N = (count_N > 1) if task == "multiclass" else np.zeros(len(store), bool)
    split_N = np.array([split if split in SPLITS else "" for split in _objects(store.records["split"])], dtype=object)
    outside_N = (split_N == "") & ~none_N & ~several_N
    left_out = {"no label": int(none_N.sum())}
    if task == "multiclass":
        left_out["more than one label"] = int(several_N.sum())
    if outside_N.any():
        left_out["in no split"] = int(outside_N.sum())

    patients = zip(_objects(store.records["patient"]), store.records["record"], strict=True)
    patients_N = np.array([patient or f"record {record}" for patient, record in patients], dtype=object)
    targets = Targets(classes, np.arange(len(store)), labels_NK, patients_N, split_N, left_out)
    targets = targets.taking(~none_N & ~several_N & (split_N != ""))
    return replace(targets, warnings=tuple(_shared_patients(targets)))


def arrange_splits(targets: Targets, protocol: EvaluationProtocol, seed: int) -> Targets:
    """The splits as a protocol wants them: `paper` trains on train and validation, `strict` needs all three.

    Where the store has no validation record, `strict` holds out the training patients whose SHA-256 of `seed/patient`
    falls into the lowest eighth, and says so in the warnings.

    Raises:
        ValueError: a split that the protocol needs is empty.
    """
    split_N, warnings = targets.split_N.copy(), list(targets.warnings)
    if protocol == "paper":
        split_N[split_N == "validation"] = "train"
    elif not (split_N == "validation").any():
        train_N = split_N == "train"
        held_out_N = train_N & np.array([_fraction(f"{seed}/{p}") < HELD_OUT for p in targets.patients_N], dtype=bool)
        split_N[held_out_N] = "validation"
        warnings.append(
            f"The store has no validation split: {held_out_N.sum()} of {train_N.sum()} training records (1/8 of the "
            f"patients, by a hash of seed {seed} and patient) are held out to choose C and thresholds."
        )
    arranged = replace(targets, split_N=split_N, warnings=tuple(warnings))
    found = arranged.counts()["records"]
    needed = [split for split in SPLITS if protocol == "strict" or split != "validation"]
    if empty := [split for split in needed if not found[split]]:
        raise ValueError(
            f"splits: no labelled record in {' and '.join(empty)}, found {found}; all of {needed} need some"
        )
    return arranged


def take_training_fraction(targets: Targets, fraction: float, seed: int) -> Targets:
    """Keep a random part of the training records, at least one; the other splits stay whole.

    Raises:
        ValueError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label fraction: expected a number above 0 and at most 1, found {fraction}")
    if fraction == 1:
        return targets
    train = targets.of("train")
    drawn = np.random.default_rng([seed, 1]).permutation(train)[: max(1, round(fraction * len(train)))]
    keep_N = targets.split_N != "train"
    keep_N[drawn] = True
    note = f"Only {len(drawn)} of {len(train)} training records were used (label fraction {fraction:g}, seed {seed})."
    if len(validation := targets.of("validation")):
        note += f" The {len(validation)} validation records, used to choose C and thresholds, are not reduced."
    return replace(targets.taking(keep_N), warnings=(*targets.warnings, note))


def _multi_hot(labels: list, classes: tuple[str, ...], records: list[str], level: str) -> ndarray:
    column_of = {name: k for k, name in enumerate(classes)}
    labels_NK = np.zeros((len(labels), len(classes)), dtype=bool)
    for n, names in enumerate(labels):
        for name in names or ():
            if name not in column_of:
                raise ValueError(
                    f"labels: {records[n]} has {name!r} at level {level!r}, expected some of {list(classes)}"
                )
            labels_NK[n, column_of[name]] = True
    return labels_NK


def _shared_patients(targets: Targets) -> list[str]:
    owners = {split: set(targets.patients_N[targets.of(split)]) for split in SPLITS}
    return [
        f"{len(shared)} patients of the test split have records in the {split} split as well."
        for split in ("train", "validation")
        if (shared := owners["test"] & owners[split])
    ]


def _objects(column: pd.Series) -> list:
    """Values with every kind of missing (None, NaN, <NA>) as None."""
    return [None if not isinstance(value, (list, tuple, ndarray)) and pd.isna(value) else value for value in column]


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
