"""What a client sent as files -> ECGs to read, under names of our own: a client's name is shown and compared only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ecgjepa.data.listings.listing import printable
from ecgjepa.data.readers import MANY_SUFFIXES, SUFFIXES
from ecgjepa.errors import RefusedRecordError
from ecgjepa.serve.reading.signal_names import MAX_HEADER_BYTES, rename_signal_files

MAX_NAME = 200
HEADER = ".hea"
# Of WFDB, nothing without their header; files that a header names may have any other suffix too.
SIGNAL_SUFFIXES = (".dat", ".mat")
_BY_LENGTH = sorted((*SUFFIXES, *SIGNAL_SUFFIXES), key=len, reverse=True)  # `.csv.gz` before `.gz` would be


@dataclass(frozen=True, eq=False)
class UploadedFile:
    """One file of a request.

    Attributes:
        name: the client's.
        content: its bytes, or an open file; who opened it closes it.
    """

    name: str
    content: bytes | BinaryIO

    def begin(self, at_most: int) -> bytes:
        """The first bytes."""
        if isinstance(self.content, bytes):
            return self.content[:at_most]
        self.content.seek(0)
        return self.content.read(at_most)


@dataclass(frozen=True)
class OwnFile:
    """A file as it lies in the private folder.

    Attributes:
        name: ours.
        shown: the client's, for messages.
        number: of the upload that its bytes are.
        content: other bytes in place of the upload's.
    """

    name: str
    shown: str
    number: int
    content: bytes | None = None


@dataclass(frozen=True)
class Found:
    """A file that holds one ECG, or many.

    Attributes:
        record: the client's name of it, without suffix.
        file: to open, by our name.
        may_be_many: of a format that holds many.
    """

    record: str
    file: str
    may_be_many: bool


@dataclass(frozen=True)
class Arrangement:
    """What is to be written, and what is to be read of it, in the order of the uploads."""

    files: list[OwnFile]
    found: list[Found | RefusedRecordError]


def shown_name(name: str) -> str:
    """A client's name of a file as one printable line without folders."""
    last = _slashes(name).rstrip("/").rpartition("/")[2]
    kept = "".join(sign if sign.isprintable() else "?" for sign in printable(last)) or "file"
    return kept if len(kept) <= MAX_NAME else f"{kept[:MAX_NAME]}..."


def suffix_of(name: str) -> str:
    """The known suffix that a name ends in, small; empty for any other."""
    lower = name.lower()
    return next((suffix for suffix in _BY_LENGTH if lower.endswith(suffix)), "")


def record_name(name: str) -> str:
    """The name of a file without folders and suffix."""
    shown, suffix = shown_name(name), suffix_of(name)
    return shown.removesuffix(shown[len(shown) - len(suffix) :]) if suffix and suffix_of(shown) == suffix else shown


def arrange(files: Sequence[UploadedFile]) -> Arrangement:
    """Give every upload a name of our own, and find the ECGs among them.

    A header and the files that it names are one ECG; what it names must be among the uploads, in its own folder.
    What cannot be read is a refusal in its place: `unknown_format`, `file_absent`, `malformed`.
    """
    own = [OwnFile(_own_name(number, file.name), shown_name(file.name), number) for number, file in enumerate(files)]
    number_of: dict[str, int] = {}
    items: dict[int, Found | RefusedRecordError] = {}
    for number, file in enumerate(files):
        if number_of.setdefault(_slashes(file.name), number) != number:
            detail = f"two files are called {own[number].shown}, expected names that differ"
            items[number] = RefusedRecordError(record_name(file.name), "malformed", detail)
    taken: set[int] = set()
    for number, file in enumerate(files):
        if suffix_of(file.name) == HEADER and number not in items:
            folder = _slashes(file.name).rpartition("/")[0]
            beside = {
                name.rpartition("/")[2]: other for name, other in number_of.items() if name.rpartition("/")[0] == folder
            }
            record = record_name(file.name)
            try:
                renamed = rename_signal_files(
                    record,
                    own[number].shown,
                    file.begin(MAX_HEADER_BYTES + 1),
                    {name: own[other].name for name, other in beside.items() if suffix_of(name) != HEADER},
                )
            except RefusedRecordError as refusal:
                items[number] = refusal
                taken |= {other for name, other in beside.items() if _is_signal_of(name, file.name)}
            else:
                own[number] = OwnFile(own[number].name, own[number].shown, number, renamed.content)
                items[number] = Found(record, own[number].name, False)
                taken |= {beside[name] for name in renamed.names}
    for number, file in enumerate(files):
        if number not in items and number not in taken:
            items[number] = _found(file, own[number])
    return Arrangement(own, [items[number] for number in sorted(items)])


def only_one(arranged: Arrangement) -> Found | RefusedRecordError:
    """The one ECG of an upload; what is of no known format beside it is left out."""
    known = [
        each
        for each in arranged.found
        if not (isinstance(each, RefusedRecordError) and each.reason == "unknown_format")
    ] or arranged.found
    refusals = [each for each in known if isinstance(each, RefusedRecordError)]
    if len(known) == 1 or refusals:
        return (refusals or known)[0]
    names = ", ".join(each.record for each in known[:3]) + (", ..." if len(known) > 3 else "")
    detail = f"files of {len(known)} ECGs ({names}), expected those of one"
    return RefusedRecordError(known[0].record, "several_ecgs", detail)


def _found(file: UploadedFile, own: OwnFile) -> Found | RefusedRecordError:
    suffix, record = suffix_of(file.name), record_name(file.name)
    if suffix in SIGNAL_SUFFIXES:
        detail = f"no header {record}{HEADER} was sent with {own.shown}; without one (WFDB) it is not read"
        return RefusedRecordError(record, "file_absent", detail)
    if not suffix:
        detail = f"{own.shown} is of no format that is read, expected one of {', '.join(sorted(SUFFIXES))}"
        return RefusedRecordError(record, "unknown_format", detail)
    return Found(record, own.name, suffix in MANY_SUFFIXES)


def _is_signal_of(name: str, header: str) -> bool:
    return suffix_of(name) in SIGNAL_SUFFIXES and record_name(name) == record_name(header)


def _own_name(number: int, name: str) -> str:
    return f"ecg-{number:04d}{suffix_of(name) or '.dat'}"


def _slashes(name: str) -> str:
    return name.replace("\\", "/")
