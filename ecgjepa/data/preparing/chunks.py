"""One chunk of a listing -> the bytes of its kept signals, and one table of what happened to every record.

NAME.building/listing.arrow   a record batch for every chunk
              00000012.bin    int16 (n, L, S) of the kept records of chunk 12
              00000012.arrow  a row for every record of it; written last: a chunk that has it is done
"""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float32, Int16
from numpy import ndarray

from ecgjepa.data.listings.labels import HeaderNotes, read_header_notes
from ecgjepa.data.listings.listing import hints_of, printable
from ecgjepa.data.readers import read
from ecgjepa.data.store import UV_PER_MV, signal_hash
from ecgjepa.errors import PrepareError, RefusedRecordError
from ecgjepa.files import atomic_path
from ecgjepa.signal import SignalContract
from ecgjepa.windows import standardize

LISTING = "listing.arrow"
MAX_DETAIL = 1000  # signs
_INT16_MAX = np.iinfo(np.int16).max
# What is needed of a listing to read a record.
READ = ["record", "path", "row", "sampling_rate_hz", "leads", "unit", "gain_per_mv"]
# What is known of a record besides what its listing says.
OUTCOME = {
    "kept": pa.bool_(),
    "reason": pa.string(),
    "detail": pa.string(),
    "changes": pa.list_(pa.string()),
    "flags": pa.list_(pa.string()),
    "signal_hash": pa.binary(16),
}

_REFUSED: dict[str, Any] = dict.fromkeys(OUTCOME) | {"kept": False, "changes": [], "flags": []}
_ABSENT = _REFUSED | {"reason": "file_absent", "detail": "the table lists it, its file is not there"}


def chunk_files(building: Path, number: int) -> tuple[Path, Path]:
    """The signals and the rows of a chunk."""
    return building / f"{number:08d}.bin", building / f"{number:08d}.arrow"


def count_chunks(building: Path) -> int:
    """Chunks of the listing."""
    if not (building / LISTING).stat().st_size:  # nothing to prepare, only what is said otherwise now
        return 0
    with pa.memory_map(str(building / LISTING)) as file:
        return pa.ipc.open_file(file).num_record_batches


def read_rows(path: Path) -> pa.Table:
    """The rows of a chunk that is done."""
    with path.open("rb") as file:
        return pa.ipc.open_file(file).read_all()


def prepare_chunk(
    number: int,
    *,
    building: Path,
    data_dir: Path,
    contract: SignalContract,
    header_labels: Mapping[str, Callable[[HeaderNotes], list[str] | None]],
) -> int:
    """Read, standardise, quantise and write one chunk; how many records it has.

    Raises:
        PrepareError: none of its files is there, nor a folder of theirs.
    """
    with pa.memory_map(str(building / LISTING)) as file:
        batch = pa.ipc.open_file(file).get_batch(number)
    listed = batch.select(READ).to_pylist()
    paths = [os.fsdecode(row["path"]) for row in listed if row["path"] is not None]
    _check_files_are_seen(building, data_dir, paths)
    signals, rows = [], []
    for row in listed:
        signal_uv, outcome = (None, _ABSENT) if row["path"] is None else _prepare_record(row, contract, header_labels)
        if signal_uv is not None:
            signals.append(signal_uv)
        rows.append(outcome)
    columns = {name: batch.column(name) for name in batch.schema.names}
    for name in ("age", "sex", *(f"labels_{level}" for level in header_labels)) if header_labels else ():
        columns[name] = pa.array([row.get(name) for row in rows], batch.schema.field(name).type)
    columns |= {name: pa.array([row[name] for row in rows], kind) for name, kind in OUTCOME.items()}
    table = pa.table(columns)
    signal_file, rows_file = chunk_files(building, number)
    with atomic_path(signal_file, flush=False) as path, path.open("wb") as file:
        file.writelines(signal.data for signal in signals)
    with atomic_path(rows_file, flush=False) as path, pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return len(listed)


def _check_files_are_seen(building: Path, data_dir: Path, paths: list[str]) -> None:
    """A disk that is no longer mounted, or a node that never had it, is not a reason to refuse its records."""
    if not paths or any(map(os.path.lexists, paths)):
        return
    folders = {os.path.dirname(path) for path in paths}
    if any(map(os.path.isdir, folders)) and any(data_dir.iterdir()):
        return
    raise PrepareError(
        f"{socket.gethostname()} sees neither {printable(paths[0])} nor its folder, or nothing in {data_dir}: is it "
        f"mounted there? What is done is kept, the same command goes on; if it is gone for good, remove {building}"
    )


def _prepare_record(
    row: dict[str, Any],
    contract: SignalContract,
    header_labels: Mapping[str, Callable[[HeaderNotes], list[str] | None]],
) -> tuple[Int16[ndarray, "leads samples"] | None, dict[str, Any]]:
    try:
        recording = read(Path(os.fsdecode(row["path"])), row["row"], row["record"], hints_of(row))
        standardized = standardize(recording, contract)
        signal_uv, clipped = quantise(standardized.signal_mv)
        outcome = dict(_REFUSED)
        if header_labels:
            notes = read_header_notes(recording.comments)
            outcome |= {"age": notes.age, "sex": notes.sex}
            outcome |= {f"labels_{level}": labels_of(notes) for level, labels_of in header_labels.items()}
    except RefusedRecordError as refusal:
        return None, _REFUSED | {"reason": refusal.reason, "detail": printable(refusal.detail)[:MAX_DETAIL]}
    except (MemoryError, OSError):
        raise  # the machine's trouble, not the record's
    except Exception as error:  # one record that nobody foresaw must not end the load of all others
        return None, _REFUSED | {
            "reason": "unreadable",
            "detail": printable(f"{type(error).__name__}: {error}")[:MAX_DETAIL],
        }
    return signal_uv, outcome | {
        "kept": True,
        "changes": list(standardized.changes),
        "flags": [*standardized.flags, *(["clipped"] if clipped else [])],
        "signal_hash": signal_hash(signal_uv),
    }


def quantise(signal_mv: Float32[ndarray, "leads samples"]) -> tuple[Int16[ndarray, "leads samples"], int]:
    """Round mV to whole microvolts in int16, and count the samples beyond +-32.767 mV, which are set to that."""
    signal_uv = np.rint(signal_mv * UV_PER_MV)
    if signal_uv.min() >= -_INT16_MAX and signal_uv.max() <= _INT16_MAX:
        return signal_uv.astype("<i2"), 0
    clipped = int(np.count_nonzero(np.abs(signal_uv) > _INT16_MAX))
    return np.clip(signal_uv, -_INT16_MAX, _INT16_MAX).astype("<i2"), clipped
