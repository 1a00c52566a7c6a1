"""Arrays -> the parts of answers.

Axes: L leads, S samples, P patches, W windows, D width, K classes.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Float64
from numpy import ndarray

from ecgjepa.evaluate.head import Head
from ecgjepa.leads import LEADS_12, LIMB_LEADS
from ecgjepa.predict.columns import units_of
from ecgjepa.search import IndexRow
from ecgjepa.serve.schemas import ClassOutput, IndexedRecord, Neighbour, Occlusion, Signal
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window

# A nanovolt: far below what any converter resolves, and short as text.
DECIMALS_OF_MV = 6


def signal_answer(
    record: str, windows: Sequence[Window], contract: SignalContract, recording_seconds: float | None
) -> Signal:
    """The first of some windows of a recording, with what was changed and is unusual in any of them."""
    shown = windows[0]
    changes, flags = (
        list(dict.fromkeys(word for window in windows for word in getattr(window, name)))
        for name in ("changes", "flags")
    )
    return Signal(
        record=record,
        sampling_rate_hz=contract.sampling_rate_hz,
        start_s=shown.start_s,
        seconds=shown.signal_mv.shape[1] / contract.sampling_rate_hz,
        windows=len(windows),
        recording_seconds=recording_seconds,
        leads=list(shown.leads),
        signal_mv={lead: numbers(mv, DECIMALS_OF_MV) for lead, mv in zip(shown.leads, shown.signal_mv, strict=True)},
        derived_mv={lead: numbers(mv, DECIMALS_OF_MV) for lead, mv in derived_leads(shown).items()},
        changes=changes,
        flags=flags,
    )


def derived_leads(window: Window) -> dict[str, Float[ndarray, "s"]]:
    """The limb leads that are not in a window and follow from two that are; none where fewer than two are."""
    there = [lead for lead in LIMB_LEADS if lead in window.leads][:2]
    if len(there) < 2:
        return {}
    weights_of_two = np.linalg.inv(np.array([LIMB_LEADS[lead] for lead in there]))
    two_mv = window.signal_mv[[window.leads.index(lead) for lead in there]]
    absent = [lead for lead in LEADS_12 if lead in LIMB_LEADS and lead not in window.leads]
    return {lead: np.array(LIMB_LEADS[lead]) @ weights_of_two @ two_mv for lead in absent}


def numbers(values: Float[ndarray, "n"], decimals: int) -> list[float | None]:
    """Numbers for JSON, rounded; None in place of NaN."""
    rounded = np.round(values.astype(np.float64), decimals)
    if not np.isnan(rounded).any():
        return rounded.tolist()
    return [None if value != value else value for value in rounded.tolist()]


def output_answers(head: Head, outputs_K: Float64[ndarray, "k"]) -> list[ClassOutput]:
    """What a head says, class by class."""
    if head.task == "regression":
        units = units_of(head)
        return [
            ClassOutput(name=name, value=value, unit=units.get(name))
            for name, value in zip(head.classes, outputs_K.tolist(), strict=True)
        ]
    called_K = head.decide(outputs_K[None])[0]
    thresholds = [None] * len(head.classes) if head.thresholds_K is None else head.thresholds_K.tolist()
    each = zip(head.classes, outputs_K.tolist(), thresholds, called_K.tolist(), strict=True)
    return [
        ClassOutput(name=name, probability=probability, threshold=threshold, called=called)
        for name, probability, threshold, called in each
    ]


def record_answer(row: IndexRow) -> IndexedRecord:
    """A row of the index."""
    return IndexedRecord(**_row(row))


def neighbour_answers(rows: Sequence[IndexRow], distances: Sequence[float]) -> list[Neighbour]:
    """Rows that are near, nearest first."""
    return [Neighbour(**_row(row), distance=max(0.0, distance)) for row, distance in zip(rows, distances, strict=True)]


def _row(row: IndexRow) -> dict[str, object]:
    return {
        "row": row.row,
        "record": row.record,
        "window": row.window,
        "start_s": row.start_s,
        "labels": list(row.labels),
        "age": row.age,
        "sex": row.sex,
        "source": row.source,
    }


def occlusion_answer(
    record: str, class_name: str, window: Window, fall_LP: Float64[ndarray, "l p"], patch_seconds: float, stretch: int
) -> Occlusion:
    """A map of what a class rests on."""
    return Occlusion(
        record=record,
        class_name=class_name,
        score="log_odds",
        patch_seconds=patch_seconds,
        stretch_patches=stretch,
        start_s=window.start_s,
        leads=list(window.leads),
        fall={lead: numbers(fall_P, DECIMALS_OF_MV) for lead, fall_P in zip(window.leads, fall_LP, strict=True)},
    )


def place_answer(place: Float32[ndarray, "2"]) -> tuple[float, float] | None:
    """A place on the map, None where it is not known."""
    return (float(place[0]), float(place[1])) if np.isfinite(place).all() else None
