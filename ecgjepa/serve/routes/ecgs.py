"""ECGs that clients send: analysed, one or many, and what a class rests on. Nothing of them is kept."""

from typing import Annotated, Any

from fastapi import APIRouter, Form
from starlette.responses import Response

from ecgjepa.errors import RefusedRecordError
from ecgjepa.serve import examples
from ecgjepa.serve.analysing import analyse
from ecgjepa.serve.answers import occlusion_answer
from ecgjepa.serve.forms import Embedding, Files, Reading, SearchForm, Signal, prepare, read_uploads, taken_of
from ecgjepa.serve.refusals import NoAnswerError, documented, problem_of
from ecgjepa.serve.schemas import Analysis, Batch, BatchItem, Occlusion
from ecgjepa.serve.shared import Serving, Shared, json_answer
from ecgjepa.windows import Window

router = APIRouter(prefix="/api/ecgs", tags=["ECGs that are sent"])
ClassName = Annotated[str, Form(min_length=1, max_length=400, description="one of `about.classifier.classes`")]
Stretch = Annotated[int, Form(ge=1, le=1000, description="patches that are hidden at once")]


@router.post(
    "",
    response_model=Analysis,
    responses=documented(404, 408, 415, example=examples.ANALYSIS),
    summary="Analyse one ECG",
)
async def analyse_ecg(
    serving: Shared,
    files: Files,
    reading: Reading,
    search: SearchForm,
    signal: Signal = True,
    embedding: Embedding = True,
) -> Response:
    """One ECG in any format -> signal, embedding, probabilities, nearest ECGs of the archive, place on the map."""
    asked = await prepare(serving, search, signal, embedding)
    ecg = _one(await read_uploads(serving, files, reading, many=False))
    found = (await analyse(serving, [taken_of(ecg)], asked))[0]
    if isinstance(found, RefusedRecordError):
        raise found
    return json_answer(found)


@router.post(
    "/batch",
    response_model=Batch,
    responses=documented(404, 408, 415, example=examples.BATCH),
    summary="Analyse many ECGs",
)
async def analyse_many(
    serving: Shared,
    files: Files,
    reading: Reading,
    search: SearchForm,
    signal: Signal = False,
    embedding: Embedding = True,
) -> Response:
    """Many ECGs -> an analysis of each, or why there is none; the others are not held up by it.

    A header with its signal file is one ECG, and so is each row of a file that holds many.
    """
    asked = await prepare(serving, search, signal, embedding)
    read = await read_uploads(serving, files, reading, many=True)
    good = [ecg for ecg in read if not isinstance(ecg, RefusedRecordError)]
    analyses = iter(await analyse(serving, [taken_of(ecg) for ecg in good], asked))
    found = [ecg if isinstance(ecg, RefusedRecordError) else next(analyses) for ecg in read]
    return json_answer(Batch(items=[_item(serving, each) for each in found]))


@router.post(
    "/occlusion",
    response_model=Occlusion,
    responses=documented(404, 408, 415, example=examples.OCCLUSION),
    summary="What a class rests on",
)
async def occlude_ecg(
    serving: Shared, files: Files, reading: Reading, class_name: ClassName, stretch_patches: Stretch = 2
) -> Response:
    """By how much the log odds of a class fall when a stretch of a lead of the ECG is hidden."""
    check_class(serving, class_name)
    ecg = _one(await read_uploads(serving, files, reading, many=False, contracts=slice(-1, None)))
    return json_answer(await occlude(serving, ecg.record, ecg.windows[0], class_name, stretch_patches))


def check_class(serving: Serving, class_name: str) -> None:
    """Raises NoAnswerError where there is no classifier, or none of its classes has this name."""
    classifier = serving.served.classifier
    if classifier is None:
        raise NoAnswerError(404, "no_classifier", "no classifier is served; the server was started without --model")
    if class_name not in classifier.head.classes:
        expected = ", ".join(classifier.head.classes[:20])
        raise NoAnswerError(422, "unknown_class", f"no class {class_name!r}, expected one of {expected}")


async def occlude(
    serving: Serving, record: str, windows: list[Window], class_name: str, stretch_patches: int
) -> Occlusion:
    """The map of the window that is shown: the first.

    Raises:
        RefusedRecordError, QueueFullError, ModelClosedError: see `Occluder.map`.
    """
    classifier = serving.served.classifier
    assert classifier is not None, "see check_class"
    encoder = classifier.encoder
    fall_LP = await serving.occluder.map(record, windows[0], class_name, stretch_patches)
    patch_seconds = encoder.config.patch_samples / encoder.contract.sampling_rate_hz
    return occlusion_answer(record, class_name, windows[0], fall_LP, patch_seconds, stretch_patches)


def _one(read: list[Any]) -> Any:
    assert len(read) == 1, "asked for one"
    if isinstance(read[0], RefusedRecordError):
        raise read[0]
    return read[0]


def _item(serving: Serving, found: Analysis | RefusedRecordError) -> BatchItem:
    if isinstance(found, Analysis):
        return BatchItem(record=found.record, analysis=found)
    serving.metrics.refused.labels(found.reason).inc()
    problem = problem_of(found)
    return BatchItem(record=problem.record or "", error=problem)
