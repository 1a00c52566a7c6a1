"""ECGs of the archive: found by name, analysed, drawn, explained.

Axes: D width, K classes.
"""

from typing import Annotated

from fastapi import APIRouter, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecgjepa.embed.entries import Entry
from ecgjepa.errors import RefusedRecordError
from ecgjepa.search import IndexRow
from ecgjepa.serve import examples
from ecgjepa.serve.analysing import Asked, Found, Taken, answer_of, find_near, run_networks
from ecgjepa.serve.answers import record_answer, signal_answer
from ecgjepa.serve.archive import read_row
from ecgjepa.serve.forms import MOST_NEIGHBOURS, FiltersQuery
from ecgjepa.serve.refusals import NoAnswerError, documented
from ecgjepa.serve.routes.ecgs import check_class, occlude
from ecgjepa.serve.schemas import Analysis, Occlusion, RecordPage, Signal
from ecgjepa.serve.shared import Serving, Shared, json_answer
from ecgjepa.windows import Window

router = APIRouter(prefix="/api/records", tags=["ECGs of the archive"])
Row = Annotated[int, Path(ge=0, le=2**40, description="row of the index")]
MOST_LISTED = 500


@router.get(
    "",
    response_model=RecordPage,
    responses=documented(404, example=examples.RECORD_PAGE),
    summary="Find records by name",
)
async def find_records(
    serving: Shared,
    filters: FiltersQuery,
    q: Annotated[str, Query(max_length=400, description="part of a record's name")] = "",
    offset: Annotated[int, Query(ge=0, le=2**40)] = 0,
    limit: Annotated[int, Query(ge=0, le=MOST_LISTED)] = 50,
) -> Response:
    """Records whose name contains a text, in upper or lower case, in the order of the index."""
    rows, total = await serving.search(serving.index.find, q, filters, offset, limit)
    records = await serving.search(serving.index.records, rows)
    return json_answer(RecordPage(total=total, offset=offset, records=[record_answer(row) for row in records]))


@router.get(
    "/{row}",
    response_model=Analysis,
    responses=documented(404, example=examples.ANALYSIS),
    summary="Analyse a record of the archive",
)
async def analyse_record(
    serving: Shared,
    row: Row,
    filters: FiltersQuery,
    neighbours: Annotated[int, Query(ge=0, le=MOST_NEIGHBOURS)] = 6,
    signal: Annotated[bool, Query(description="with the standardised signal, where it can be read")] = True,
    embedding: Annotated[bool, Query(description="with the embedding")] = True,
) -> Response:
    """What is said of an ECG of the archive; it is not among its own neighbours.

    Without probabilities if its signal cannot be read and they do not follow from its embedding alone.
    """
    index, served = serving.index, serving.served
    record = (await serving.search(index.records, [row]))[0]
    embedding_D = (await serving.search(index.embeddings, [row]))[0]
    asked = Asked(neighbours, filters, signal, embedding)
    near = (await find_near(serving, [embedding_D], asked, leave_out=[row]))[0]
    follows = served.heads_read_embeddings and record.window is not None
    taken, outputs_K = Taken(record.record, ()), None
    if follows:
        outputs_K = served.outputs(embedding_D[None])[0]
    entry = await run_in_threadpool(served.archive.locate, record)  # may read the names of a store
    if entry is not None and (signal or not follows):
        taken = await _take(serving, entry, record)
        if served.classifier is not None and not follows:
            said = (await run_networks(serving, [taken]))[0]
            outputs_K = said.outputs_K if isinstance(said, Found) else None
    answer = await run_in_threadpool(answer_of, serving, taken, Found(embedding_D, outputs_K), near, asked)
    if index.places_R2 is not None:
        x, y = index.places_R2[row].tolist()
        answer = answer.model_copy(update={"place": (x, y)})
    return json_answer(answer)


@router.get(
    "/{row}/signal",
    response_model=Signal,
    responses=documented(404, example=examples.SIGNAL),
    summary="The signal of a record",
)
async def draw_record(serving: Shared, row: Row) -> Response:
    """The standardised signal of an ECG of the archive."""
    record, entry = await _located(serving, row)
    taken = await _take(serving, entry, record)
    contract = serving.served.encoder.contract
    answer = await run_in_threadpool(signal_answer, record.record, taken.windows[0], contract, None)
    return json_answer(answer)


@router.get(
    "/{row}/occlusion",
    response_model=Occlusion,
    responses=documented(404, example=examples.OCCLUSION),
    summary="What a class of it rests on",
)
async def occlude_record(
    serving: Shared,
    row: Row,
    class_name: Annotated[str, Query(min_length=1, max_length=400)],
    stretch_patches: Annotated[int, Query(ge=1, le=1000)] = 2,
) -> Response:
    """By how much the log odds of a class fall when a stretch of a lead of the record is hidden."""
    check_class(serving, class_name)
    record, entry = await _located(serving, row)
    taken = await _take(serving, entry, record)
    return json_answer(await occlude(serving, record.record, taken.windows[-1], class_name, stretch_patches))


async def _located(serving: Serving, row: int) -> tuple[IndexRow, Entry]:
    record = (await serving.search(serving.index.records, [row]))[0]
    entry = await run_in_threadpool(serving.served.archive.locate, record)
    if entry is None:
        raise NoAnswerError(404, "no_signal", "its ECG is not where it was embedded, and in no --store", record.record)
    return record, entry


async def _take(serving: Serving, entry: Entry, record: IndexRow) -> Taken:
    """Windows for all networks, read from the archive in a thread."""
    served = serving.served

    def read() -> tuple[list[Window], ...]:
        networks = zip(served.contracts, served.patch_samples, strict=True)
        return tuple(read_row(entry, record, contract, patch_samples) for contract, patch_samples in networks)

    try:
        return Taken(record.record, await run_in_threadpool(read))
    except RefusedRecordError as refusal:
        raise NoAnswerError(404, "no_signal", f"{refusal.detail} [{refusal.reason}]", record.record) from refusal
