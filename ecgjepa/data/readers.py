"""One file -> one `Recording` in mV with lead names: which reader a file goes to, by its suffix.

Nothing outside of this file and `formats/` knows file formats.
"""

from collections.abc import Callable
from pathlib import Path

from ecgjepa.data.formats.arrays import count_npy, count_npz, read_npy, read_npz
from ecgjepa.data.formats.dicom import read_dicom
from ecgjepa.data.formats.edf import read_edf
from ecgjepa.data.formats.hdf5 import CODE15_LEADS, count_hdf5, read_hdf5
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.formats.table import read_table
from ecgjepa.data.formats.wfdb import read_wfdb
from ecgjepa.data.formats.xml import read_xml
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

__all__ = ["CODE15_LEADS", "MANY_SUFFIXES", "NO_HINTS", "SUFFIXES", "Hints", "count_records", "read"]

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
        RefusedRecordError: whatever is wrong with the file, nothing else is raised.
    """
    path = Path(path)
    suffix = _suffix(path)
    stem = path.name[: len(path.name) - len(suffix)]
    name = name or (stem if row is None else f"{stem}[{row}]")
    path, suffix = _locate(path, suffix, name)
    try:
        if suffix in _MANY:
            return _MANY[suffix](path, row, name, hints)
        if row is not None:
            raise RefusedRecordError(name, "malformed", f"row {row} of a {suffix} file, which holds one record")
        return _SINGLE[suffix](path, name, hints)
    except (RefusedRecordError, MemoryError):
        raise
    except Exception as error:  # a library raises whatever a broken file makes it run into; the record is named
        raise _unreadable(name, suffix, error) from error


def count_records(path: Path | str) -> int | None:
    """How many records a file holds, if it is one that may hold many; None for one record a file.

    Raises:
        RefusedRecordError: the file cannot be read, or is of no known format.
    """
    path = Path(path)
    name = path.stem
    path, suffix = _locate(path, _suffix(path), name)
    try:
        return _COUNT[suffix](path, name) if suffix in _COUNT else None
    except (RefusedRecordError, MemoryError):
        raise
    except Exception as error:  # as in `read`
        raise _unreadable(name, suffix, error) from error


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
    if not path.exists():
        kind = "header " if suffix == ".hea" else ""
        raise RefusedRecordError(name, "file_absent", f"no {kind}file {path}")
    if not path.is_file():
        raise RefusedRecordError(name, "malformed", f"{path.name} is not a regular file")
    return path, suffix


def _unreadable(name: str, suffix: str, error: Exception) -> RefusedRecordError:
    kind = "the signal file, or its header," if suffix == ".hea" else f"the {suffix} file"
    first = (str(error).splitlines() or [""])[0][:200]
    return RefusedRecordError(name, "unreadable", f"{kind} is cut or damaged: {type(error).__name__}: {first}")
