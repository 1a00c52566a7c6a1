"""What a probe learns and on which records: from the table of a store to classes or numbers, with splits.

Axes: N records of the store that take part, K classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.divided_records import SPLITS, DividedRecords, leaving_out, objects, patients_of, splits_of
from ecgjepa.evaluate.heart_rate import PLAUSIBLE_BPM, measure_heart_rates
from ecgjepa.evaluate.label_draw import draw_order, quantile_bins
from ecgjepa.evaluate.logistic import Task

Kind = Literal["multilabel", "multiclass", "regression", "segmentation"]
EvaluationProtocol = Literal["strict", "paper"]

# Share of the training patients that the strict protocol holds out where a store has no validation split.
HELD_OUT = 1 / 8
# A level of every store, from its column of that name.
SEX, SEXES = "sex", ("female", "male")
AGE, HEART_RATE = "age", "heart_rate"
# How PTB-XL's "over 89" is stored.
_OLDEST_OF_PTBXL = 90

_T = TypeVar("_T", bound=DividedRecords)


@dataclass(frozen=True)
class Targets(DividedRecords):
    """Labelled records of a store.

    Attributes:
        classes: K names, in the order of the store.
        rows_N, patients_N, split_N, left_out, warnings: as of `DividedRecords`.
        labels_NK: True where a record has a class.
    """

    classes: tuple[str, ...]
    rows_N: Int64[ndarray, "n"]
    labels_NK: Bool[ndarray, "n k"]
    patients_N: Shaped[ndarray, "n"]
    split_N: Shaped[ndarray, "n"]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()

    def strata(self) -> Bool[ndarray, "n k"]:
        """The labels."""
        return self.labels_NK


@dataclass(frozen=True)
class RegressionTargets(DividedRecords):
    """Records of a store with a number to predict.

    Attributes:
        name: what the number is.
        unit: of the values, as a report writes it; perhaps empty.
        rows_N, patients_N, split_N, left_out, warnings: as of `DividedRecords`.
        values_N: finite numbers.
    """

    name: str
    unit: str
    rows_N: Int64[ndarray, "n"]
    values_N: Float64[ndarray, "n"]
    patients_N: Shaped[ndarray, "n"]
    split_N: Shaped[ndarray, "n"]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()

    def strata(self) -> Bool[ndarray, "n k"]:
        """Bins of about equal count."""
        return quantile_bins(self.values_N)


def read_targets(store: Store, level: str, task: Task) -> Targets:
    """Labels of one level, with the store's splits.

    Multilabel takes every record that is labelled at that level, multiclass those with exactly one label. Records
    outside of the three splits do not take part. A record without a patient is a patient of its own. The level `sex`
    is the store's column of that name, unless it has labels of that level.

    Raises:
        ValueError: the store does not have the level, it has no class, or a record has a label that is no class of it.
    """
    levels = store.info.get("levels") or {}
    column = f"labels_{level}"
    if level == SEX and level not in levels:
        labels = [None if sex is None else [sex] for sex in objects(store.records[SEX])]
        return class_targets(store, SEXES, labels, task, level, "sex unknown")
    if level not in levels or column not in store.records:
        raise ValueError(f"labels: level {level!r} is not in this store, expected one of {sorted(levels) or 'none'}")
    classes = tuple(levels[level] or ())
    if not classes:
        raise ValueError(f"labels: level {level!r} has no class")
    labels = [None if names is None else list(names) for names in objects(store.records[column])]
    return class_targets(store, classes, labels, task, level)


def read_regression(
    store: Store, name: str, cache_dir: Path | str | None = None, *, workers: int = 1
) -> RegressionTargets:
    """A number of every record that the store knows, or that its signal shows.

    Args:
        name: `age`, in years, as the store says; `heart_rate`, in beats per minute, see `heart_rate.heart_rate`.
        cache_dir: where measured rates are kept.
        workers: processes that measure.

    Raises:
        ValueError: another name. Numbers of a table are read by `label_table.read_label_table`.
    """
    if name == AGE:
        targets = number_targets(store, AGE, "years", store.records[AGE].to_numpy(dtype=np.float64), "age unknown")
        if store.info["dataset"] == "ptbxl" and (oldest := int((targets.values_N == _OLDEST_OF_PTBXL).sum())):
            note = f"{oldest} ages of {_OLDEST_OF_PTBXL} stand for all above 89, which PTB-XL does not tell apart."
            return targets.changed(warnings=(*targets.warnings, note))
        return targets
    if name == HEART_RATE:
        low, high = PLAUSIBLE_BPM
        reason = f"fewer than 3 beats found, or not {low:g} to {high:g} bpm"
        values_N = measure_heart_rates(store, workers=workers, cache_dir=cache_dir)
        return number_targets(store, HEART_RATE, "bpm", values_N, reason)
    raise ValueError(f"regression: {name!r}, expected {AGE}, {HEART_RATE}, or a table of labels and its column")


def class_targets(
    store: Store,
    classes: Sequence[str],
    labels: Sequence[list[str] | None],
    task: Task,
    level: str,
    none: str = "no label",
    reasons: dict[str, Bool[ndarray, "n"]] | None = None,
) -> Targets:
    """Targets from the labels of all rows of a store.

    Args:
        labels: names of every row; None where it is not labelled.
        level: what the labels are called in errors.
        none: what a row without labels is counted as.
        reasons: why other rows do not take part; their labels are None.

    Raises:
        ValueError: a label that is none of the classes.
    """
    labels_NK = _multi_hot(labels, tuple(classes), store.records["record"].tolist(), level)
    is_told_N = np.any([np.zeros(len(labels), bool), *(reasons or {}).values()], axis=0)
    count_N = labels_NK.sum(axis=1)
    none_N = np.array([names is None for names in labels], dtype=bool) if task == "multilabel" else count_N == 0
    every = dict(reasons or {}) | {none: none_N & ~is_told_N}
    if task == "multiclass":
        every["more than one label"] = count_N > 1
    rows, patients, splits = np.arange(len(store)), patients_of(store), splits_of(store)
    return leaving_out(Targets(tuple(classes), rows, labels_NK, patients, splits, {}), every)


def number_targets(
    store: Store,
    name: str,
    unit: str,
    values_N: Float64[ndarray, "n"],
    none: str,
    reasons: dict[str, Bool[ndarray, "n"]] | None = None,
) -> RegressionTargets:
    """Targets from a number of every row of a store; NaN where there is none, which is counted as `none`."""
    is_told_N = np.any([np.zeros(len(values_N), bool), *(reasons or {}).values()], axis=0)
    every = dict(reasons or {}) | {none: ~np.isfinite(values_N) & ~is_told_N}
    rows, patients, splits = np.arange(len(store)), patients_of(store), splits_of(store)
    return leaving_out(RegressionTargets(name, unit, rows, values_N, patients, splits, {}), every)


def arrange_splits(targets: _T, protocol: EvaluationProtocol, seed: int) -> _T:
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
    arranged = targets.changed(split_N=split_N, warnings=tuple(warnings))
    found = arranged.counts()["records"]
    needed = [split for split in SPLITS if protocol == "strict" or split != "validation"]
    if empty := [split for split in needed if not found[split]]:
        raise ValueError(
            f"splits: no labelled record in {' and '.join(empty)}, found {found}; all of {needed} need some"
        )
    return arranged


def take_training_fraction(targets: _T, fraction: float, seed: int) -> _T:
    """Keep a part of the training records, at least one; the other splits stay whole.

    The part is stratified by classes, or by bins of the numbers, and the smaller of two parts with one seed lies within
    the larger, see `label_draw`.

    Raises:
        ValueError: `fraction` is not in (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"label fraction: expected a number above 0 and at most 1, found {fraction}")
    if fraction == 1:
        return targets
    train = targets.of("train")
    drawn = train[draw_order(targets.taking(train).strata(), seed)][: max(1, round(fraction * len(train)))]
    keep_N = targets.split_N != "train"
    keep_N[drawn] = True
    note = f"Only {len(drawn)} of {len(train)} training records were used (label fraction {fraction:g}, seed {seed})."
    if len(validation := targets.of("validation")):
        note += f" The {len(validation)} validation records, used to choose C and thresholds, are not reduced."
    return targets.taking(keep_N).changed(warnings=(*targets.warnings, note))


def _multi_hot(
    labels: Sequence[list[str] | None], classes: tuple[str, ...], records: list[str], level: str
) -> Bool[ndarray, "n k"]:
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


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
