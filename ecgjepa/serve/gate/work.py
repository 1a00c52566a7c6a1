"""How many requests are worked on at once, how many may wait, and for how long."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecgjepa.serve.gate.refusal import Refusal, refuse, retry_after
from ecgjepa.serve.limits import Limits


def is_work(scope: Scope) -> bool:
    """Whether a request has files read, or makes the model work."""
    return scope["type"] == "http" and (scope["method"] == "POST" or scope["path"].startswith("/api/records/"))


class LimitAtOnce:
    """Refuses work with 429, at once, where as much is being done and waited for as may be.

    A request takes its place among those that are worked on when its body is there, and leaves it when its answer
    begins, so that slow clients keep nobody waiting.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits
        self.under_way = 0
        self._places = asyncio.Semaphore(limits.at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if not is_work(scope):
            await self.app(scope, receive, send)
            return
        if self.under_way >= self.limits.at_once + self.limits.queue:
            found = f"{self.under_way} requests are under way, as many as may be"
            again = retry_after(self.limits.retry_after_seconds)
            await refuse(receive, send, Refusal(429, "busy", found, again))
            return
        has_place = False

        async def receive_in_turn() -> Message:
            nonlocal has_place
            message = await receive()
            if not has_place and message["type"] == "http.request" and not message.get("more_body", False):
                await self._places.acquire()
                has_place = True
            return message

        async def send_and_leave(message: Message) -> None:
            nonlocal has_place
            if has_place and message["type"] == "http.response.start":
                has_place = False
                self._places.release()
            await send(message)

        self.under_way += 1
        try:
            if scope["method"] != "POST":
                await self._places.acquire()
                has_place = True
            await self.app(scope, receive_in_turn, send_and_leave)
        finally:
            self.under_way -= 1
            if has_place:
                self._places.release()


class LimitTime:
    """Ends a request that takes too long with 503; one that is being answered is cut off."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self.limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_answered = False

        async def note_start(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            async with asyncio.timeout(self.limits.request_seconds) as time:
                await self.app(scope, receive, note_start)
        except TimeoutError:
            if is_answered or not time.expired():
                raise
            found = f"no answer after {self.limits.request_seconds:g} s"
            again = retry_after(self.limits.retry_after_seconds)
            await refuse(receive, send, Refusal(503, "too_slow", found, again), linger=False)
