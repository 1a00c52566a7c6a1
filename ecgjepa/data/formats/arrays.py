"""NumPy files: `.npy`, which says nothing about itself, and `.npz`, which may say all.

Axes: N records, L leads, S samples.
"""

import functools
import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.lib import format as npy

from ecgjepa.data.formats.claims import check_claim
from ecgjepa.data.formats.hints import Hints, calibrate, leads_last, settle_leads, settle_rate
from ecgjepa.data.formats.words import lead_names, number, text
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

SIGNAL, RATE, LEADS, UNIT = "signal", "sampling_rate_hz", "leads", "unit"
# A list of a thousand lead names is 64 kB.
MAX_WORDS_BYTES = 2**20
# An `.npz` is read as a whole, all its records together.
MAX_ARRAY_BYTES = 16 * 2**30
# NumPy reads no longer header; 16 bytes are the signature and the length.
MAX_HEADER_BYTES = 16 + 10_000


def read_npy(path: Path, row: int | None, name: str, hints: Hints) -> Recording:
    """Read one ECG of an array (L, S), (S, L) or (N, L, S); the file is mapped, so that a row costs a row.

    Raises:
        RefusedRecordError: `unreadable`, `malformed`, `not_an_ecg`, `unknown_sampling_rate`, `unknown_leads`,
            `unknown_unit` or `uncalibrated`.
    """
    values = _take(_map(path, name), row, name)
    return _recording(name, values, None, None, None, hints)


def read_npz(path: Path, row: int | None, name: str, hints: Hints) -> Recording:
    """Read one ECG of the key `signal`; `sampling_rate_hz`, `leads` and `unit` say what the hints else must.

    Raises:
        RefusedRecordError: as `read_npy`, and `contradiction`.
    """
    keys = _load(path, name)
    rate_hz = number(name, RATE, keys.get(RATE))
    leads = lead_names(name, keys.get(LEADS))
    unit = text(name, UNIT, keys.get(UNIT))
    return _recording(name, _take(keys[SIGNAL], row, name), rate_hz, leads, unit, hints)


def count_npy(path: Path, name: str) -> int | None:
    """Records of an array of three axes; None for one of two, which is one record."""
    values = _map(path, name)
    return values.shape[0] if values.ndim == 3 else None


def count_npz(path: Path, name: str) -> int | None:
    """As `count_npy`, for the key `signal`, of which no sample is read."""
    with zipfile.ZipFile(path) as archive:
        _, shape = _used_members(archive, name)
    return shape[0] if len(shape) == 3 else None


def _recording(
    name: str,
    values: ndarray,
    rate_hz: float | None,
    leads: tuple[str, ...] | None,
    unit: str | None,
    hints: Hints,
) -> Recording:
    rate_hz = settle_rate(name, rate_hz, hints)
    transposed, leads = leads_last(name, values.shape, settle_leads(name, leads, hints))
    signal_mv = calibrate(name, values.T if transposed else values, unit, hints)
    return Recording(name, np.ascontiguousarray(signal_mv), leads, rate_hz)


def _take(values: ndarray, row: int | None, name: str) -> ndarray:
    if values.ndim == 2:
        if row is not None:
            raise RefusedRecordError(
                name, "malformed", f"row {row} of an array of shape {values.shape}, expected (n, leads, samples)"
            )
        return values
    if row is None:
        raise RefusedRecordError(name, "malformed", f"an array of {len(values)} records, expected --row (row=)")
    if not 0 <= row < len(values):
        raise RefusedRecordError(name, "unreadable", f"row {row} of an array of {len(values)} records")
    return values[row]


def _map(path: Path, name: str) -> ndarray:
    with path.open("rb") as file:
        shape, dtype = _check_samples(file, path.stat().st_size, name, path.name)
    check_claim(name, math.prod(shape[-2:]) * dtype.itemsize, path.stat().st_size, "a record")
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _load(path: Path, name: str) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        used, _ = _used_members(archive, name)
    stat = path.stat()
    return _load_file(str(path), tuple(used), stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _used_members(archive: zipfile.ZipFile, name: str) -> tuple[dict[str, zipfile.ZipInfo], tuple[int, ...]]:
    """The keys that are read, none of which claims more than it holds, and the shape of the samples."""
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if len(members) < len(archive.infolist()):
        raise RefusedRecordError(name, "malformed", f"a key is there twice, expected one of each of {list(members)}")
    if SIGNAL not in members:
        raise RefusedRecordError(
            name, "not_an_ecg", f"no key {SIGNAL!r} in the file, found {', '.join(members) or 'none'}"
        )
    used = {key: members[key] for key in (SIGNAL, RATE, LEADS, UNIT) if key in members}
    for key, info in used.items():
        check_claim(name, info.file_size, info.compress_size, f"key {key}", MAX_ARRAY_BYTES)
        if key != SIGNAL and info.file_size > MAX_WORDS_BYTES:
            raise RefusedRecordError(name, "malformed", f"key {key} has {info.file_size} bytes, expected a few words")
        if key != SIGNAL:
            with archive.open(info) as file:
                _check_header(file, info.file_size, name, f"key {key}")
    with archive.open(used[SIGNAL]) as file:
        return used, _check_samples(file, used[SIGNAL].file_size, name, f"key {SIGNAL}")[0]


@functools.lru_cache(maxsize=1)
def _load_file(path: str, keys: tuple[str, ...], *_identity: int) -> dict[str, Any]:
    """The arrays, kept for the next row; another file of the same name is another file."""
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in keys}


def forget() -> None:
    """Let go of the arrays that are kept for the next row."""
    _load_file.cache_clear()


def _check_samples(file: Any, held_bytes: int, name: str, what: str) -> tuple[tuple[int, ...], Any]:
    """Shape and type of a NumPy array, which must be one of samples."""
    shape, dtype = _check_header(file, held_bytes, name, what)
    if dtype.kind not in "iuf" or len(shape) not in (2, 3):
        raise RefusedRecordError(
            name, "not_an_ecg", f"{what} is of type {dtype} and shape {shape}, expected numbers (leads, samples)"
        )
    return shape, dtype


def _check_header(file: Any, held_bytes: int, name: str, what: str) -> tuple[tuple[int, ...], Any]:
    """Shape and type in the header of a NumPy array, held against the bytes that are there."""
    file = io.BytesIO(file.read(MAX_HEADER_BYTES))  # whatever length the header claims
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise RefusedRecordError(
            name, "malformed", f"{what} is a NumPy array of version {version}, expected 1.0 or 2.0"
        )
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, _, dtype = read_header(file)
    except (MemoryError, RecursionError) as error:  # what the parser of Python says of brackets without end
        raise RefusedRecordError(
            name, "unreadable", f"{what} has a header that is too deep, expected a NumPy array"
        ) from error
    if dtype.hasobject:
        raise RefusedRecordError(
            name, "not_an_ecg", f"{what} is of type {dtype}, which is never loaded, expected numbers"
        )
    expected = file.tell() + math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or held_bytes != expected:
        raise RefusedRecordError(
            name, "unreadable", f"{what} has {held_bytes} bytes, expected {expected} for the shape {shape}"
        )
    return shape, dtype
