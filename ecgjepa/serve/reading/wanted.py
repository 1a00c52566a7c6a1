"""What is wanted of uploaded files, and what comes of it."""

from dataclasses import dataclass

from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.errors import RefusedRecordError
from ecgjepa.patches import Windows
from ecgjepa.serve.reading.uploads import Found
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window


class ReaderLostError(RuntimeError):
    """The process that read a file ended; another has taken its place."""


class NoRoomError(RuntimeError):
    """The server cannot take an upload now: its disk is full, or too many files are open."""


class TooSlowError(RefusedRecordError):
    """A file that took too long to read; `reason` is `too_slow`."""


@dataclass(frozen=True)
class Wanted:
    """What is taken of the ECGs in some files.

    Attributes:
        contracts: windows are taken for each.
        patch_samples: of the encoder of each; windows without one whole patch are left out.
        windows: `first`, or `mean` for all of a recording.
        hints: what the files do not say of themselves.
        row: which ECG of a file that holds many.
        many: take every ECG of every file; else there must be one.
        max_ecgs: with `many`, how many there may be.
    """

    contracts: tuple[SignalContract, ...]
    patch_samples: tuple[int, ...]
    windows: Windows = "first"
    hints: Hints = NO_HINTS
    row: int | None = None
    many: bool = False
    max_ecgs: int = 1


@dataclass(frozen=True, eq=False)
class ReadECG:
    """One ECG of an upload.

    Attributes:
        record: what it is called: the client's name of its file without suffix, with the row where there are many.
        windows: for each contract.
        seconds: length of the recording.
        sampling_rate_hz: as found in the file.
    """

    record: str
    windows: tuple[list[Window], ...]
    seconds: float
    sampling_rate_hz: float


Item = ReadECG | RefusedRecordError


@dataclass(frozen=True)
class Unit:
    """One ECG to read."""

    found: Found
    row: int | None

    @property
    def record(self) -> str:
        """The file's, with the row where there is one."""
        return self.found.record if self.row is None else f"{self.found.record}[{self.row}]"
