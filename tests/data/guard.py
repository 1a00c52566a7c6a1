"""What reading a file did beside reading it: time, memory, files opened, packets sent, processes started.

Python's own openings are seen by an audit hook; those of libraries in C are seen, on Linux, where a folder is watched.
"""

import ctypes
import os
import signal
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

LIMIT_S = 5.0
LIMIT_BYTES = 300 * 2**20
# Libraries import modules and read their own data; our own temporary folders are called `tmp...`.
_ALLOWED = tuple(
    os.path.realpath(place) + os.sep
    for place in {
        sys.prefix,
        sys.base_prefix,
        str(Path(__file__).parents[2] / "ecgjepa"),
        "/proc",
        "/sys",
        "/usr/share",
    }
)
_TEMPORARY = os.path.join(os.path.realpath(tempfile.gettempdir()), "tmp")
_IN_OPEN = 0x20
_FORBIDDEN = ("socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "pickle.find_class")


class StillReadingError(BaseException):
    """Time is up; none of the errors that code may catch."""


@dataclass
class Seen:
    """What happened while it was watched."""

    opened: list[str] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_bytes: int = 0


_watching: Seen | None = None
_folder = ""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if event == "open" and isinstance(args[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(args[0]))
        inside = path == _folder or path.startswith((_folder + os.sep, *_ALLOWED, _TEMPORARY)) or path == os.devnull
        if not inside:
            _watching.opened.append(path)
    elif event in _FORBIDDEN:
        _watching.forbidden.append(f"{event} {args[:2]}")


_is_hooked = False


@contextmanager
def watched(folder: Path, outside: Path) -> Iterator[Seen]:
    """Watch what is done; StillReadingError after five seconds.

    Args:
        folder: what may be read.
        outside: what must not be, not even by a library in C.
    """
    global _watching, _folder, _is_hooked
    if not _is_hooked:
        sys.addaudithook(_hook)  # cannot be taken away again
        _is_hooked = True
    seen, before = Seen(), _resident_bytes("VmRSS")
    _reset_peak()
    _folder = os.path.realpath(folder)
    with _openings_in(outside) as opened:
        tracemalloc.start()
        started_s = time.monotonic()
        old = signal.signal(signal.SIGALRM, _stop)
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        _watching = seen
        try:
            yield seen
        finally:
            _watching = None
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
            seen.seconds = time.monotonic() - started_s
            seen.peak_bytes = max(tracemalloc.get_traced_memory()[1], _resident_bytes("VmHWM") - before)
            tracemalloc.stop()
            seen.opened += opened()


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise StillReadingError(f"longer than {LIMIT_S:g} s")


def _resident_bytes(key: str) -> int:
    """Resident memory of this process; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key + ":")), 0)


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # the peak is then that of the whole process, which says more, never less


@contextmanager
def _openings_in(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Names of the files of a folder that anything opens; none on systems without inotify."""
    if not sys.platform.startswith("linux"):
        yield list
        return
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_OPEN)

    def names() -> list[str]:
        try:
            events = os.read(descriptor, 2**16)
        except BlockingIOError:
            return []
        return [f"{folder}: {events[16:].split(bytes(1))[0]!r}"]

    try:
        yield names
    finally:
        os.close(descriptor)
