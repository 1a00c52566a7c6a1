"""HDF5: one ECG or many in a data set `tracings`, `signal` or `ecg`; also CODE-15% as published.

Axes: N records, S samples, L leads.
"""

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ecgjepa.data.formats.claims import check_claim
from ecgjepa.data.formats.heap import check_heap
from ecgjepa.data.formats.hints import Hints, calibrate, leads_last, settle_leads, settle_rate
from ecgjepa.data.formats.words import lead_names, number, text
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

CODE15_LEADS = ("DI", "DII", "DIII", "AVR", "AVL", "AVF", "V1", "V2", "V3", "V4", "V5", "V6")
CODE15_SAMPLING_RATE_HZ = 400.0
CODE15_SHAPE = (4096, 12)

DATA_SETS = ("tracings", "signal", "ecg")
MAX_WORDS = 10_000
ATTRIBUTES = (("sampling_rate_hz", "fs"), ("leads", "lead_names"), ("unit",))


def read_hdf5(path: Path, row: int | None, name: str, hints: Hints) -> Recording:
    """Read one ECG of a data set (N, S, L) or (N, L, S), or the only one of a data set of two axes.

    Attributes `sampling_rate_hz` or `fs`, `leads` or `lead_names`, and `unit`, of the data set or the file, say what
    the hints else must. `tracings` (N, 4096, 12) beside `exam_id`, without any of these, is CODE-15%: 400 Hz, twelve
    leads, taken as mV as it stands.

    Raises:
        RefusedRecordError: `unreadable`, `malformed`, `unknown_sampling_rate`, `unknown_leads`, `unknown_unit`,
            `uncalibrated` or `contradiction`.
    """
    if row is not None and row < 0:
        raise RefusedRecordError(name, "unreadable", f"the exam ids of {path.name} cannot be read, so no exam is found")
    file, data = _open(path, name)
    said = [_attribute(file, data, keys, path, name) for keys in ATTRIBUTES]
    if all(each is None for each in said) and "exam_id" in file and data.shape[1:] == CODE15_SHAPE:
        rate_hz, leads, unit = hints.sampling_rate_hz, hints.leads, hints.unit
        hints = Hints(rate_hz or CODE15_SAMPLING_RATE_HZ, leads or CODE15_LEADS, unit or "mV", hints.gain_per_mv)
    values = _take(data, row, name)
    if data.ndim == 2:
        _open_file.cache_clear()  # no other row will be asked for: let the file go
    rate_hz = settle_rate(name, number(name, "sampling_rate_hz", said[0]), hints)
    transposed, leads = leads_last(name, values.shape, settle_leads(name, lead_names(name, said[1]), hints))
    signal_mv = calibrate(name, values.T if transposed else values, text(name, "unit", said[2]), hints)
    return Recording(name, np.ascontiguousarray(signal_mv), leads, rate_hz)


def count_hdf5(path: Path, name: str) -> int | None:
    """Records of a data set of three axes; None for one of two, which is one record."""
    _, data = _open(path, name)
    if data.ndim == 2:
        _open_file.cache_clear()
    return data.shape[0] if data.ndim == 3 else None


def _open(path: Path, name: str) -> tuple[Any, Any]:
    """The file and its data set, which must lie in this very file."""
    stat = path.stat()
    file = _open_file(str(path), stat.st_ino, stat.st_mtime_ns, stat.st_size)
    links = [key for key in DATA_SETS if key in file]
    if not links:
        raise RefusedRecordError(
            name, "unreadable", f"{path.name} has no data set {', '.join(DATA_SETS)}, found {', '.join(file) or 'none'}"
        )
    key = links[0]
    data = own_data_set(file, key)
    if data is None:
        raise RefusedRecordError(name, "malformed", f"{key} is no data set of this file")
    if data.ndim not in (2, 3) or data.dtype.kind not in "iuf":
        raise RefusedRecordError(
            name,
            "malformed",
            f"{key} of shape {data.shape} and type {data.dtype}, expected numbers (n, samples, leads)",
        )
    return file, data


def own_data_set(file: Any, key: str) -> Any | None:
    """A data set that lies in this very file; None for a group, a link, or one whose samples lie in other files."""
    import h5py

    data = file[key] if isinstance(file.get(key, getlink=True), h5py.HardLink) else None
    return data if isinstance(data, h5py.Dataset) and not data.is_virtual and not data.external else None


@functools.lru_cache(maxsize=2)
def _open_file(path: str, *_identity: int) -> Any:
    """The open file, kept for the next row; another file of the same name is another file."""
    import h5py

    return h5py.File(path, "r")


def forget() -> None:
    """Let go of the files that are kept open for the next row."""
    _open_file.cache_clear()


def _take(data: Any, row: int | None, name: str) -> ndarray:
    records = data.shape[0] if data.ndim == 3 else None
    if records is None and row is not None:
        raise RefusedRecordError(
            name, "malformed", f"row {row} of {data.name} with shape {data.shape}, expected (n, samples, leads)"
        )
    if records is not None and row is None:
        raise RefusedRecordError(name, "malformed", f"{data.name} holds {records} records, expected --row (row=)")
    if records is not None and row is not None and row >= records:
        raise RefusedRecordError(name, "unreadable", f"row {row} of {data.name}, which holds {records} records")
    held = data.id.get_storage_size()
    for what, shape in (("a record", data.shape[-2:]), ("a chunk", data.chunks or ())):
        check_claim(name, math.prod(shape) * data.dtype.itemsize, held, f"{what} of {data.name}")
    return data[()] if row is None else data[row]


def _attribute(file: Any, data: Any, keys: Sequence[str], path: Path, name: str) -> Any:
    for key in keys:
        for owner in (data, file):
            if key in owner.attrs:
                attribute = owner.attrs.get_id(key)
                if attribute.get_space().get_simple_extent_npoints() > MAX_WORDS:
                    raise RefusedRecordError(
                        name, "malformed", f"attribute {key} of shape {attribute.shape}, expected a few words"
                    )
                if attribute.dtype.hasobject:  # texts of any length
                    check_heap(name, path)
                return owner.attrs[key]
    return None
