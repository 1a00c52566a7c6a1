"""What is served and how it fares, and the page."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

import ecgjepa
from ecgjepa.data.readers import SUFFIXES
from ecgjepa.serve.archive import rows_to_look_at
from ecgjepa.serve.metrics import CONTENT_TYPE
from ecgjepa.serve.reading.uploads import SIGNAL_SUFFIXES
from ecgjepa.serve.refusals import NoAnswerError, documented, documented_text
from ecgjepa.serve.schemas import About, AboutClassifier, AboutEncoder, AboutIndex, LabelCount
from ecgjepa.serve.served import Served
from ecgjepa.serve.shared import JSON, Serving, Shared

router = APIRouter()
PAGE = Path(__file__).parents[1] / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@router.get("/api/about", response_model=About, responses=documented(), tags=["service"], summary="What is served")
async def about(serving: Shared) -> Response:
    """Encoder, classifier and archive that are served, and how much may be asked for."""
    if "about" not in serving.kept:  # made once, since it hashes all weights
        answer: About = await serving.search(describe, serving)
        serving.kept["about"] = answer.model_dump_json().encode()
    return Response(serving.kept["about"], media_type=JSON)


@router.get(
    "/healthz", response_class=PlainTextResponse, responses=documented_text(), tags=["service"],
    summary="Whether the process lives",
)  # fmt: skip
async def is_alive() -> Response:
    """Answers as long as the server does."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz", response_class=PlainTextResponse, responses=documented_text(), tags=["service"],
    summary="Whether it can work",
)  # fmt: skip
async def is_ready(request: Request) -> Response:
    """503 until readers and model are warm, and again when the server is stopping."""
    serving: Serving = request.app.state.serving
    serving.check_ready()
    return PlainTextResponse("ready\n")


@router.get(
    "/metrics", response_class=PlainTextResponse, responses=documented_text(), tags=["service"],
    summary="Counts, for Prometheus",
)  # fmt: skip
async def metrics(request: Request) -> Response:
    """Requests, seconds, batches, refusals, readers; no record is named."""
    serving: Serving = request.app.state.serving
    return Response(serving.metrics.text(), headers={"Content-Type": CONTENT_TYPE})


@router.get("/", include_in_schema=False)
async def page() -> Response:
    """The page."""
    return _file("index.html")


@router.get("/static/{name}", include_in_schema=False)
async def static(name: str) -> Response:
    """A part of the page; the name is looked up among the files that are there, and never becomes a path."""
    return _file(name)


def _file(name: str) -> Response:
    there = {file.name: file for file in PAGE.iterdir() if file.is_file()} if PAGE.is_dir() else {}
    if name not in there or there[name].suffix not in _TYPES:
        raise NoAnswerError(404, "not_found", f"no file of the page is called {name[:100]!r}")
    return Response(there[name].read_bytes(), media_type=_TYPES[there[name].suffix])


def describe(serving: Serving) -> About:
    """What `/api/about` says."""
    served, limits = serving.served, serving.limits
    contract, head = served.encoder.contract, None if served.classifier is None else served.classifier.head
    encoder = AboutEncoder(
        source=served.source,
        weights_sha256=served.encoder.weights_sha256(),
        width=served.encoder.config.width,
        leads=list(contract.leads),
        sampling_rate_hz=contract.sampling_rate_hz,
        seconds=contract.seconds,
    )
    classifier = None
    if head is not None:
        classifier = AboutClassifier(source=served.classifier_source, task=head.task, classes=list(head.classes))
    return About(
        version=ecgjepa.__version__,
        encoder=encoder,
        classifier=classifier,
        index=_describe_index(served),
        formats=sorted({*SUFFIXES, *SIGNAL_SUFFIXES}),
        max_upload_bytes=limits.max_upload_bytes,
        max_files=limits.max_files,
        max_batch_ecgs=limits.max_batch_ecgs,
        token_required=serving.token_required,
    )


def _describe_index(served: Served) -> AboutIndex | None:
    index = served.index
    if index is None:
        return None
    return AboutIndex(
        rows=len(index),
        metric=index.metric,
        level=index.level,
        labels=[LabelCount(label=label, count=count, of_all=count) for label, count in index.label_counts],
        sexes=index.sexes,
        sources=index.sources,
        has_map=index.places_R2 is not None,
        has_signals=served.archive.can_draw(index.records(rows_to_look_at(len(index)))),
    )
