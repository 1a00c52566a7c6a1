"""A server as PhysioNet's and Zenodo's, with whatever goes wrong on the way from there."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit


@dataclass
class Fault:
    """What happens to one request.

    Attributes:
        status: answered instead of the file, with `headers`.
        headers: laid over those of the answer.
        cut: bytes of the body after which the connection is closed.
        stall: bytes of the body after which nothing comes any more.
        whole: the range is ignored.
        body: sent in place of the file.
    """

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    whole: bool = False
    body: bytes | None = None


@dataclass(frozen=True)
class Asked:
    path: str
    range: str | None
    if_range: str | None
    agent: str | None
    encoding: str | None


class Publisher(ThreadingHTTPServer):
    """The server; use as a context.

    Attributes:
        files: path, from `/` on -> bytes.
        faults: path -> what happens to the next requests, one each; the last stays if `forever` holds the path.
        asked: all requests.
        sent_bytes: path -> bytes of bodies.
        pause_s: between pieces of 64 KiB.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.forever: set[str] = set()
        self.asked: list[Asked] = []
        self.sent_bytes: dict[str, int] = {}
        self.pause_s = 0.0
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def physionet(self, folder: Path, extra: dict[str, str] | None = None, below: str = "") -> str:
        """Publish a folder with its `SHA256SUMS.txt`, to which names with checksums may be added; the base address."""
        files = {below + path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for name, path in files.items():
            self.files[f"/db/{name}"] = path.read_bytes()
        sums = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in sorted(files.items())}
        lines = [f"{checksum} {name}\n" for name, checksum in (sums | (extra or {})).items()]
        self.files["/db/SHA256SUMS.txt"] = "".join(lines).encode()
        return f"{self.url}db/"

    def zenodo(self, files: dict[str, bytes]) -> str:
        """Publish files as the record of CODE-15%; the base address."""
        listed = []
        for name, content in files.items():
            self.files[f"/records/4916206/files/{name}"] = content
            checksum = f"md5:{hashlib.md5(content).hexdigest()}"
            listed.append({"key": name, "size": len(content), "checksum": checksum})
        self.files["/api/records/4916206"] = json.dumps({"id": 4916206, "files": listed}).encode()
        return self.url

    def __enter__(self) -> "Publisher":
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no news."""


class Handler(BaseHTTPRequestHandler):
    server: Publisher
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        heard = self.headers
        self.server.asked.append(
            Asked(path, heard["Range"], heard["If-Range"], heard["User-Agent"], heard["Accept-Encoding"])
        )
        faults = self.server.faults.get(path, [])
        fault = Fault()
        if faults:
            fault = faults[0] if path in self.server.forever and len(faults) == 1 else faults.pop(0)
        content = self.server.files.get(path) if fault.body is None else fault.body
        if fault.status is not None or content is None:
            self._send(fault.status or 404, b"not now", fault.headers, fault, path)
            return
        tag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": tag, "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-", heard["Range"] or "")
        if match is None or fault.whole or heard["If-Range"] not in (None, tag):
            self._send(200, content, headers | fault.headers, fault, path)
        elif (start := int(match[1])) >= len(content):
            self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"} | fault.headers, fault, path)
        else:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._send(206, content[start:], headers | fault.headers, fault, path)

    def _send(self, status: int, body: bytes, headers: dict[str, str], fault: Fault, path: str) -> None:
        self.send_response(status)
        for key, text in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, quote(text, safe=' "/*-=:,;+')) if text else None
        self.end_headers()
        end = min(len(body), *(n for n in (fault.cut, fault.stall, len(body)) if n is not None))
        for start in range(0, end, 65536):
            piece = body[start : min(start + 65536, end)]
            self.wfile.write(piece)
            self.server.sent_bytes[path] = self.server.sent_bytes.get(path, 0) + len(piece)
            self.server.released.wait(self.server.pause_s)
        if fault.stall is not None:
            self.server.released.wait(5)
        if fault.cut is not None or fault.stall is not None:
            self.close_connection = True
