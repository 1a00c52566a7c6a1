"""Records of a store with something to learn, divided into splits: what classes, numbers and waves have in common.

Axes: N records that take part, K classes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64, Shaped
from numpy import ndarray

from ecgjepa.data.store import Store

SPLITS = ("train", "validation", "test")

_T = TypeVar("_T", bound="DividedRecords")


class DividedRecords:
    """What all targets are; the dataclasses that follow it hold the attributes.

    Attributes:
        rows_N: where each record stands in the store.
        patients_N: who it belongs to.
        split_N: `train`, `validation` or `test`.
        left_out: how many records of the store do not take part, by reason.
        warnings: what a reader of the results must know.
    """

    rows_N: Int64[ndarray, "n"]
    patients_N: Shaped[ndarray, "n"]
    split_N: Shaped[ndarray, "n"]
    left_out: dict[str, int]
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows_N)

    def of(self, split: str) -> Int64[ndarray, "m"]:
        """Positions (not rows of the store) of a split."""
        return np.flatnonzero(self.split_N == split)

    def taking(self: _T, chosen: ndarray) -> _T:
        """The same with some of the records only, as positions or a mask."""
        names = [each.name for each in fields(self) if "_N" in each.name]  # type: ignore[arg-type]
        return self.changed(**{name: getattr(self, name)[chosen] for name in names})

    def changed(self: _T, **attributes: Any) -> _T:
        """The same with some attributes replaced."""
        return replace(self, **attributes)  # type: ignore[type-var]

    def counts(self) -> dict[str, dict[str, int]]:
        """Records and patients of every split."""
        parts = {split: self.patients_N[self.of(split)] for split in SPLITS}
        records = {split: len(patients) for split, patients in parts.items()}
        return {"records": records, "patients": {split: len(set(names)) for split, names in parts.items()}}

    def strata(self) -> Bool[ndarray, "n k"]:
        """Classes by which a part of the records is drawn; none here, for a random part."""
        return np.zeros((len(self), 0), dtype=bool)


def splits_of(store: Store) -> Shaped[ndarray, "records"]:
    """The split of every row of a store, empty text where it is none of the three."""
    return np.array([split if split in SPLITS else "" for split in objects(store.records["split"])], dtype=object)


def patients_of(store: Store) -> Shaped[ndarray, "records"]:
    """The patient of every row of a store; a record without one is a patient of its own."""
    named = zip(objects(store.records["patient"]), store.records["record"], strict=True)
    return np.array([patient or f"record {record}" for patient, record in named], dtype=object)


def leaving_out(every: _T, reasons: Mapping[str, Bool[ndarray, "n"]]) -> _T:
    """Of targets for every row of a store, those that take part: no reason speaks against them, and they have a split.

    Args:
        every: targets of all rows; `split_N` is empty text where there is none.
        reasons: why records do not take part -> which; one record has one reason at most.

    Returns:
        Those that do, the others counted by reason, and a warning if a patient of the test split is in another as well.
    """
    is_out_N = np.zeros(len(every), dtype=bool)
    for mask_N in reasons.values():
        assert not (is_out_N & mask_N).any(), "one reason at most"
        is_out_N |= mask_N
    without_split_N = (every.split_N == "") & ~is_out_N
    left_out = {reason: int(mask_N.sum()) for reason, mask_N in reasons.items()}
    if without_split_N.any():
        left_out["in no split"] = int(without_split_N.sum())
    targets = every.taking(~is_out_N & ~without_split_N)
    return targets.changed(left_out=left_out, warnings=(*every.warnings, *_shared_patients(targets)))


def objects(column: Iterable[Any]) -> list[Any]:
    """Values with every kind of missing (None, NaN, <NA>) as None."""
    return [None if not isinstance(value, (list, tuple, ndarray)) and pd.isna(value) else value for value in column]


def _shared_patients(targets: DividedRecords) -> list[str]:
    owners = {split: set(targets.patients_N[targets.of(split)]) for split in SPLITS}
    return [
        f"{len(shared)} patients of the test split have records in the {split} split as well."
        for split in ("train", "validation")
        if (shared := owners["test"] & owners[split])
    ]
