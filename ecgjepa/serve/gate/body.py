"""Bodies of requests: how large they are, how long they take, and whether a form arrived whole."""

import asyncio

from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecgjepa.serve.gate.refusal import Refusal, header, refuse, retry_after
from ecgjepa.serve.limits import Limits

_GONE: Message = {"type": "http.disconnect"}


class LimitBody:
    """Refuses a body with 413, 408, 400 or 429 as soon as it is known to be too much; the rest of it is not kept."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(self, scope, receive, send)
        try:
            if body.refusal is None:
                await self.app(scope, body.receive, body.send)
        except Exception:  # the app ran into the end of a body that was cut, here or by the client
            if not body.is_cut or body.is_answered:
                raise
        finally:
            self.held_bytes -= body.held_bytes
        if body.refusal is not None and not body.is_answered:
            await refuse(receive, send, body.refusal, linger=not body.is_whole)


class _Body:
    """The body of one request while it arrives."""

    def __init__(self, gate: LimitBody, scope: Scope, receive: Receive, send: Send) -> None:
        self._gate, self._limits, self._receive, self._send = gate, gate.limits, receive, send
        self._deadline = asyncio.get_running_loop().time() + self._limits.body_seconds
        self._received_bytes = self.held_bytes = 0
        self.is_whole = self.is_cut = self.is_answered = False
        self.refusal: Refusal | None = None
        kind, options = parse_options_header(header(scope, b"content-type"))
        self._most_bytes = self._limits.max_upload_bytes
        if kind != b"multipart/form-data":
            self._most_bytes = min(self._most_bytes, self._limits.max_json_bytes)
        boundary = options.get(b"boundary", b"") if kind == b"multipart/form-data" else b""
        self._end = b"--" + boundary + b"--" if boundary else b""
        self._tail = b""
        self._has_end = not self._end
        declared = header(scope, b"content-length") or "0"
        self._hold(int(declared) if declared.isascii() and declared.isdecimal() else 0)
        if header(scope, b"content-length") is not None and header(scope, b"transfer-encoding") is not None:
            # a proxy may take the other one to be true, and the rest of the body for somebody's request
            found = "both Content-Length and Transfer-Encoding, expected one of them"
            self.refusal = Refusal(400, "malformed_request", found)

    def _hold(self, size: int) -> None:
        """Take so many bytes of the allowance of this request, and of all."""
        more = max(0, size - self.held_bytes)
        if size > self._most_bytes:
            found = f"a body of {size} bytes or more, expected at most {self._most_bytes}"
            self.refusal = Refusal(413, "too_large", found)
        elif more and self._gate.held_bytes + more > self._limits.max_held_bytes:
            found = "the server holds as much as it may of other requests"
            self.refusal = Refusal(429, "busy", found, retry_after(self._limits.retry_after_seconds))
        else:
            self.held_bytes += more
            self._gate.held_bytes += more

    async def receive(self) -> Message:
        """The next part of the body; the client is gone where it was refused."""
        if self.is_whole and self.refusal is None:
            return await self._receive()
        message = await self._receive_part() if self.refusal is None else _GONE
        self.is_cut = self.is_cut or message["type"] != "http.request"
        return message

    async def _receive_part(self) -> Message:
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            found = f"the body is not whole after {self._limits.body_seconds:g} s"
            self.refusal = Refusal(408, "slow_body", found)
            return _GONE
        if message["type"] != "http.request":
            return message
        part = message.get("body", b"")
        self._received_bytes += len(part)
        self._hold(self._received_bytes)
        self._look_for_end(part)
        self.is_whole = not message.get("more_body", False)
        if self.is_whole and self._received_bytes and not self._has_end and self.refusal is None:
            found = "the form is cut: the line that ends it is missing"
            self.refusal = Refusal(400, "malformed_form", found)
        return message if self.refusal is None else _GONE

    async def send(self, message: Message) -> None:
        """What the app answers; nothing of what it says of a body that was refused."""
        if self.refusal is None or self.is_answered:
            self.is_answered = True
            await self._send(message)

    def _look_for_end(self, part: bytes) -> None:
        if not self._has_end:
            seen = self._tail + part
            self._has_end = self._end in seen
            self._tail = seen[-len(self._end) :]
