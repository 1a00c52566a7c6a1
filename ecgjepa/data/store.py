"""The store: one array of standardised ECGs, one table, one description with an account.

    stores/NAME/signals.npy       int16 (N, L, S) in microvolts, as the contract says
                records.parquet   N rows: record, source, patient, fold, split, age, sex, device, site, flags,
                                  file_state, signal_hash, labels_<level>
                refused.csv       every record that is not in the array, by name, with the reason
                store.json        contract, levels, account, checksums, versions

`device` and `site` came later: a store that was prepared before may lack them.

N is what the account of `store.json` calls `kept`. Rows beyond N belong to an addition that is not finished, and are
ignored. `signal_hash` says what a row is, the checksum of `signals.npy` is the digest of all these hashes.

Axes: N records, L leads, S samples.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float32, Int16
from numpy import ndarray

from ecgjepa.data.signal_file import SignalFile
from ecgjepa.signal import SignalContract

if TYPE_CHECKING:
    import pandas as pd  # slow to import, and of no use to workers that write chunks

FORMAT = 2
UV_PER_MV = 1000.0
SIGNALS, RECORDS, REFUSED, DESCRIPTION = "signals.npy", "records.parquet", "refused.csv", "store.json"

KEYS: dict[str, type] = {"dataset": str, "contract": dict, "levels": dict, "account": dict, "checksums": dict}
# Not part of `Store.records`: of use to the writer and to `verify` only, and large.
BOOKKEEPING = ("file_state", "listed_state", "signal_hash")
COLUMNS = ("record", "source", "patient", "fold", "split", "age", "sex", "flags", "file_state", "signal_hash")
SPLITS = ("train", "validation", "test")
VERIFIED_AT_ONCE = 256


class StoreError(ValueError):
    """A folder that is not a whole store; the message says what is wrong with which file."""


@dataclass(frozen=True)
class Store:
    """A prepared data set, opened for reading. It can be pickled and shared by threads and forked processes.

    Attributes:
        path: its folder.
        info: what `store.json` says.
        contract: what the signals were brought to.
        signals: the rows on disk.
    """

    path: Path
    info: dict[str, Any]
    contract: SignalContract
    signals: SignalFile

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open a store; reads no more of the table than its size and the splits.

        Raises:
            StoreError: a file is missing, cut, or does not agree with `store.json`.
        """
        path = Path(path)
        info = read_description(path)
        try:
            contract, kept = SignalContract.from_dict(info["contract"]), info["account"]["kept"]
            if not isinstance(kept, int) or isinstance(kept, bool) or kept < 0:
                raise TypeError(f"kept is {kept!r}, expected a whole number")
            store = cls(path, info, contract, SignalFile(path / SIGNALS, (kept, len(contract.leads), contract.samples)))
            store._check_table()
        except StoreError:
            raise
        except (OSError, ValueError) as error:
            raise StoreError(f"store {path}: {error}") from error
        except (KeyError, TypeError) as error:
            raise StoreError(f"store {path}: unusable contract or account in {DESCRIPTION}: {error}") from error
        return store

    def __len__(self) -> int:
        return self.signals.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}  # not what was read meanwhile

    @cached_property
    def signals_uv(self) -> Int16[ndarray, "records leads samples"]:
        """(N, L, S) int16 memory map in microvolts. What is read through it stays in resident memory."""
        file = self.signals
        if not len(self):
            return np.empty(file.shape, np.int16)  # nothing cannot be mapped
        return np.memmap(file.path, np.dtype("<i2"), "r", file.offset, file.shape)

    @cached_property
    def records(self) -> "pd.DataFrame":
        """N rows, see the module's text, as objects in memory; `labels_<level>` and `flags` are lists, or None.

        Of large stores `column` costs less.
        """
        import pandas as pd

        names = [name for name in self._columns() if name not in BOOKKEEPING]
        try:
            records = pd.read_parquet(self.path / RECORDS, columns=names).iloc[: len(self)].copy()
        except (OSError, ValueError) as error:
            raise StoreError(f"store {self.path}: {RECORDS}: {error}") from error
        for name in names:
            if name == "flags" or name.startswith("labels_"):
                records[name] = self.column(name).to_pylist()
        return records.astype({"fold": "Int64"})  # pandas would make floats of them where some are missing

    def has_column(self, name: str) -> bool:
        """Whether the table has a column of this name."""
        return name in self._columns()

    def column(self, name: str) -> pa.ChunkedArray:
        """One column of the table, N values as they lie in the file.

        Raises:
            StoreError: there is none of that name, or the table cannot be read.
        """
        if name not in (names := self._columns()):
            raise StoreError(f"store {self.path}: no column {name!r} in {RECORDS}, found {names}")
        try:
            with pq.ParquetFile(self.path / RECORDS) as file:
                return file.read(columns=[name]).column(name).slice(0, len(self))
        except (OSError, ValueError) as error:
            raise StoreError(f"store {self.path}: {RECORDS}: {error}") from error

    def signals_mv(self, rows: Sequence[int] | ndarray) -> Float32[ndarray, "records leads samples"]:
        """Signals of some rows, (n, L, S) float32 in mV, in the order asked for."""
        rows = np.asarray(rows, dtype=np.int64)
        signals_mv = np.empty((len(rows), *self.signals.shape[1:]), np.float32)
        self.read_into(rows, signals_mv)
        return signals_mv

    def read_into(
        self,
        rows: Sequence[int] | ndarray,
        out_mv: Float32[ndarray, "room leads samples"],
        places: Sequence[int] | ndarray | None = None,
    ) -> None:
        """The same into an array that is there.

        Args:
            places: where in `out_mv` each row goes; the first row first if None.

        Raises:
            IndexError: there is no such row.
        """
        rows = np.asarray(rows, dtype=np.int64)
        places = np.arange(len(rows)) if places is None else np.asarray(places, dtype=np.int64)
        self.signals.read_into(rows, out_mv, places)
        for place in places.tolist():
            out_mv[place] /= np.float32(UV_PER_MV)

    def verify(self) -> None:
        """Compare the files with the checksums: the table, then every row of the array, then all rows together.

        Raises:
            StoreError: for the first that differs, with the record's name.
        """
        if missing := [name for name in (RECORDS, SIGNALS) if name not in self.info["checksums"]]:
            raise StoreError(f"store {self.path}: no checksum of {', '.join(missing)} in {DESCRIPTION}")
        if pq.read_metadata(self.path / RECORDS).num_rows > len(self):
            raise StoreError(f"store {self.path}: an addition to it is not finished; run `ecgjepa prepare` again")
        if (found := sha256_of(self.path / RECORDS)) != (expected := self.info["checksums"][RECORDS]):
            raise StoreError(f"store {self.path}: SHA-256 of {RECORDS} is {found}, expected {expected}")
        hashes = self.column("signal_hash").to_pylist()
        for first in range(0, len(self), VERIFIED_AT_ONCE):
            rows = np.arange(first, min(first + VERIFIED_AT_ONCE, len(self)))
            signals_uv = np.empty((len(rows), *self.signals.shape[1:]), np.int16)
            self.signals.read_into(rows, signals_uv, rows - first)
            for row, signal_uv in zip(rows.tolist(), signals_uv, strict=True):
                if signal_hash(signal_uv) != hashes[row]:
                    record = self.column("record")[row].as_py()
                    raise StoreError(
                        f"store {self.path}: record {record}, row {row} of {SIGNALS}, is not what was prepared: "
                        f"its hash is {signal_hash(signal_uv).hex()}, expected {(hashes[row] or b'').hex() or 'one'}"
                    )
        if (found := digest_of(hashes)) != (expected := self.info["checksums"][SIGNALS]):
            raise StoreError(f"store {self.path}: the digest of {SIGNALS} is {found}, expected {expected}")

    def _columns(self) -> list[str]:
        if read_description(self.path).get("id") != self.info.get("id"):
            raise StoreError(f"store {self.path}: it was replaced since it was opened")
        return pq.read_schema(self.path / RECORDS).names

    def _check_table(self) -> None:
        with pq.ParquetFile(self.path / RECORDS, read_dictionary=["split"]) as file:
            if file.metadata.num_rows < len(self):
                raise ValueError(f"{RECORDS} has {file.metadata.num_rows} rows, expected {len(self)} or more")
            if missing := [name for name in COLUMNS if name not in file.schema_arrow.names]:
                raise ValueError(f"{RECORDS} lacks the columns {missing}")
            splits = pc.unique(file.read(columns=["split"]).column("split").slice(0, len(self))).to_pylist()
        if wrong := [split for split in splits if split is not None and split not in SPLITS]:
            raise ValueError(f"split {wrong[0]!r} in {RECORDS}, expected one of {SPLITS} or none")


def read_description(path: Path) -> dict[str, Any]:
    """What `store.json` says; raises StoreError if there is none, or of another format."""
    file = path / DESCRIPTION
    if not file.is_file():
        raise StoreError(f"{path} is not a store: no {DESCRIPTION} in it (make one with `ecgjepa prepare`)")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        version = info["format"]
        missing = [] if version != FORMAT else [key for key in KEYS if not isinstance(info.get(key), KEYS[key])]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file} is not the description of a store: {error!r}") from error
    if version != FORMAT:
        older = isinstance(version, int) and version < FORMAT
        what_to_do = "; it was made by an earlier version, prepare it again" if older else ""
        raise StoreError(f"{file}: store format {version}, expected {FORMAT}{what_to_do}")
    if missing:
        raise StoreError(f"{file}: {', '.join(missing)} missing or of another type")
    return info


def signal_hash(signal_uv: Int16[ndarray, "leads samples"]) -> bytes:
    """What a row is: the first 16 bytes of the SHA-256 of its samples as little-endian int16."""
    return hashlib.sha256(np.ascontiguousarray(signal_uv, dtype="<i2").data).digest()[:16]


def digest_of(hashes: Iterable[bytes]) -> str:
    """What an array is: the SHA-256, hexadecimal, of the hashes of its rows one after the other."""
    digest = hashlib.sha256()
    for each in hashes:
        digest.update(each)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
