"""One address -> one file, over connections that break: what has arrived stays and is gone on with."""

import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from ecgjepa import __version__
from ecgjepa.download.names import DownloadError

CHUNK_BYTES = 64 * 1024  # at most so much is written at once
PROGRESS_BYTES = 1024 * 1024  # an attempt that brings so much more than any before it does not count as failed
OVERLOADED = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Patience:
    """How long to wait, and how often to try again.

    Attributes:
        connect_s: for a connection.
        read_s: for the next bytes of one.
        attempts: how many may fail one after the other, each bringing less than `PROGRESS_BYTES`.
        pause_s: before the second attempt; doubles with each further one.
        longest_pause_s: the most that is waited, also when a server asks for it.
    """

    connect_s: float = 15.0
    read_s: float = 30.0
    attempts: int = 6
    pause_s: float = 1.0
    longest_pause_s: float = 300.0


class FileError(DownloadError):
    """This file cannot be had; others may."""


class StoppedError(Exception):
    """Another thread asked to stop."""


class _TryAgainError(Exception):
    """What went wrong may go well the next time."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Transfer:
    """Connections, one a thread; use as a context.

    Args:
        patience: how long to wait, how often to try.
        stop: set by another thread to end all waiting and reading.
        progress: called with the bytes that came, or with a negative number when a file begins anew.
    """

    def __init__(
        self,
        patience: Patience,
        stop: threading.Event | None = None,
        progress: Callable[[int], object] = lambda size_bytes: None,
    ) -> None:
        self._patience, self._progress = patience, progress
        self._stop = stop or threading.Event()
        self._own = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> "Transfer":
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions:
            session.close()

    def fetch(self, url: str, part: Path) -> None:
        """Fetch the whole of an address into `part`, or the rest if some of it is there.

        Whether the bytes are the right ones is for the checksum to say: the server's mark of the version (ETag, or its
        date) is kept in `part.validator` and sent along (If-Range), so that parts of two versions are not mixed.

        Raises:
            FileError: the server does not have the file.
            DownloadError: the server refuses, cannot be reached, or breaks off too often.
            StoppedError: another thread asked to stop.
        """
        reached, failed = _size(part), 0
        while True:
            if self._stop.is_set():
                raise StoppedError
            try:
                return self._go_on(url, part)
            except _TryAgainError as problem:
                arrived = _size(part)
                failed = 1 if arrived >= reached + PROGRESS_BYTES else failed + 1
                reached = max(reached, arrived)
                if failed >= self._patience.attempts:
                    raise DownloadError(
                        f"{url}: {problem}; given up after {failed} attempts, {arrived:,} bytes have arrived"
                    ) from problem
                pause_s = min(self._patience.pause_s * 2 ** (failed - 1), self._patience.longest_pause_s)
                if problem.pause_s is not None and problem.pause_s > self._patience.longest_pause_s:
                    raise DownloadError(f"{url}: {problem}; it asks to wait {problem.pause_s:,.0f} s") from problem
                if self._stop.wait(max(pause_s, problem.pause_s or 0.0)):
                    raise StoppedError from problem

    def _go_on(self, url: str, part: Path) -> None:
        """One request."""
        offset, validator = _size(part), part.with_name(f"{part.name}.validator")
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        if offset and validator.is_file() and (mark := validator.read_text(encoding="latin-1")):
            headers["If-Range"] = mark
        timeout = (self._patience.connect_s, self._patience.read_s)
        try:
            with self._session().get(url, headers=headers, stream=True, timeout=timeout) as response:
                rest_bytes = self._check_answer(response, url, part, offset)
                if rest_bytes == 0 and offset:
                    return
                if response.status_code == 200 and offset:  # the server sends the file from its beginning
                    self._progress(-offset)
                free_bytes = shutil.disk_usage(part.parent).free
                if rest_bytes is not None and rest_bytes > free_bytes:
                    raise DownloadError(f"{part}: {rest_bytes:,} bytes are needed, {free_bytes:,} are free")
                validator.write_text(_mark(response), encoding="latin-1")
                with part.open("ab" if response.status_code == 206 else "wb") as file:
                    arrived = 0
                    # What has come, not whole blocks: of those the last one would be lost with the connection.
                    while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
                        file.write(chunk)
                        arrived += len(chunk)
                        self._progress(len(chunk))
                        if self._stop.is_set():
                            raise StoppedError
        except (requests.ConnectionError, requests.Timeout, urllib3.exceptions.HTTPError) as error:
            raise _TryAgainError(f"the connection failed ({_innermost(error)})") from error
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {error}") from error
        if rest_bytes is not None and arrived < rest_bytes:
            raise _TryAgainError(f"the connection ended after {arrived:,} of {rest_bytes:,} bytes")

    def _check_answer(self, response: requests.Response, url: str, part: Path, offset: int) -> int | None:
        """Bytes that the answer brings, None if it does not say; 0 when the file is whole already."""
        status, answer = response.status_code, f"the server answers HTTP {response.status_code} {response.reason}"
        if url.startswith("https:") and not response.url.startswith("https:"):
            raise DownloadError(f"{url} leads to {response.url}, expected an encrypted connection")
        if status in OVERLOADED:
            raise _TryAgainError(answer, _retry_after_s(response.headers.get("Retry-After")))
        if status in (404, 410):
            raise FileError(f"{url}: {answer}")
        if status == 416 and offset:
            if response.headers.get("Content-Range", "").replace(" ", "") == f"bytes*/{offset}":
                return 0
            self._begin_anew(part, offset)
            raise _TryAgainError(f"{answer} after byte {offset:,}")
        if status not in (200, 206):
            raise DownloadError(f"{url}: {answer}, expected the file")
        if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
            raise DownloadError(f"{url}: the server sends the file as {encoding!r}, expected its bytes as they are")
        if status == 206:
            found = response.headers.get("Content-Range", "")
            match = _RANGE.fullmatch(found)
            if match is None or int(match[1]) != offset or match[3] not in ("*", str(int(match[2]) + 1)):
                self._begin_anew(part, offset)
                raise _TryAgainError(f"the server sends {found!r}, expected the bytes from {offset:,} to the end")
            return int(match[2]) + 1 - offset
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def _begin_anew(self, part: Path, offset: int) -> None:
        part.unlink(missing_ok=True)
        self._progress(-offset)

    def _session(self) -> requests.Session:
        if not hasattr(self._own, "session"):
            session = requests.Session()
            # Not gzip: bytes of a compressed answer are not those of the file, nor can they be gone on with.
            session.headers.update({"User-Agent": f"ecgjepa/{__version__}", "Accept-Encoding": "identity"})
            self._own.session = session
            self._sessions.append(session)
        return self._own.session


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _mark(response: requests.Response) -> str:
    """What If-Range may name: a strong ETag, or else the date; empty if there is none."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _retry_after_s(header: str | None) -> float | None:
    """Seconds that a server asks to wait, given as a number or as a date; None for neither."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def _innermost(error: BaseException) -> str:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
