"""The server: one port, one process, and an end that comes within seconds."""

import errno
import functools
import logging
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from ecgjepa.serve.connection import Connection
from ecgjepa.serve.limits import Limits

BACKLOG = 512
FIRST_FREE_PORT = 1024
# Connections, and uploads that are spooled to the disk.
WANTED_FILES = 4096
_ACCESS = logging.getLogger("uvicorn.access")


class Server(uvicorn.Server):
    """A server that holds its port.

    Attributes:
        address: where it is reached, as `http://127.0.0.1:8000`.
    """

    def __init__(
        self, app: Any, host: str, listening: socket.socket, limits: Limits, tell: Callable[[str], object]
    ) -> None:
        config = uvicorn.Config(
            app,
            http=functools.partial(Connection, limits),  # type: ignore[arg-type]  # of which uvicorn makes one a client
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # whoever asks could say so
            server_header=False,
            h11_max_incomplete_event_size=limits.max_header_bytes,
            timeout_keep_alive=limits.keep_alive_seconds,
            timeout_graceful_shutdown=limits.shutdown_seconds,
        )
        super().__init__(config)
        self._listening, self._tell = listening, tell
        shown = f"[{host}]" if ":" in host else host
        self.address = f"http://{shown}:{listening.getsockname()[1]}"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        await super().startup(sockets)
        if self.started:
            self._tell(f"serving on {self.address} (Ctrl-C ends it)")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end that are under way, but not for long."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until `should_exit` is set, or a signal comes."""
        super().run(sockets=sockets or [self._listening])


def make_server(app: Any, host: str, port: int, limits: Limits, *, tell: Callable[[str], object] = print) -> Server:
    """A server that holds its port and does not run yet: `.address`, `.run()`, `.started`, `.should_exit = True`.

    Args:
        app: of ASGI.
        host: a name or address of this machine; `127.0.0.1` is reached from this machine alone.
        port: 0 takes any that is free.
        limits: how much clients may ask for.
        tell: is told the address once it answers.

    Raises:
        OSError: the port is taken or may not be taken, or the host is not of this machine.
    """
    return Server(app, host, bind(host, port), limits, tell)


def _allow_files() -> None:
    """Take as many open files as the system allows: one that can open none floods its log, and answers nobody."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: see `make_server`.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise OSError(f"serve: no address is known for the host {host!r}: {error}") from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        why = {
            errno.EADDRINUSE: f"port {port} of {host} is in use, choose another with --port, or 0 for any",
            errno.EACCES: f"port {port} may not be taken, choose one of {FIRST_FREE_PORT} or above with --port",
            errno.EADDRNOTAVAIL: f"{host} is no address of this machine, expected one that it has, or 0.0.0.0 for all",
        }.get(error.errno or 0, f"port {port} of {host} cannot be taken: {error.strerror}")
        raise OSError(f"serve: {why}") from error
    return listening


def run_server(
    app: Any,
    host: str,
    port: int,
    limits: Limits,
    *,
    tell: Callable[[str], object] = print,
    log_requests: bool = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        log_requests: a line a request on standard error: method, path without query, status.

    Raises:
        OSError: see `make_server`.
    """
    _allow_files()
    server = make_server(app, host, port, limits, tell=tell)
    if log_requests:
        server.config.access_log = True
        _ACCESS.setLevel(logging.INFO)
        _ACCESS.propagate = False
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        handler.addFilter(without_query)
        _ACCESS.addHandler(handler)
    with suppress(KeyboardInterrupt):
        server.run()


class _ToldToEnd(SystemExit):
    """SIGTERM came."""


@contextmanager
def cleaning_up() -> Iterator[None]:
    """What is in the block cleans up when SIGTERM comes, and only then the process ends by it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # no signal comes here
        return

    def end(number: int, frame: object) -> None:
        raise _ToldToEnd(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except _ToldToEnd:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def without_query(line: logging.LogRecord) -> bool:
    """Leave client and query out of a line of uvicorn's: what was searched for is nobody's."""
    if isinstance(line.args, tuple) and len(line.args) == 5:
        _, method, path, _, status = line.args
        line.msg, line.args = "%s %s %s", (method, str(path).partition("?")[0], status)
    return True
