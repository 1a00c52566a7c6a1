"""What a group of rows is made of, and what points of a map are coloured by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from ecgjepa.search.filters import QuestionError
from ecgjepa.search.rows import Coded, RowTable, check_rows

# Colours that people tell apart, beside that of what is left.
COLOURED_LABELS = 7
OTHER = "other"
COLOURED_BY = ("label", "age", "sex", "source")


@dataclass(frozen=True)
class LabelCount:
    """How many rows of a group, and of the whole index, have a label."""

    label: str
    count: int
    of_all: int


@dataclass(frozen=True)
class GroupDescription:
    """What a group of rows is made of.

    Attributes:
        count: rows.
        labels: those that occur in it, most frequent first.
        sexes, sources: rows of each that occurs.
        age_quartiles: years; None where no age is known.
    """

    count: int
    labels: list[LabelCount]
    sexes: dict[str, int]
    sources: dict[str, int]
    age_quartiles: tuple[float, float, float] | None


@dataclass(frozen=True)
class Colours:
    """What the points of the map are coloured by: codes into names (-1: not known), or numbers (None: not known)."""

    by: str
    names: list[str] | None = None
    codes: list[int] | None = None
    values: list[float | None] | None = None
    unit: str | None = None


def describe_rows(table: RowTable, rows: Sequence[int] | Int[ndarray, "n"]) -> GroupDescription:
    """Count what some rows are; a row that is given twice counts once.

    Raises:
        IndexError: there is no such row.
    """
    in_group_R = np.zeros(len(table), dtype=bool)
    in_group_R[check_rows(rows, len(table))] = True
    ages = table.age[in_group_R]
    ages = ages[~np.isnan(ages)]
    quartiles = np.quantile(ages.astype(np.float64), [0.25, 0.5, 0.75]).tolist() if len(ages) else None
    return GroupDescription(
        int(in_group_R.sum()),
        count_labels(table, in_group_R),
        _count(table.sex, in_group_R),
        _count(table.source, in_group_R),
        None if quartiles is None else (quartiles[0], quartiles[1], quartiles[2]),
    )


def count_labels(table: RowTable, in_group_R: Bool[ndarray, "rows"]) -> list[LabelCount]:
    """Labels of the rows of a group, most frequent first, then by name."""
    names, codes = table.label.names, table.label.codes
    of_all = np.bincount(codes, minlength=len(names))
    counts = np.bincount(codes[in_group_R[table.label_row]], minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return [LabelCount(names[i], int(counts[i]), int(of_all[i])) for i in order if counts[i]]


def colour_rows(table: RowTable, by: str) -> Colours:
    """A colour for every row: its first label (the most frequent ones, then `other`), age, sex or source.

    Raises:
        ValueError: anything else.
    """
    if by == "age":
        years = [None if np.isnan(age) else float(age) for age in table.age]
        return Colours(by, values=years, unit="years")
    if by == "label":
        coded = Coded(table.label.names, _first_labels(table))
    elif by in COLOURED_BY:
        coded = table.sex if by == "sex" else table.source
    else:
        raise QuestionError(f"colours by {by!r}, expected one of {', '.join(COLOURED_BY)}")
    names, codes_R = _most_frequent(coded)
    return Colours(by, names=names, codes=codes_R.tolist())


def _first_labels(table: RowTable) -> ndarray:
    first_R = np.full(len(table), -1, dtype=np.int32)
    first_R[table.label_row[::-1]] = table.label.codes[::-1]  # the last that is written stays
    return first_R


def _most_frequent(coded: Coded) -> tuple[list[str], ndarray]:
    there_R = coded.codes >= 0
    counts = np.bincount(coded.codes[there_R], minlength=len(coded.names))
    order = [int(code) for code in np.argsort(-counts, kind="stable") if counts[code]]
    kept = order[:COLOURED_LABELS]
    names = [coded.names[code] for code in kept]
    new = np.full(len(coded.names) + 1, len(names), dtype=np.int32)  # the last is the -1
    new[kept], new[-1] = np.arange(len(kept)), -1
    return names + [OTHER] * (len(order) > len(kept)), new[coded.codes]


def _count(coded: Coded, in_group_R: Bool[ndarray, "rows"]) -> dict[str, int]:
    codes = coded.codes[in_group_R]
    counts = np.bincount(codes[codes >= 0], minlength=len(coded.names))
    return {name: int(count) for name, count in zip(coded.names, counts, strict=True) if count}


def inside_polygon(
    places_R2: Float[ndarray, "rows 2"], polygon_V2: Float[ndarray, "vertices 2"]
) -> Int[ndarray, "found"]:
    """Rows whose place lies in a polygon; its last corner is joined to the first, and where it crosses itself the
    even-odd rule holds.

    Raises:
        ValueError: fewer than three corners, or one that is not finite.
    """
    from matplotlib.path import Path as Outline

    if len(polygon_V2) < 3:
        raise QuestionError(f"polygon: {len(polygon_V2)} corners, expected three or more")
    if not np.isfinite(polygon_V2).all():
        raise QuestionError("polygon: a corner is not finite")
    low, high = polygon_V2.min(axis=0), polygon_V2.max(axis=0)
    near = np.flatnonzero(((places_R2 >= low) & (places_R2 <= high)).all(axis=1))
    outline = Outline(np.vstack([polygon_V2, polygon_V2[:1]]), closed=True)
    return near[outline.contains_points(places_R2[near])]
