"""What a server counts, for Prometheus. No record, file or client is named."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# Of requests that were refused before it was known what they ask for, or ask for nothing that is there.
NO_ROUTE = "none"


class Metrics:
    """The numbers of one app, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ecgjepa_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )  # fmt: skip
        self.seconds = Histogram(
            "ecgjepa_request_seconds", "From the first byte to the last.", ["route"], buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.batches = Histogram(
            "ecgjepa_batch_windows", "Windows that ran on the model together.", buckets=_BATCHES,
            registry=self.registry,
        )  # fmt: skip
        self.refused = Counter("ecgjepa_refused", "ECGs and requests refused.", ["reason"], registry=self.registry)
        self.embedded = Counter("ecgjepa_embedded_ecgs", "ECGs embedded.", registry=self.registry)
        self.waiting = Gauge("ecgjepa_waiting_windows", "Windows that wait for the model.", registry=self.registry)
        self.readers = Gauge("ecgjepa_readers_alive", "Processes that read uploads.", registry=self.registry)
        self.replaced = Gauge(
            "ecgjepa_readers_replaced", "Reader processes that took the place of one that ended.",
            registry=self.registry,
        )  # fmt: skip

    def watch(self, waiting: Callable[[], int], readers: Callable[[], int], replaced: Callable[[], int]) -> None:
        """Where the numbers are that are asked for, not counted."""
        self.waiting.set_function(waiting)
        self.readers.set_function(readers)
        self.replaced.set_function(replaced)

    def text(self) -> bytes:
        """All of them, in Prometheus's format."""
        return generate_latest(self.registry)


class CountRequests:
    """Counts every answer by the template of its route."""

    def __init__(self, app: "ASGIApp", metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began_s, status = time.perf_counter(), 0

        async def note_status(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note_status)
        finally:
            route: Any = scope.get("route")
            template = getattr(route, "path", NO_ROUTE)
            self.metrics.requests.labels(template, str(status or "cut")).inc()
            self.metrics.seconds.labels(template).observe(time.perf_counter() - began_s)
