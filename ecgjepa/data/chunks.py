"""One chunk of a listing -> one array of kept signals and one table of what happened to every record."""

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int16
from numpy import ndarray

from ecgjepa.data.labels import HeaderNotes, read_header_notes
from ecgjepa.data.readers import read
from ecgjepa.data.store import UV_PER_MV
from ecgjepa.errors import RefusedRecordError
from ecgjepa.files import atomic_path
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.windows import standardize

_INT16_MAX = np.iinfo(np.int16).max


def prepare_chunk(
    stem: Path,
    chunk: pd.DataFrame,
    *,
    contract: SignalContract,
    header_labels: Mapping[str, Callable[[HeaderNotes], list[str] | None]],
) -> int:
    """Write `stem.npy` with the kept signals, then `stem.parquet` with a row for every record of the chunk."""
    signals, rows = [], []
    for candidate in chunk.to_dict("records"):
        row: dict[str, Any] = {"kept": True, "reason": None, "detail": None, "changes": [], "flags": []}
        try:
            recording = _read(candidate)
            standardized = standardize(recording, contract)
            signal_uv, clipped = quantise(standardized.signal_mv)
            row["changes"] = list(standardized.changes)
            row["flags"] = [*standardized.flags, *(["clipped"] if clipped else [])]
            if header_labels:
                notes = read_header_notes(recording.comments)
                row |= {"age": notes.age, "sex": notes.sex}
                row |= {f"labels_{level}": labels_of(notes) for level, labels_of in header_labels.items()}
            signals.append(signal_uv)
        except RefusedRecordError as refusal:
            row |= {"kept": False, "reason": refusal.reason, "detail": refusal.detail}
        except (MemoryError, OSError):
            raise  # the machine's trouble, not the record's
        except Exception as error:  # one record that nobody foresaw must not end the load of all others
            row |= {"kept": False, "reason": "unreadable", "detail": f"{type(error).__name__}: {error}"}
        rows.append(candidate | row)
    with atomic_path(stem.with_suffix(".npy")) as file:
        write_signals(file, len(signals), contract, signals)
    with atomic_path(stem.with_suffix(".parquet")) as file:
        pd.DataFrame(rows).to_parquet(file)
    return len(chunk)


def write_signals(path: Path, records: int, contract: SignalContract, signals: Iterable[ndarray]) -> None:
    """Write an int16 `.npy` file of (N, L, S) piece by piece; a full disk is an OSError, unlike with a memory map.

    Args:
        records: N, known before.
        signals: arrays of one or several records.
    """
    shape = (records, len(contract.leads), contract.samples)
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype("<i2")), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        written: int = sum(file.write(piece.astype("<i2", copy=False).tobytes()) for piece in signals)
    assert written == 2 * math.prod(shape), "as many records as were promised"


def _read(candidate: dict[str, Any]) -> Recording:
    name, path, row = candidate["record"], candidate["path"], candidate["row"]
    if path is None or pd.isna(path):
        raise RefusedRecordError(name, "file_absent", "the table lists it, its file is not there")
    return read(Path(path), None if pd.isna(row) else int(row), name)


def quantise(signal_mv: Float32[ndarray, "leads samples"]) -> tuple[Int16[ndarray, "leads samples"], int]:
    """Round mV to whole microvolts in int16, and count the samples beyond +-32.767 mV, which are set to that."""
    signal_uv = np.rint(signal_mv * UV_PER_MV)
    clipped = int(np.count_nonzero(np.abs(signal_uv) > _INT16_MAX))
    return np.clip(signal_uv, -_INT16_MAX, _INT16_MAX).astype(np.int16), clipped
