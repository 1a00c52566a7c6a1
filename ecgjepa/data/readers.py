"""One file -> one `Recording` in mV with lead names: which reader a file goes to, by its suffix.

Nothing outside of this file and `formats/` knows file formats.
"""

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from ecgjepa.data.formats import arrays, hdf5
from ecgjepa.data.formats.arrays import count_npy, count_npz, read_npy, read_npz
from ecgjepa.data.formats.dicom import read_dicom
from ecgjepa.data.formats.edf import read_edf
from ecgjepa.data.formats.hdf5 import CODE15_LEADS, count_hdf5, read_hdf5
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.formats.machine import refusal_of_trouble
from ecgjepa.data.formats.table import read_table
from ecgjepa.data.formats.wfdb import read_wfdb
from ecgjepa.data.formats.xml import read_xml
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

# A name of a lead has some letters; body surface maps have some hundred leads.
MAX_LEAD_NAME, MAX_LEADS = 200, 1000
# What is told of a refusal stays a line that a table can hold.
MAX_DETAIL = 400

__all__ = [
    "CODE15_LEADS",
    "MANY_SUFFIXES",
    "NO_HINTS",
    "SUFFIXES",
    "Hints",
    "count_records",
    "forget_files",
    "read",
]

# One record a file.
_SINGLE: dict[str, Callable[[Path, str, Hints], Recording]] = {
    ".hea": read_wfdb,
    ".csv": read_table,
    ".tsv": read_table,
    ".csv.gz": read_table,
    ".edf": read_edf,
    ".dcm": read_dicom,
    ".xml": read_xml,
}
# One record or many.
_MANY: dict[str, Callable[[Path, int | None, str, Hints], Recording]] = {
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".npy": read_npy,
    ".npz": read_npz,
}
_COUNT: dict[str, Callable[[Path, str], int | None]] = {
    ".h5": count_hdf5,
    ".hdf5": count_hdf5,
    ".npy": count_npy,
    ".npz": count_npz,
}
SUFFIXES: frozenset[str] = frozenset(_SINGLE | _MANY)
MANY_SUFFIXES: frozenset[str] = frozenset(_MANY)
# Signal files of WFDB, which are nothing without their header.
_SIGNAL_SUFFIXES = (".dat", ".mat")


def read(path: Path | str, row: int | None = None, name: str | None = None, hints: Hints = NO_HINTS) -> Recording:
    """Read one ECG of any format in `SUFFIXES`.

    Args:
        path: the file; for WFDB the header, its path without suffix, or the `.dat` or `.mat` file beside it.
        row: which record of a file that holds many.
        name: what to call the record; the file's stem, with the row, if None.
        hints: what the file does not say about itself.

    Raises:
        RefusedRecordError: whatever is wrong with the file; `io_error` if that is the disk, or the way to it.
        OSError: the machine can open no file any more; nothing else is raised but a MemoryError.
    """
    path = Path(path)
    suffix = _suffix(path)
    stem = path.name[: len(path.name) - len(suffix)]
    name = name or (stem if row is None else f"{stem}[{row}]")
    handled = sys.exc_info()[1]
    try:
        path, suffix = _locate(path, suffix, name)
        if suffix in _MANY:
            return _checked(_MANY[suffix](path, row, name, hints))
        if row is not None:
            raise RefusedRecordError(name, "malformed", f"row {row} of a {suffix} file, which holds one record")
        return _checked(_SINGLE[suffix](path, name, hints))
    except MemoryError:
        raise
    except RefusedRecordError as refusal:
        raise _refusal(name, suffix, refusal, handled) from refusal.__cause__
    except Exception as error:  # a library raises whatever a broken file makes it run into; the record is named
        raise _refusal(name, suffix, error, handled) from error


def count_records(path: Path | str) -> int | None:
    """How many records a file holds, if it is one that may hold many; None for one record a file.

    Raises:
        RefusedRecordError: the file cannot be read, is of no known format, or holds none.
        OSError: as `read`.
    """
    path = Path(path)
    name = path.stem
    suffix = _suffix(path)
    handled = sys.exc_info()[1]
    try:
        path, suffix = _locate(path, suffix, name)
        count = _COUNT[suffix](path, name) if suffix in _COUNT else None
        if count == 0:
            raise RefusedRecordError(name, "no_signals", f"{path.name} holds 0 records, expected some")
        return count
    except MemoryError:
        raise
    except RefusedRecordError as refusal:
        raise _refusal(name, suffix, refusal, handled) from refusal.__cause__
    except Exception as error:  # as in `read`
        raise _refusal(name, suffix, error, handled) from error


def forget_files() -> None:
    """Let go of the file that was kept open, or in memory, for its next row."""
    for module in (arrays, hdf5):
        module.forget()


def _suffix(path: Path) -> str:
    """The suffix in lower case, `.gz` with the one before it; empty where it is not one of ours."""
    lower = path.name.lower()
    return next((suffix for suffix in (*SUFFIXES, *_SIGNAL_SUFFIXES) if lower.endswith(suffix)), "")


def _locate(path: Path, suffix: str, name: str) -> tuple[Path, str]:
    """The file to open and its kind; it is there, and a regular file."""
    if suffix in ("", *_SIGNAL_SUFFIXES):
        stem = path.name[: len(path.name) - len(suffix)]
        header = path.with_name(f"{stem}.hea")
        if not header.exists():
            if suffix:
                expected = f"no header {header.name} beside {path.name}; without one (WFDB) a {suffix} file is not read"
                raise RefusedRecordError(name, "file_absent", expected)
            if path.is_file():
                known = ", ".join(sorted(SUFFIXES))
                raise RefusedRecordError(name, "unknown_format", f"suffix {path.suffix!r}, expected one of {known}")
            raise RefusedRecordError(name, "file_absent", f"no file {path}, and no header {header.name}")
        path, suffix = header, ".hea"
    try:
        state = os.stat(path)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        kind = "header " if suffix == ".hea" else ""
        raise RefusedRecordError(name, "file_absent", f"no {kind}file {path}") from None
    if not stat.S_ISREG(state.st_mode):
        raise RefusedRecordError(name, "malformed", f"{path.name} is not a regular file")
    if not state.st_size and suffix != ".hea":  # of which its reader says more
        raise RefusedRecordError(name, "unreadable", f"{path.name} is empty")
    return path, suffix


def _refusal(name: str, suffix: str, error: Exception, handled: BaseException | None) -> RefusedRecordError:
    if (trouble := refusal_of_trouble(name, error, handled)) is not None:
        return _in_one_line(trouble)
    if isinstance(error, RefusedRecordError):
        return _in_one_line(error)
    kind = {".hea": "the signal file, or its header,", "": "the file"}.get(suffix, f"the {suffix} file")
    first = (str(error).splitlines() or [""])[0][:200]
    found = f"{kind} is cut or damaged: {type(error).__name__}: {first}"
    return _in_one_line(RefusedRecordError(name, "unreadable", found))


def _checked(recording: Recording) -> Recording:
    """What no reader may return."""
    leads, samples = recording.signal_mv.shape
    if not leads or not samples:
        found = f"{leads} leads of {samples} samples, expected an ECG"
        raise RefusedRecordError(recording.name, "no_signals", found)
    longest = max(map(len, recording.leads))
    if leads > MAX_LEADS or longest > MAX_LEAD_NAME:
        raise RefusedRecordError(
            recording.name,
            "malformed",
            f"{leads} leads, a name of {longest} characters, expected at most {MAX_LEADS} and {MAX_LEAD_NAME}",
        )
    return recording


def _in_one_line(refusal: RefusedRecordError) -> RefusedRecordError:
    """The same refusal; what a file says is shown, whatever signs and lengths it has."""
    detail = " ".join(refusal.detail[: 2 * MAX_DETAIL].split())
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in detail)
    if len(shown) > MAX_DETAIL:
        shown = f"{shown[:MAX_DETAIL]} ..."
    return refusal if shown == refusal.detail else RefusedRecordError(refusal.record, refusal.reason, shown)
