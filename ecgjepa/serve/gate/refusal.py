"""What the gate answers in place of a route: the body that every refusal has, and a connection that ends well."""

import asyncio
from contextlib import suppress
from typing import NamedTuple

from starlette.types import Receive, Scope, Send

from ecgjepa.serve.schemas import Problem, Refused

# For so long what a client still sends is thrown away, since it may lose an answer that comes with a closed door.
LINGER_SECONDS = 2.0


class Refusal(NamedTuple):
    """Why a request goes no further.

    Attributes:
        headers: beside those that every refusal has.
    """

    status: int
    reason: str
    detail: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def retry_after(seconds: int) -> tuple[tuple[bytes, bytes], ...]:
    """The header that says when to come again."""
    return ((b"retry-after", str(seconds).encode()),)


async def refuse(receive: Receive, send: Send, refusal: Refusal, *, linger: bool = True) -> None:
    """Answer, and close the connection.

    Args:
        linger: the body, or some of it, was not read.
    """
    content = Refused.body(Problem(reason=refusal.reason, detail=refusal.detail, record=None))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": content, "more_body": linger})
    if linger:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (message := await receive())["type"] == "http.request" and message.get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of a name; None if there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)
