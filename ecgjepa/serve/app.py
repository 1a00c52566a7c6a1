"""The app: routes, what they share, and what begins and ends with it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

import ecgjepa
from ecgjepa.serve.batching import ModelThread
from ecgjepa.serve.gate import LOOPBACK_HOSTS, add_gate
from ecgjepa.serve.gate.who import HEALTH_PATHS
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.metrics import CountRequests, Metrics
from ecgjepa.serve.occluding import Occluder
from ecgjepa.serve.reading.pool import ReaderPool
from ecgjepa.serve.refusals import LastResort, add_handlers
from ecgjepa.serve.routes import ecgs, maps, records, service
from ecgjepa.serve.schemas import NOTICE
from ecgjepa.serve.served import Served
from ecgjepa.serve.shared import Serving

MAX_WAIT_MS = 5.0
# Of 12 leads of 10 s at 250 Hz, 250 MB.
MOST_WAITING = 2048


def create_app(
    served: Served,
    limits: Limits,
    *,
    token: str | None = None,
    hosts: Sequence[str] = LOOPBACK_HOSTS,
    max_wait_ms: float = MAX_WAIT_MS,
) -> FastAPI:
    """An app that answers about ECGs; it is warm when its lifespan has begun.

    Args:
        served: what it answers with.
        limits: how much may be asked for.
        token: that requests must bear; see `add_gate`.
        hosts: that it answers by; see `add_gate`.
        max_wait_ms: how long a batch waits for further windows.
    """
    metrics = Metrics()
    model = ModelThread(served.batch_size, max_wait_ms / 1000, MOST_WAITING, metrics.batches.observe)
    serving = Serving(
        served,
        limits,
        ReaderPool(limits.readers, limits),
        model,
        Occluder(served.classifier, model, served.batch_size),
        metrics,
        token is not None,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        model.start()
        await serving.readers.start()
        await asyncio.to_thread(model.call, served.warm)
        serving.is_ready = True
        try:
            yield
        finally:
            serving.is_ready = False
            await asyncio.to_thread(model.close)
            await serving.readers.close()

    app = FastAPI(
        title="ecgjepa",
        summary="Look at ECGs through the representation.",
        description=f"{NOTICE} Nothing that is sent is kept.",
        version=ecgjepa.__version__,
        docs_url=None,  # these pages load from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect has no reason in its body
        form_limits={
            "max_files": limits.max_files, "max_fields": limits.max_fields, "max_part_size": limits.max_field_bytes
        },
    )  # fmt: skip
    app.state.serving = serving
    metrics.watch(lambda: model.waiting, lambda: len(serving.readers.pids), lambda: serving.readers.replaced)
    for routes in (service, ecgs, records, maps):
        app.include_router(routes.router)
    add_handlers(app, metrics, limits)
    app.add_middleware(LastResort, metrics=metrics)
    add_gate(app, limits, token=token, hosts=hosts)
    app.add_middleware(CountRequests, metrics=metrics)
    if token is not None:
        _describe_token(app)
    return app


def _describe_token(app: FastAPI) -> None:
    """Say in the OpenAPI description that a token is needed."""
    plain = app.openapi

    def with_token() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = plain()
            schemes = described.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["token"] = {"type": "http", "scheme": "bearer"}
            for path, operations in described["paths"].items():
                for operation in operations.values():
                    operation["security"] = [] if path in HEALTH_PATHS else [{"token": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_token  # type: ignore[method-assign]
