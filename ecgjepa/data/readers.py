"""One file -> one `Recording` in mV with lead names. Nothing else in the project knows file formats."""

import functools
import re
import tempfile
from pathlib import Path

import numpy as np

from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

CODE15_LEADS = ("DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
CODE15_SAMPLING_RATE_HZ = 400.0

_MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}


def read(path: Path, row: int | None = None, name: str | None = None) -> Recording:
    """Read one ECG: a WFDB header, or one row of a CODE-15% HDF5 file.

    Args:
        path: `.hea` file (or the record's path without suffix), or `.hdf5`/`.h5` file.
        row: row of the HDF5 file; None for WFDB.
        name: what to call the record; the file's stem (or the exam's id) if None.

    Raises:
        RefusedRecordError: the file is absent, cut, malformed, without signals or in an unknown unit.
    """
    if row is not None:
        return read_code15(path, row, name)
    return read_wfdb(path, name)


def read_wfdb(path: Path, name: str | None = None) -> Recording:
    """Read a WFDB record of any format that `wfdb` knows (`.dat`, `.mat`, multi-segment); units from the header.

    Headers that `wfdb` refuses for what the signal does not need (a record name with a suffix, an unreadable date)
    are read without it.
    """
    import wfdb

    header = path if path.suffix == ".hea" else path.with_name(path.name + ".hea")
    name = name or header.stem
    if not header.is_file():
        raise RefusedRecordError(name, "file_absent", f"no header file {header}")
    try:
        record_line, file_names = _check_header(header, name)
        try:
            record = wfdb.rdrecord(str(header.with_suffix("")), return_res=32)
        except ValueError:
            record = _read_with_clean_header(header, record_line, file_names)
    except RefusedRecordError:
        raise
    except Exception as error:  # wfdb raises whatever its parsing ran into; the record is named and accounted for
        raise RefusedRecordError(name, "unreadable", f"wfdb: {type(error).__name__}: {error}") from error
    if record.p_signal is None or record.n_sig == 0:
        raise RefusedRecordError(name, "no_signals", "the header lists no signals, expected ECG leads")
    if record.p_signal.shape[0] != record.sig_len:
        raise RefusedRecordError(
            name, "unreadable", f"{record.p_signal.shape[0]} samples in the file, expected {record.sig_len}"
        )
    scale_L = np.array([_mv_per_unit(unit, name) for unit in record.units], dtype=np.float32)
    signal_mv = np.ascontiguousarray((record.p_signal * scale_L).T, dtype=np.float32)
    return Recording(name, signal_mv, tuple(record.sig_name), float(record.fs), tuple(record.comments))


def read_code15(path: Path, row: int, name: str | None = None) -> Recording:
    """Read one row of a CODE-15% file: `tracings` (n, 4096, 12) at 400 Hz, taken as mV as they stand."""
    name = name or f"{path.stem}[{row}]"
    if row < 0:
        raise RefusedRecordError(name, "unreadable", f"the exam ids of {path.name} cannot be read, so no exam is found")
    try:
        stat = path.stat()
        tracings = _open_hdf5(str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)["tracings"]
        if tracings.ndim != 3 or tracings.shape[2] != len(CODE15_LEADS):
            raise RefusedRecordError(name, "malformed", f"tracings of shape {tracings.shape}, expected (n, 4096, 12)")
        signal_mv = np.ascontiguousarray(tracings[row].T, dtype=np.float32)
    except RefusedRecordError:
        raise
    except (OSError, KeyError, IndexError, ValueError, RuntimeError) as error:
        raise RefusedRecordError(name, "unreadable", f"{path.name}: {type(error).__name__}: {error}") from error
    return Recording(name, signal_mv, CODE15_LEADS, CODE15_SAMPLING_RATE_HZ)


@functools.lru_cache(maxsize=2)
def _open_hdf5(path: str, *_identity: int):  # type: ignore[no-untyped-def]  # h5py has no types
    """The open file, kept for the next row; another file of the same name is another file."""
    import h5py

    return h5py.File(path, "r")


def _mv_per_unit(unit: str, name: str) -> float:
    try:
        return _MV_PER_UNIT[unit.strip().lower()]
    except KeyError:
        raise RefusedRecordError(name, "unknown_unit", f"unit {unit!r}, expected one of mV, uV, V, nV") from None


def _check_header(header: Path, name: str) -> tuple[str, set[str]]:
    """The record line and the names of the signal files, which must lie beside the header."""
    text = header.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise RefusedRecordError(name, "malformed", f"the header {header.name} is empty")
    fields = lines[0].split()
    if len(fields) > 2 and not re.fullmatch(r"\d+\.?\d*(/.*)?", fields[2]):
        raise RefusedRecordError(name, "malformed", f"sampling rate {fields[2]!r} in the header, expected a number")
    if len(fields) > 3 and not fields[3].isdigit():
        raise RefusedRecordError(name, "malformed", f"number of samples {fields[3]!r} in the header, expected a count")
    signals = [line.split() for line in lines[1:]] if "/" not in fields[0] else []  # else these are segments
    if any(len(signal) > 2 and re.match(r"0+(\.0*)?(\D|$)", signal[2]) for signal in signals):
        raise RefusedRecordError(name, "uncalibrated", "gain 0 in the header: its amplitude is not known")
    file_names = {line.split()[0] for line in lines[1:]} - {"~"}
    for file_name in file_names:
        if Path(file_name).name != file_name:
            raise RefusedRecordError(
                name, "malformed", f"the header names the file {file_name!r}, expected one in its own folder"
            )
        if (header.parent / file_name).exists() and not (header.parent / file_name).is_file():
            raise RefusedRecordError(name, "malformed", f"{file_name!r} is not a regular file")
    return lines[0], file_names


def _read_with_clean_header(header: Path, record_line: str, file_names: set[str]):  # type: ignore[no-untyped-def]
    """Let wfdb read the signal beside a copy of the header whose record line is reduced to what the signal needs."""
    import wfdb

    text = header.read_text(encoding="utf-8", errors="replace")
    clean_line = " ".join(["record", *record_line.split()[1:4]])
    with tempfile.TemporaryDirectory() as folder:
        for file_name in file_names:
            (Path(folder) / file_name).symlink_to((header.parent / file_name).resolve())
        Path(folder, "record.hea").write_text(text.replace(record_line, clean_line, 1), encoding="utf-8")
        return wfdb.rdrecord(str(Path(folder, "record")), return_res=32)
