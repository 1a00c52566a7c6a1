"""One connection of a client, with the deadlines that uvicorn's has not."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ecgjepa.serve.gate.headers import headers_of
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.schemas import Problem, Refused

# Beside the time that a request has.
SPARE_SECONDS = 10.0


class Connection(H11Protocol):
    """A connection that is closed when a head comes too slowly, or an answer is not taken.

    Args:
        limits: of the server.
        named: uvicorn's own.
    """

    def __init__(self, limits: Limits, **named: Any) -> None:
        super().__init__(**named)
        self.limits = limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there; more than may be are sent away."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        for timer in (self._head_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes of a request."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """A request was answered, and another may come."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Time the head while one is awaited, and the request from its head on."""
        if self.conn.their_state is h11.IDLE:
            if self._head_timer is None:
                self._head_timer = self.loop.call_later(self.limits.header_seconds, self._end_slow_head)
        elif self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
            if self._end_timer is not None:
                self._end_timer.cancel()
            seconds = self.limits.request_seconds + SPARE_SECONDS
            self._end_timer = self.loop.call_later(seconds, self.transport.abort)

    def _end_slow_head(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing() and self.conn.their_state is h11.IDLE:
            if self.conn.our_state is h11.IDLE:
                found = f"no whole head of a request after {self.limits.header_seconds:g} s"
                self._send_refusal(408, "slow_header", found)
            else:
                self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered as everything else is."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send_refusal(400, "malformed_request", "no request of HTTP/1.1, or a head that is too long")
        else:
            self.transport.close()

    def _send_refusal(self, status: int, reason: str, detail: str) -> None:
        content = Refused.body(Problem(reason=reason, detail=detail, record=None))
        headers = [
            *headers_of("").items(),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
            (b"connection", b"close"),
        ]
        for event in (h11.Response(status_code=status, headers=headers), h11.Data(content), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
