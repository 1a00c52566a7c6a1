"""A process that reads files of strangers: it is limited, knows no secrets, and may be ended at any time.

It is started by `ecgjepa.serve.reading.reader`, reads requests from its standard input and writes replies to what was
its standard output; see `ecgjepa.serve.reading.messages`. It imports no torch, so that a lost one is soon replaced.
"""

import importlib
import json
import os
import resource
import select
import sys
import tempfile
from pathlib import Path

from ecgjepa.data.preparing.engines import begin_worker
from ecgjepa.data.readers import count_records, forget_files, read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.patches import take_embeddable
from ecgjepa.serve.reading.messages import REQUEST, Request, pack_reply

# Imported while nobody asks; each takes up to seconds.
SLOW_PACKAGES = ("scipy.signal", "h5py", "pandas", "wfdb", "defusedxml.ElementTree", "pydicom", "edfio")
# `wfdb` may want a corrected copy of a header, which has at most 16 MiB.
MAX_WRITTEN_BYTES = 32 * 2**20
MAX_OPEN_FILES = 128
# After so long without a request, files that are open for their next row are let go.
FORGET_SECONDS = 1.0


def main() -> None:
    """Read until the server closes the pipe."""
    options = json.loads(sys.argv[1])
    begin_worker(options["parent"])
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # whatever a library prints is no reply
    _limit(options["memory_bytes"])
    _write(replies, pack_reply({}))
    os.dup2(nothing, 2)  # nor does a log hold what a library says of somebody's file
    waiting = list(SLOW_PACKAGES)
    while True:
        while waiting and not select.select([requests], [], [], 0)[0]:
            _warm_up(waiting.pop(0), options["memory_bytes"])
        if not select.select([requests], [], [], FORGET_SECONDS)[0]:
            forget_files()
        (size,) = REQUEST.unpack(_read(requests, REQUEST.size))
        _write(replies, answer(Request.unpack(_read(requests, size))))


def answer(request: Request) -> bytes:
    """The reply to a request; whatever is wrong with the file is in it."""
    folder = Path(request.folder)
    tempfile.tempdir = request.folder  # what a reader writes goes when the upload goes
    if folder != _last_folder[0]:
        forget_files()
        _last_folder[0] = folder
    try:
        if request.count:
            return pack_reply({"count": count_records(folder / request.file)})
        recording = read(folder / request.file, request.row, request.record, request.hints)
        windows = [
            take_embeddable(recording, contract, patch_samples, request.windows)
            for contract, patch_samples in zip(request.contracts, request.patch_samples, strict=True)
        ]
        if (most := max(map(len, windows))) > request.max_windows:
            detail = f"{most} windows, expected at most {request.max_windows}"
            return pack_reply({"refused": ("too_long", detail)})
        said = {
            "seconds": recording.signal_mv.shape[1] / recording.sampling_rate_hz,
            "sampling_rate_hz": recording.sampling_rate_hz,
        }
        return pack_reply(said, windows)
    except RefusedRecordError as refusal:
        return pack_reply({"refused": (refusal.reason, refusal.detail)})
    except MemoryError:
        return pack_reply({"refused": ("too_large", "not enough memory to read it"), "is_spent": True})
    except Exception as error:  # one file that nobody foresaw must not end the process
        return pack_reply({"refused": ("unreadable", f"{type(error).__name__}: {error}"[:400]), "is_spent": True})


_last_folder = [Path()]


def _limit(memory_bytes: int) -> None:
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, MAX_WRITTEN_BYTES),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        _, most = resource.getrlimit(what)
        limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
        resource.setrlimit(what, (limit, limit))
    _limit_memory(memory_bytes)


def _limit_memory(memory_bytes: int) -> None:
    """So many bytes beside what the process has already."""
    pages = Path("/proc/self/statm")
    has = int(pages.read_text("ascii").split()[0]) * resource.getpagesize() if pages.exists() else 0
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = has + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _warm_up(package: str, memory_bytes: int) -> None:
    try:
        importlib.import_module(package)
    except (ImportError, MemoryError):
        return  # an extra that is not installed, or no room for it; its reader says so
    _limit_memory(memory_bytes)


def _read(pipe: int, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = os.read(pipe, size - len(content))
        if not part:
            os._exit(0)  # the server ended
        content += part
    return content


def _write(pipe: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(pipe, rest) :]


if __name__ == "__main__":
    main()
