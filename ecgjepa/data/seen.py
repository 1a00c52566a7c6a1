"""What a model was trained on, as numbers: enough to find the same ECG or patient again, not to name them.

    runs/NAME/seen.parquet   a row for each record: `signal`, `record`, `patient`, 64 bits each

`signal` is the beginning of the hash of the standardised signal, so a record is found under another name and in another
data set as long as it was brought to the same contract; `record` and `patient` are hashes of names within a data set.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, UInt64
from numpy import ndarray

from ecgjepa.data.listings.listing import name_hashes
from ecgjepa.data.store import Store
from ecgjepa.files import atomic_path

KINDS = ("signal", "record", "patient")
PIECE = 65_536
# Layouts whose record and patient names mean the same wherever the files lie.
PUBLISHED = ("ptbxl", "shaoxing", "code15", "cpsc")


class SeenError(ValueError):
    """A file that is not the list of what a model was trained on."""


@dataclass(frozen=True)
class Seen:
    """What a model was trained on.

    Attributes:
        signal, record, patient: sorted hashes.
        contracts: of the stores that were trained on.
        namespaces: of their names, see `namespace`.
    """

    signal: UInt64[ndarray, "s"]
    record: UInt64[ndarray, "r"]
    patient: UInt64[ndarray, "p"]
    contracts: tuple[dict, ...]
    namespaces: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> "Seen":
        """Raises SeenError for a file of another kind."""
        try:
            table = pq.read_table(path)
            contracts, namespaces = (json.loads(table.schema.metadata[key]) for key in (b"contracts", b"namespaces"))
            columns = [np.unique(table[kind].to_numpy()) for kind in KINDS]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SeenError(f"{path} is not the list of what a model was trained on: {error}") from error
        return cls(columns[0], columns[1], columns[2], tuple(contracts), tuple(namespaces))

    def among(self, store: Store, rows: ndarray) -> dict[str, Bool[ndarray, "n"]]:
        """Which rows of a store were seen: the same `signal`, or the same `record` or `patient` of one data set.

        Where no contract is the store's, no signal is the same.
        """
        found = {kind: np.zeros(len(rows), bool) for kind in KINDS}
        for start, hashes in _hashes(store, rows):
            for kind in KINDS:
                found[kind][start : start + PIECE] = np.isin(hashes[kind], getattr(self, kind))
        if not self.knows(store):
            found["signal"][:] = False
        return found

    def names(self, store: Store) -> bool:
        """Whether names can be compared: the store's mean the same as those of something that was trained on."""
        return hashlib.sha256(namespace(store).encode()).hexdigest() in self.namespaces

    def knows(self, store: Store) -> bool:
        """Whether signals can be compared: those of other contracts differ even where the ECG is the same."""
        return store.contract.to_dict() in self.contracts


def namespace(store: Store) -> str:
    """Within what names of records and patients mean the same: a published data set, or a folder of one's own."""
    source = store.info.get("source") or {}
    if source.get("layout", "ptbxl") in PUBLISHED:
        return str(store.info["dataset"])
    return f"own ECGs in {source.get('data_dir')}"


def write_seen(path: Path, trained_on: Sequence[tuple[Store, ndarray]]) -> None:
    """Note what is trained on: of each store, some rows."""
    about = {
        "contracts": [store.contract.to_dict() for store, _ in trained_on],
        "namespaces": [hashlib.sha256(namespace(store).encode()).hexdigest() for store, _ in trained_on],
    }
    schema = pa.schema([(kind, pa.uint64()) for kind in KINDS])
    schema = schema.with_metadata({key: json.dumps(values) for key, values in about.items()})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, use_dictionary=False) as writer:
        for store, chosen in trained_on:
            for _, hashes in _hashes(store, chosen):
                writer.write_table(pa.table(hashes, schema=schema))


def _hashes(store: Store, rows: ndarray) -> Iterator[tuple[int, dict[str, UInt64[ndarray, "n"]]]]:
    """Hashes of some rows, piece by piece."""
    name = namespace(store)
    columns = {
        kind: store.column(column) for kind, column in zip(KINDS, ("signal_hash", "record", "patient"), strict=True)
    }
    for start in range(0, len(rows), PIECE):
        some = {kind: column.take(pa.array(rows[start : start + PIECE])) for kind, column in columns.items()}
        signal = np.frombuffer(b"".join(some["signal"].to_pylist()), "<u8")[::2]
        records = some["record"].to_pylist()
        patients = [
            patient or f"record {record}" for patient, record in zip(some["patient"].to_pylist(), records, strict=True)
        ]
        named = [name_hashes(pa.array([f"{name}/{each}" for each in names])) for names in (records, patients)]
        yield start, dict(zip(KINDS, (signal, *named), strict=True))
