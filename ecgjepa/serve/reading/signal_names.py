"""A WFDB header that a client sent -> the same header with names of our own for the files that it names."""

from collections.abc import Mapping
from dataclasses import dataclass

from ecgjepa.errors import RefusedRecordError

# A header of a thousand leads has 100 kB.
MAX_HEADER_BYTES = 2**20
MAX_SHOWN = 80


@dataclass(frozen=True)
class Renamed:
    """A header, byte by byte as it was but for the names of its signal files, and these names as they were."""

    content: bytes
    names: frozenset[str]


def rename_signal_files(record: str, header: str, content: bytes, own_names: Mapping[str, str]) -> Renamed:
    """Put our names for the client's.

    Args:
        record: for messages.
        header: the header's name, for messages.
        content: of the header.
        own_names: the client's name of each file that was sent beside it -> ours.

    Raises:
        RefusedRecordError: `malformed` for a header with NUL, of several segments, or that names anything but a file
            of its own folder; `file_absent` for a file that was not sent.
    """
    if len(content) > MAX_HEADER_BYTES:
        found = f"the header {header} has more than {MAX_HEADER_BYTES} bytes, expected some thousand"
        raise RefusedRecordError(record, "malformed", found)
    if b"\0" in content:
        raise RefusedRecordError(record, "malformed", f"the header {header} has bytes of value 0, expected text")
    # Bytes that are no text come out as they went in; lines end where they end for the reader.
    lines = content.decode("utf-8", errors="surrogateescape").splitlines(keepends=True)
    of_record, names = False, set()
    for place, line in enumerate(lines):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        word = words[0]
        if not of_record:
            of_record = True
            if "/" in word:
                found = f"the header {header} is of several segments, which are not read from an upload"
                raise RefusedRecordError(record, "malformed", found)
            continue
        if "/" in word or "\\" in word or word in (".", "..", "~"):
            found = f"the header {header} names the file {_shown(word)}, expected one that was sent with it"
            raise RefusedRecordError(record, "malformed", found)
        if word not in own_names:
            found = f"{_shown(word)} was not sent, which the header {header} names"
            raise RefusedRecordError(record, "file_absent", found)
        names.add(word)
        lines[place] = line.replace(word, own_names[word], 1)
    return Renamed("".join(lines).encode("utf-8", errors="surrogateescape"), frozenset(names))


def _shown(word: str) -> str:
    return repr(word[:MAX_SHOWN])
