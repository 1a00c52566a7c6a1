"""A kind of malformed input: what is wrong, how to make one, and the reason with which it must be refused."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ecgjepa.data.formats.hints import NO_HINTS, Hints

# Every reason that a reader may give; `docs/formats.md` explains them.
REASONS = frozenset(
    """checksum contradiction file_absent malformed no_signals not_an_ecg uncalibrated unknown_format unknown_leads
    unknown_sampling_rate unknown_unit unreadable""".split()
)

# Twice what any ECG may have.
SMALLER = 2**33


@dataclass(frozen=True)
class Ground:
    """What kinds are made of.

    Attributes:
        files: true samples of every format, by the name of the file.
        outside: a folder with ECGs that no reader of another folder may touch.
    """

    files: dict[str, bytes]
    outside: Path


@dataclass(frozen=True)
class Kind:
    """One kind of malformed input.

    Attributes:
        format: the format that it pretends to be of.
        what: what is wrong.
        make: writes it into an empty folder; returns what a reader is given.
        reasons: those with which it may be refused.
        hints: what the reader is told.
        row: of a file of many.
        by_contract: `read` takes it, `standardize` refuses it.
        is_listed: whether a listing of its folder names it; what is a folder, for one, is not.
    """

    format: str
    what: str
    make: Callable[[Path, Ground], Path]
    reasons: frozenset[str]
    hints: Hints = NO_HINTS
    row: int | None = None
    by_contract: bool = False
    is_listed: bool = True

    def __str__(self) -> str:
        return f"{self.format}: {self.what}"


def written(path: Path, content: bytes | str) -> Path:
    """Write a file."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sparse(path: Path, head: bytes, size: int) -> Path:
    """A file that claims a size and takes no room."""
    written(path, head)
    try:
        os.truncate(path, size)
    except OSError:  # a file system that holds no such file
        os.truncate(path, SMALLER)
    return path


def replaced(content: bytes, old: bytes, new: bytes, count: int = -1) -> bytes:
    """What is replaced must be there."""
    assert old in content, old
    return content.replace(old, new, count)


def of(reasons: str) -> frozenset[str]:
    """Reasons from words."""
    found = frozenset(reasons.split())
    assert found <= REASONS | {"duplicate_lead", "missing_lead", "not_finite", "flat", "short"}, found
    return found
