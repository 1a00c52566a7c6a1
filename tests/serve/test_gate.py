"""What a request passes before a route sees it, and the server below."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, File, Request, UploadFile
from starlette.testclient import TestClient

from ecgjepa.serve.gate import add_gate
from ecgjepa.serve.gate.headers import CONTENT_SECURITY_POLICY
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.server import Server, bind, make_server

LIMITS = Limits(
    max_upload_bytes=200_000,
    max_held_bytes=300_000,
    body_seconds=0.6,
    header_seconds=0.4,
    request_seconds=1.5,
    at_once=1,
    queue=1,
    connections=8,
    keep_alive_seconds=1,
    shutdown_seconds=1,
    max_header_bytes=8192,
)
TOKEN = "a-token-of-some-length"


def make_app(limits: Limits = LIMITS, **gate: Any) -> FastAPI:
    """An app that takes files, and one that works until it is told to stop."""
    app = FastAPI(docs_url=None, redoc_url=None)
    app.state.may_end = threading.Event()
    app.state.may_end.set()

    @app.get("/")
    @app.get("/healthz")
    @app.get("/static/page.js")
    @app.get("/metrics")
    @app.get("/api/about")
    async def small() -> dict[str, str]:
        return {}

    @app.post("/api/ecgs")
    async def upload(files: Annotated[list[UploadFile], File()]) -> dict[str, int]:
        return {"bytes": sum([len(await file.read()) for file in files])}

    @app.post("/api/work")
    async def work(request: Request) -> dict[str, int]:
        size = len(await request.body())
        while not app.state.may_end.is_set():
            await asyncio.sleep(0.01)
        return {"bytes": size}

    add_gate(app, limits, **gate)
    return app


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(make_app(), base_url="http://localhost:8000") as client:
        yield client


@pytest.fixture(scope="module")
def guarded() -> Iterator[TestClient]:
    with TestClient(
        make_app(token=TOKEN, hosts=["ecg.example.org", "::1"]), base_url="http://ecg.example.org"
    ) as client:
        yield client


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = make_server(make_app(), "127.0.0.1", 0, LIMITS, tell=lambda line: None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2])), timeout=10)


def answer_of(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer, after which the server closes."""
    content = b""
    with connection:
        while part := connection.recv(65536):
            content += part
    head, _, body = content.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["reason"]


def test_every_answer_has_the_headers_that_keep_a_browser_in(client: TestClient) -> None:
    answers = [client.get(path) for path in ("/", "/api/about", "/nowhere")]
    answers += [client.post("/api/ecgs"), client.get("/", headers={"host": "evil.example"})]
    assert [answer.status_code for answer in answers] == [200, 200, 404, 422, 403]
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert [answer.headers["cache-control"] for answer in answers[:2]] == ["no-cache", "no-store"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("localhost:80:80", 403),
        ("127.0.0.2", 403),
        ("", 403),
    ],
)
def test_only_its_own_names_are_answered(client: TestClient, host: str, status: int) -> None:
    answer = client.get("/api/about", headers={"host": host})
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]["reason"] == "unknown_host"
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://localhost:9000"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    answers = [client.post("/api/work", headers=headers), client.get("/api/about", headers=headers)]
    assert [answer.status_code for answer in answers] == [status, status]
    assert client.get("/", headers=headers).status_code == 200  # may be linked to


def test_a_token_opens_all_but_page_and_health(guarded: TestClient) -> None:
    for path in ("/", "/static/page.js", "/healthz"):
        assert guarded.get(path).status_code == 200
    for path in ("/api/about", "/metrics", "/openapi.json", "/nowhere"):
        assert refusal(guarded.get(path)) == (401, "token")
        assert guarded.get(path, headers={"authorization": f"bearer {TOKEN}"}).status_code in (200, 404)
    for wrong in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer ", "Bearer \xff"):
        answer = guarded.get("/api/about", headers={"authorization": wrong.encode("latin-1")})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert refusal(guarded.post("/static/page.js")) == (401, "token")
    assert guarded.get("/", headers={"host": "[::1]:8000"}).status_code == 200


@pytest.mark.parametrize("gate", [{"token": ""}, {"token": "a b"}, {"hosts": ["a/b"]}])
def test_a_gate_that_cannot_be_is_refused(gate: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"), TestClient(make_app(**gate)):
        pass


def test_a_body_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/api/ecgs", files={"files": ("a.dat", bytes(LIMITS.max_upload_bytes))})
    assert refusal(answer) == (413, "too_large")
    chunks = (bytes(50_000) for _ in range(5))
    assert refusal(client.post("/api/work", content=chunks)) == (413, "too_large")
    assert client.post("/api/work", content=bytes(LIMITS.max_upload_bytes)).json() == {"bytes": 200_000}


def test_a_form_that_is_cut_is_refused(client: TestClient) -> None:
    headers = {"content-type": 'multipart/form-data; boundary="b"'}
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc\r\n'
    assert client.post("/api/ecgs", content=part + b"--b--\r\n", headers=headers).json() == {"bytes": 3}
    for cut in (part, part + b"--b", part + part[:40]):
        assert refusal(client.post("/api/ecgs", content=cut, headers=headers)) == (400, "malformed_form")
    pieces = iter([part + b"--", b"b-", b"-\r\n"])  # its end in three pieces
    assert client.post("/api/ecgs", content=pieces, headers=headers).json() == {"bytes": 3}


def test_a_declared_size_needs_no_body_to_be_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n")
        began = time.monotonic()
        head = connection.recv(65536)
        assert head.startswith(b"HTTP/1.1 413")
        assert time.monotonic() - began < 0.5


def test_a_large_body_is_let_in_so_that_the_answer_arrives(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n")
        connection.sendall(bytes(5_000_000))
        assert answer_of(connection)[0] == 413


def test_slow_heads_and_bodies_are_ended(server: Server) -> None:
    with connect(server) as head, connect(server) as body, connect(server) as empty:
        head.sendall(b"GET / HTTP/1.1\r\nHost: local")
        body.sendall(b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        began = time.monotonic()
        status, problem = answer_of(head)
        assert (status, problem["error"]["reason"]) == (408, "slow_header")
        assert answer_of(empty)[0] == 408
        status, problem = answer_of(body)
        assert (status, problem["error"]["reason"]) == (408, "slow_body")
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 9000]
)
def test_what_is_no_http_is_refused_in_json(server: Server, sent: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        status, problem = answer_of(connection)
        assert (status, problem["error"]["reason"]) == (400, "malformed_request")


def post(server: Server, path: str, body: bytes = b"x") -> socket.socket:
    connection = connect(server)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_more_work_than_may_wait_is_sent_away_at_once(server: Server) -> None:
    app: Any = server.config.app
    app.state.may_end.clear()
    working, waiting = post(server, "/api/work"), post(server, "/api/work")
    time.sleep(0.2)
    began = time.monotonic()
    status, problem = answer_of(post(server, "/api/work"))
    assert (status, problem["error"]["reason"]) == (429, "busy")
    assert time.monotonic() - began < 0.5
    with connect(server) as other:  # what is no work is answered
        other.sendall(b"GET /api/about HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert answer_of(other)[0] == 200
    app.state.may_end.set()
    assert [answer_of(each)[0] for each in (working, waiting)] == [200, 200]


def test_slow_bodies_keep_nobody_waiting(server: Server) -> None:
    with connect(server) as slow:
        slow.sendall(b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.1)
        began = time.monotonic()
        assert answer_of(post(server, "/api/work"))[0] == 200
        assert time.monotonic() - began < 0.4


def test_bodies_of_all_together_are_limited(server: Server) -> None:
    with connect(server) as first:
        first.sendall(b"POST /api/work HTTP/1.1\r\nHost: localhost\r\nContent-Length: 190000\r\n\r\nabc")
        time.sleep(0.1)
        assert answer_of(post(server, "/api/work", bytes(190_000)))[0] == 429
    time.sleep(0.1)
    assert answer_of(post(server, "/api/work", bytes(190_000)))[0] == 200


def test_what_has_no_answer_in_time_is_ended(server: Server) -> None:
    app: Any = server.config.app
    app.state.may_end.clear()
    try:
        status, problem = answer_of(post(server, "/api/work"))
        assert (status, problem["error"]["reason"]) == (503, "too_slow")
    finally:
        app.state.may_end.set()


def test_more_connections_than_may_be_are_closed(server: Server) -> None:
    time.sleep(0.1)
    open_ones = [connect(server) for _ in range(LIMITS.connections)]
    with connect(server) as one_more, suppress(ConnectionResetError):
        assert one_more.recv(1) == b""
    for each in open_ones:
        each.close()


def test_limits_are_above_nothing() -> None:
    with pytest.raises(ValueError, match="readers must be above 0, found 0"):
        Limits(readers=0)
    assert Limits(queue=0).queue == 0


def test_a_port_that_cannot_be_taken_is_named() -> None:
    taken = bind("127.0.0.1", 0)
    port = taken.getsockname()[1]
    with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is in use, choose another with --port"):
        make_server(make_app(), "127.0.0.1", port, LIMITS)
    taken.close()
    with pytest.raises(OSError, match="no address of this machine"):
        bind("192.0.2.1", 0)
    with pytest.raises(OSError, match="no address is known for the host"):
        bind("no-such-host.invalid", 0)


PROGRAM = """
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.server import run_server

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        print("closed", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x", "more_body": scope["path"] != "/"})
    while (await receive())["type"] != "http.disconnect":
        pass

tell = lambda line: print(line, flush=True)
run_server(app, "127.0.0.1", 0, Limits(shutdown_seconds=1), tell=tell, log_requests=True)
"""


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_the_server_ends_within_seconds_also_with_a_client_that_hangs(how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
    )
    assert process.stdout is not None
    address = process.stdout.readline().decode().split()[2]
    port = int(address.rpartition(":")[2])
    hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    hanging[0].sendall(b"GET /long?name=secret HTTP/1.1\r\nHost: localhost\r\n\r\n")
    hanging[1].sendall(b"GET / HTTP/1.1\r\nHo")
    assert hanging[0].recv(100).startswith(b"HTTP/1.1 200")
    began = time.monotonic()
    process.send_signal(how)
    out, log = process.communicate(timeout=20)
    assert time.monotonic() - began < 6
    assert out.decode().split() == ["closed"]
    assert "GET /long 200" in log.decode()
    assert "secret" not in log.decode()
    assert process.returncode == (0 if how == signal.SIGINT else -signal.SIGTERM)
    for each in hanging:
        each.close()
