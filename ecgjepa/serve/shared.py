"""What the routes of one app share: what is served, the readers, the model's thread, the counts."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecgjepa.search import NO_FILTERS, Filters, QuestionError, SearchIndex
from ecgjepa.serve.batching import ModelThread
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.metrics import Metrics
from ecgjepa.serve.occluding import Occluder
from ecgjepa.serve.reading.pool import ReaderPool
from ecgjepa.serve.refusals import NoAnswerError
from ecgjepa.serve.schemas import Answer
from ecgjepa.serve.served import Served

JSON = "application/json"


@dataclass(eq=False)
class Serving:
    """Everything that a request may need.

    Attributes:
        is_ready: readers and model are warm, and the server is not stopping.
        kept: answers that are made once, as bytes.
    """

    served: Served
    limits: Limits
    readers: ReaderPool
    model: ModelThread
    occluder: Occluder
    metrics: Metrics
    token_required: bool
    is_ready: bool = False
    kept: dict[str, bytes] = field(default_factory=dict)

    @property
    def index(self) -> SearchIndex:
        """The archive that is searched.

        Raises:
            NoAnswerError: none is served.
        """
        if self.served.index is None:
            raise NoAnswerError(404, "no_index", "no archive is served; the server was started without --index")
        return self.served.index

    def check_ready(self) -> None:
        """Raises NoAnswerError, 503, before readers and model are warm and after shutdown began."""
        if not self.is_ready:
            raise NoAnswerError(503, "not_ready", "readers and model are not warm, or the server is stopping")

    async def check_filters(self, filters: Filters) -> None:
        """Whether an index is there to be filtered, and knows what is asked for; before anything is read.

        Raises:
            NoAnswerError: not so.
        """
        if filters != NO_FILTERS:
            await self.search(self.index.find, "", filters, 0, 0)

    async def search(self, ask: Any, *arguments: Any, **named: Any) -> Any:
        """Ask the index something in a thread of its own.

        Raises:
            NoAnswerError: it knows no such label, sex, source, row or place.
        """
        try:
            return await run_in_threadpool(ask, *arguments, **named)
        except IndexError as error:
            raise NoAnswerError(404, "no_such_row", str(error)) from error
        except QuestionError as error:
            raise NoAnswerError(422, "wrong_parameter", str(error)) from error


def serving_of(request: Request) -> Serving:
    """What the app of a request shares; refuses where it is not ready."""
    serving = request.app.state.serving
    assert isinstance(serving, Serving), "create_app made it"
    serving.check_ready()
    return serving


Shared = Annotated[Serving, Depends(serving_of)]


def json_answer(answer: Answer) -> Response:
    """An answer as bytes; checked when it was made, and so not again."""
    return Response(answer.model_dump_json().encode(), media_type=JSON)
