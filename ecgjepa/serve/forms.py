"""What clients send: files of ECGs, what these do not say about themselves, and what is wanted."""

from typing import Annotated, Any, Literal

from fastapi import Depends, File, Form, Query, UploadFile

from ecgjepa.data.formats.hints import Hints
from ecgjepa.embed.inputs import split_leads
from ecgjepa.errors import RefusedRecordError
from ecgjepa.search import Filters
from ecgjepa.serve.analysing import Asked, Taken
from ecgjepa.serve.reading.pool import ReadECG, Wanted
from ecgjepa.serve.reading.uploads import UploadedFile
from ecgjepa.serve.refusals import NoAnswerError
from ecgjepa.serve.shared import Serving

MOST_NEIGHBOURS = 100
MOST_WORDS = 64
MOST_LETTERS = 400
_YEARS = {"ge": 0, "le": 200, "allow_inf_nan": False}

Files = Annotated[
    list[UploadFile],
    File(description="the file of an ECG; of WFDB the header and its signal file, two parts of this name"),
]


def search_form(
    neighbours: Annotated[int, Form(ge=0, le=MOST_NEIGHBOURS, description="how many of the archive")] = 6,
    label: Annotated[list[str], Form(max_length=MOST_WORDS, description="any of these, of neighbours")] = [],  # noqa: B006
    sex: Annotated[list[str], Form(max_length=MOST_WORDS)] = [],  # noqa: B006
    source: Annotated[list[str], Form(max_length=MOST_WORDS)] = [],  # noqa: B006
    age_min: Annotated[float | None, Form(**_YEARS)] = None,
    age_max: Annotated[float | None, Form(**_YEARS)] = None,
) -> tuple[int, Filters]:
    """How many neighbours, and which, of a form."""
    return neighbours, _filters(label, sex, source, age_min, age_max)


def filters_query(
    label: Annotated[list[str], Query(max_length=MOST_WORDS, description="any of these")] = [],  # noqa: B006
    sex: Annotated[list[str], Query(max_length=MOST_WORDS)] = [],  # noqa: B006
    source: Annotated[list[str], Query(max_length=MOST_WORDS)] = [],  # noqa: B006
    age_min: Annotated[float | None, Query(**_YEARS)] = None,
    age_max: Annotated[float | None, Query(**_YEARS)] = None,
) -> Filters:
    """Which rows, of a query."""
    return _filters(label, sex, source, age_min, age_max)


def _filters(
    label: list[str], sex: list[str], source: list[str], age_min: float | None, age_max: float | None
) -> Filters:
    try:
        return Filters(tuple(label), tuple(sex), tuple(source), age_min, age_max)
    except ValueError as error:
        raise NoAnswerError(422, "wrong_parameter", str(error)) from error


def reading_form(
    row: Annotated[int | None, Form(ge=0, le=2**31, description="of a file that holds many")] = None,
    sampling_rate_hz: Annotated[
        float | None, Form(gt=0, le=100_000, allow_inf_nan=False, description="of a file that does not say it")
    ] = None,
    leads: Annotated[
        str | None, Form(max_length=MOST_LETTERS, description="of a file that does not say them", examples=["I,II,V1"])
    ] = None,
    unit: Annotated[
        str | None, Form(max_length=MOST_LETTERS, description="of a file that does not say it", examples=["mV"])
    ] = None,
    gain_per_mv: Annotated[
        float | None, Form(gt=0, allow_inf_nan=False, description="counts per mV, for the unit adc")
    ] = None,
    windows: Annotated[
        Literal["first", "mean"], Form(description="of a longer recording: its first window, or the mean of all")
    ] = "first",
) -> dict[str, Any]:
    """How to read a file, of a form."""
    try:
        hints = Hints(sampling_rate_hz, split_leads(leads) if leads else None, unit, gain_per_mv)
    except ValueError as error:
        raise NoAnswerError(422, "wrong_parameter", str(error)) from error
    return {"row": row, "hints": hints, "windows": windows}


Reading = Annotated[dict[str, Any], Depends(reading_form)]
SearchForm = Annotated[tuple[int, Filters], Depends(search_form)]
FiltersQuery = Annotated[Filters, Depends(filters_query)]
Signal = Annotated[bool, Form(description="with the standardised signal")]
Embedding = Annotated[bool, Form(description="with the embedding")]


async def prepare(serving: Serving, search: tuple[int, Filters], signal: bool, embedding: bool) -> Asked:
    """What is asked for, checked before anything is read.

    Raises:
        NoAnswerError: a filter that cannot be met.
    """
    neighbours, filters = search
    await serving.check_filters(filters)
    return Asked(neighbours, filters, signal, embedding)


async def read_uploads(
    serving: Serving, files: list[UploadFile], reading: dict[str, Any], *, many: bool, contracts: slice = slice(None)
) -> list[ReadECG | RefusedRecordError]:
    """Have files read in a process that may be ended.

    Args:
        many: each file, or pair of files, is an ECG of its own, and each row of a file that holds many.
        contracts: for which of the networks.

    Raises:
        RefusedRecordError, ReaderLostError: see `ReaderPool.read`.
    """
    sent = [UploadedFile(file.filename or "file", file.file) for file in files]
    wanted = Wanted(
        contracts=serving.served.contracts[contracts],
        patch_samples=serving.served.patch_samples[contracts],
        windows=reading["windows"],
        hints=reading["hints"],
        row=reading["row"],
        many=many,
        max_ecgs=serving.limits.max_batch_ecgs if many else 1,
    )
    with serving.model.expect():
        return await serving.readers.read(sent, wanted)


def taken_of(ecg: ReadECG) -> Taken:
    """What was read, as the networks take it."""
    return Taken(ecg.record, tuple(list(windows) for windows in ecg.windows), ecg.seconds)
