"""Whatever goes wrong -> an answer with a status, a reason and what was found."""

import logging
import reprlib
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ecgjepa.data.listings.listing import printable
from ecgjepa.errors import RefusedRecordError
from ecgjepa.serve.batching import ModelClosedError, QueueFullError
from ecgjepa.serve.examples import REFUSED
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.metrics import Metrics
from ecgjepa.serve.reading.pool import NoRoomError, ReaderLostError
from ecgjepa.serve.schemas import Answer, Problem, Refused

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOG = logging.getLogger(__name__)
MAX_DETAIL = 600
# Of a value that is shown in part, the rest is not made into text either.
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 80
_REASONS = {400: "malformed_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_DESCRIBED = {
    400: "The request cannot be understood.",
    401: "A token is needed, or the one given is wrong.",
    403: "A page or host that is not allowed asks.",
    404: "There is no such thing.",
    405: "Another method is expected.",
    408: "The body came too slowly.",
    413: "The body, or what it holds, is too large.",
    415: "No file of an ECG format.",
    422: "The ECG is refused, or a parameter is wrong.",
    429: "Too much is asked for at once; ask again after `Retry-After` seconds.",
    503: "Not ready, or the reading was cut short; ask again after `Retry-After` seconds.",
}


def documented(*statuses: int, example: Answer | None = None) -> dict[int | str, dict[str, Any]]:
    """Answers of a route, for the OpenAPI description: refusals, those of the gate too, and how a good one looks."""
    everywhere = {400, 401, 403, 405, 413, 422, 429, 503}
    answers: dict[int | str, dict[str, Any]] = {}
    if example is not None:
        answers[200] = {"content": {"application/json": {"example": example.model_dump(mode="json")}}}
    refused = {"application/json": {"example": REFUSED.model_dump(mode="json")}}
    for status in sorted(everywhere | {*statuses}):
        answers[status] = {"model": Refused, "description": _DESCRIBED[status]}
        answers[status] |= {"content": refused} if status == 422 else {}
    return answers


def documented_text() -> dict[int | str, dict[str, Any]]:
    """The same for a route whose answer is text, of which FastAPI would take refusals to be as well."""
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    json = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Refused.__name__}"}}}
    refusals = documented()
    return text | {status: {"description": refusals[status]["description"], "content": json} for status in refusals}


class NoAnswerError(Exception):
    """A request that gets no answer."""

    def __init__(self, status: int, reason: str, detail: str, record: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.reason, self.detail, self.record = status, reason, detail, record


def problem_of(refusal: RefusedRecordError) -> Problem:
    """Why an ECG is refused."""
    return Problem(reason=refusal.reason, detail=_line(refusal.detail), record=_line(refusal.record))


def refused_answer(status: int, problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """The body that every answer has that is not 2xx."""
    return Response(Refused.body(problem), status, headers, "application/json")


def add_handlers(app: FastAPI, metrics: Metrics, limits: Limits) -> None:
    """Answer every error that a request can end in."""

    def answer(status: int, problem: Problem, headers: Any = None) -> Response:
        metrics.refused.labels(problem.reason).inc()
        told = dict(headers or {})
        if status in (429, 503):
            told.setdefault("Retry-After", str(limits.retry_after_seconds))
        return refused_answer(status, problem, told)

    @app.exception_handler(NoAnswerError)
    async def no_answer(request: Request, error: NoAnswerError) -> Response:
        return answer(error.status, Problem(reason=error.reason, detail=_line(error.detail), record=error.record))

    @app.exception_handler(RefusedRecordError)
    async def refused_record(request: Request, error: RefusedRecordError) -> Response:
        return answer(415 if error.reason == "unknown_format" else 422, problem_of(error))

    @app.exception_handler(ReaderLostError)
    async def reader_lost(request: Request, error: ReaderLostError) -> Response:
        return answer(503, Problem(reason="reader_lost", detail=_line(str(error)), record=None))

    @app.exception_handler(NoRoomError)
    async def no_room(request: Request, error: NoRoomError) -> Response:
        return answer(503, Problem(reason="no_room", detail=_line(str(error)), record=None))

    @app.exception_handler(QueueFullError)
    async def queue_full(request: Request, error: QueueFullError) -> Response:
        return answer(429, Problem(reason="busy", detail=_line(str(error)), record=None))

    @app.exception_handler(ModelClosedError)
    async def not_ready(request: Request, error: ModelClosedError) -> Response:
        return answer(503, Problem(reason="not_ready", detail=_line(str(error)), record=None))

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            detail = f"the body is no JSON: {first.get('ctx', {}).get('error', '')}"
            return answer(400, Problem(reason="malformed_request", detail=_line(detail), record=None))
        place = ".".join(str(part) for part in first["loc"][1:]) or "body"
        found = "" if first["type"] == "missing" else f", found {_short(first.get('input'))}"
        more = f" (and {len(error.errors()) - 1} more)" if len(error.errors()) > 1 else ""
        detail = _line(f"{place}: {first['msg']}{found}{more}")
        return answer(422, Problem(reason="wrong_parameter", detail=detail, record=None))

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> Response:
        detail = f"{request.method} {request.url.path}" if error.status_code in (404, 405) else str(error.detail)
        reason = _REASONS.get(error.status_code, "refused")
        return answer(error.status_code, Problem(reason=reason, detail=_line(detail), record=None), error.headers)


class LastResort:
    """Answers what nobody foresaw: a line for the client, the traceback for the log."""

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One request."""
        begun = False

        async def note_start(message: "Message") -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, note_start)
        except ClientDisconnect:
            return  # nobody is there to answer
        except Exception:
            if scope["type"] != "http" or begun:
                raise
            _LOG.exception("a request ended in an error that is not the client's")
            self.metrics.refused.labels("internal_error").inc()
            problem = Problem(reason="internal_error", detail="an error of the server; its log says more", record=None)
            await refused_answer(500, problem)(scope, receive, send)


def _line(text: str) -> str:
    """One line that every terminal and page can show."""
    line = printable(" ".join(text[: 2 * MAX_DETAIL].split()))
    return line if len(line) <= MAX_DETAIL else f"{line[:MAX_DETAIL]} ..."


def _short(value: Any) -> str:
    text = _REPR.repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."
