"""Windows of ECGs -> analyses: embedded, classified, compared with the archive. A refusal hits the ECG that caused it.

Axes: Q ECGs, W windows of one, D width, K classes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from starlette.concurrency import run_in_threadpool

from ecgjepa.errors import RefusedRecordError
from ecgjepa.model.embedding import mean_of_windows
from ecgjepa.predict.predictor import average_of_windows
from ecgjepa.search import NO_FILTERS, Filters, Neighbours, SearchIndex
from ecgjepa.serve.answers import neighbour_answers, output_answers, place_answer, signal_answer
from ecgjepa.serve.batching import Row, Run
from ecgjepa.serve.schemas import Analysis, Neighbour
from ecgjepa.serve.shared import Serving
from ecgjepa.windows import Window

# Neighbours whose mean is the place of an ECG on the map.
PLACED_BY = 6

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is wanted of an ECG."""

    neighbours: int = 6
    filters: Filters = NO_FILTERS
    signal: bool = True
    embedding: bool = True


@dataclass(frozen=True)
class Taken:
    """What was read of one ECG.

    Attributes:
        record: what it is called.
        windows: for the encoder, and for the classifier where that reads something else.
        seconds: length of the recording, where it is known.
    """

    record: str
    windows: tuple[list[Window], ...]
    seconds: float | None = None


@dataclass(frozen=True)
class Found:
    """What the networks say of one ECG."""

    embedding_D: Float32[ndarray, "d"]
    outputs_K: Float64[ndarray, "k"] | None = None


@dataclass(frozen=True)
class Near:
    """What is near one ECG."""

    neighbours: list[Neighbour] = field(default_factory=list)
    place: tuple[float, float] | None = None


async def analyse(serving: Serving, ecgs: Sequence[Taken], asked: Asked) -> list[Analysis | RefusedRecordError]:
    """An analysis of each ECG, in their order, or why there is none.

    Raises:
        QueueFullError, ModelClosedError: of the model.
        NoAnswerError: a filter that the index does not know.
    """
    found = await run_networks(serving, ecgs)
    good = [(ecg, each) for ecg, each in zip(ecgs, found, strict=True) if isinstance(each, Found)]
    near = await find_near(serving, [each.embedding_D for _, each in good], asked)
    answers = await run_in_threadpool(_answers, serving, good, near, asked)
    serving.metrics.embedded.inc(len(good))
    waiting = iter(answers)
    return [each if isinstance(each, RefusedRecordError) else next(waiting) for each in found]


async def run_networks(serving: Serving, ecgs: Sequence[Taken]) -> list[Found | RefusedRecordError]:
    """Embeddings and outputs, the mean over the windows of each ECG.

    Raises:
        QueueFullError, ModelClosedError: of the model.
    """
    served = serving.served
    embedded = await _rows(serving, served.embed, [(ecg.record, ecg.windows[0]) for ecg in ecgs])
    read = embedded
    if served.classifier is not None and not served.heads_read_embeddings:
        read = await _rows(serving, served.features, [(ecg.record, ecg.windows[1]) for ecg in ecgs])
    found: list[Found | RefusedRecordError] = []
    for ecg, rows_WD, features_WD in zip(ecgs, embedded, read, strict=True):
        if isinstance(rows_WD, RefusedRecordError) or isinstance(features_WD, RefusedRecordError):
            found.append(rows_WD if isinstance(rows_WD, RefusedRecordError) else features_WD)  # type: ignore[arg-type]
            continue
        one = len(rows_WD) == 1
        embedding_D = rows_WD[0] if one else mean_of_windows(served.encoder, rows_WD, ecg.windows[0])
        outputs_K = None
        if served.classifier is not None:
            patch_samples = served.classifier.encoder.config.patch_samples
            outputs_K = average_of_windows(served.outputs(features_WD), ecg.windows[-1], patch_samples)
        found.append(Found(embedding_D, outputs_K))
    return found


async def _rows(
    serving: Serving, run: Run, ecgs: Sequence[tuple[str, list[Window]]]
) -> list[Float32[ndarray, "w d"] | RefusedRecordError]:
    """Rows of the windows of each ECG; a few hundred windows are asked for at a time."""
    flat, rows = [window for _, windows in ecgs for window in windows], list[Row]()
    at_once = serving.model.most_waiting // 4
    for start in range(0, len(flat), at_once):
        rows += await serving.model.features(run, flat[start : start + at_once])
    each = iter(rows)
    return [_checked(record, [next(each) for _ in windows]) for record, windows in ecgs]


def _checked(record: str, rows: list[Row]) -> Float32[ndarray, "w d"] | RefusedRecordError:
    for row in rows:
        if isinstance(row, Exception):
            _LOG.error("the network fails on one window alone", exc_info=row)
            return RefusedRecordError(record, "not_embeddable", f"the network fails on it: {type(row).__name__}")
    stacked_WD = np.stack([row for row in rows if not isinstance(row, Exception)])
    if not np.isfinite(stacked_WD).all():
        return RefusedRecordError(record, "not_finite_embedding", "the encoder gives numbers that are not finite")
    return stacked_WD


async def find_near(
    serving: Serving, embeddings: Sequence[Float32[ndarray, "d"]], asked: Asked, leave_out: Sequence[int] = ()
) -> list[Near]:
    """Neighbours of each embedding, and its place on the map; nothing without an index.

    Raises:
        NoAnswerError: a filter that the index does not know.
    """
    index = serving.served.index
    if index is None or not embeddings:
        return [Near() for _ in embeddings]
    near: list[Near] = await serving.search(_near, index, np.stack(embeddings), asked, leave_out)
    return near


def _near(
    index: SearchIndex, queries_QD: Float32[ndarray, "q d"], asked: Asked, leave_out: Sequence[int]
) -> list[Near]:
    k = max(asked.neighbours, PLACED_BY)
    wanted = around = index.nearest(queries_QD, k, filters=asked.filters, leave_out=leave_out)
    if asked.filters != NO_FILTERS and index.places_R2 is not None:  # on which a place does not depend
        around = index.nearest(queries_QD, PLACED_BY, leave_out=leave_out)
    places: Sequence[ndarray | None] = [None] * len(queries_QD)
    if index.places_R2 is not None:
        around = Neighbours(around.rows_QK[:, :PLACED_BY], around.distances_QK[:, :PLACED_BY])
        places = list(index.place_of(around))
    near = []
    for rows_K, distances_K, place in zip(wanted.rows_QK, wanted.distances_QK, places, strict=True):
        there_K = (rows_K >= 0) & (np.arange(k) < asked.neighbours)
        rows = index.records(rows_K[there_K].tolist())
        answer = neighbour_answers(rows, distances_K[there_K].tolist())
        near.append(Near(answer, None if place is None else place_answer(place)))
    return near


def _answers(
    serving: Serving, good: Sequence[tuple[Taken, Found]], near: Sequence[Near], asked: Asked
) -> list[Analysis]:
    return [answer_of(serving, ecg, found, each, asked) for (ecg, found), each in zip(good, near, strict=True)]


def answer_of(serving: Serving, ecg: Taken, found: Found, near: Near, asked: Asked) -> Analysis:
    """All that is said of one ECG."""
    served = serving.served
    outputs = []
    if served.classifier is not None and found.outputs_K is not None:
        outputs = output_answers(served.classifier.head, found.outputs_K)
    signal = None
    if asked.signal and ecg.windows and ecg.windows[0]:
        signal = signal_answer(ecg.record, ecg.windows[0], served.encoder.contract, ecg.seconds)
    return Analysis(
        record=ecg.record,
        signal=signal,
        embedding=found.embedding_D.tolist() if asked.embedding else None,
        outputs=outputs,
        called=[output.name for output in outputs if output.called],
        neighbours=near.neighbours,
        place=near.place,
    )
