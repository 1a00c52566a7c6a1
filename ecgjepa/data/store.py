"""The store: one memory-mapped array of standardised ECGs, one table, one description with an account.

    stores/NAME/signals.npy       int16 (N, L, S) in microvolts, as the contract says
                records.parquet   N rows: record, source, patient, fold, split, age, sex, flags, labels_<level>
                refused.csv       every record that is not in the array, by name, with the reason
                store.json        contract, levels, account, checksums, versions

Axes: N records, L leads, S samples.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float32, Int16
from numpy import ndarray

from ecgjepa.signal import SignalContract

FORMAT = 1
UV_PER_MV = 1000.0
SIGNALS, RECORDS, REFUSED, DESCRIPTION = "signals.npy", "records.parquet", "refused.csv", "store.json"


KEYS: dict[str, type] = {"dataset": str, "contract": dict, "levels": dict, "account": dict, "checksums": dict}
COLUMNS = ("record", "source", "patient", "fold", "split", "age", "sex", "flags")
SPLITS = ("train", "validation", "test")


class StoreError(ValueError):
    """A folder that is not a whole store; the message says what is wrong with which file."""


@dataclass(frozen=True)
class Store:
    """A prepared data set, opened for reading.

    Attributes:
        path: its folder.
        signals_uv: (N, L, S) int16 memory map in microvolts.
        records: N rows, see the module's text; `labels_<level>` are lists of class names, or None where a record has
            no label.
        info: what `store.json` says.
        contract: what the signals were brought to.
    """

    path: Path
    signals_uv: Int16[ndarray, "records leads samples"]
    records: pd.DataFrame
    info: dict[str, Any]
    contract: SignalContract

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """Open a store; reads the table, maps the array.

        Raises:
            StoreError: a file is missing, cut, or does not agree with `store.json`.
        """
        path = Path(path)
        info = read_description(path)
        try:
            contract = SignalContract.from_dict(info["contract"])
            expected = (info["account"]["kept"], len(contract.leads), contract.samples)
            signals_uv = np.load(path / SIGNALS, mmap_mode="r", allow_pickle=False)
            records = pd.read_parquet(path / RECORDS)
        except (OSError, ValueError) as error:
            raise StoreError(f"store {path}: {error}") from error
        except (KeyError, TypeError) as error:
            raise StoreError(f"store {path}: unusable contract or account in {DESCRIPTION}: {error}") from error
        if signals_uv.shape != expected or signals_uv.dtype != np.int16:
            raise StoreError(
                f"store {path}: {SIGNALS} is {signals_uv.dtype} {signals_uv.shape}, expected int16 {expected}"
            )
        if len(records) != len(signals_uv):
            raise StoreError(f"store {path}: {RECORDS} has {len(records)} rows, expected {len(signals_uv)}")
        if missing := [name for name in COLUMNS if name not in records]:
            raise StoreError(f"store {path}: {RECORDS} lacks the columns {missing}")
        if not (wrong := records["split"].dropna().loc[lambda split: ~split.isin(SPLITS)]).empty:
            raise StoreError(f"store {path}: split {wrong.iloc[0]!r} in {RECORDS}, expected one of {SPLITS} or none")
        for column in records.columns[records.columns.str.startswith("labels_") | (records.columns == "flags")]:
            records[column] = [None if value is None else list(value) for value in records[column]]
        return cls(path, signals_uv, records, info, contract)

    def __len__(self) -> int:
        return len(self.signals_uv)

    def signals_mv(self, rows: Sequence[int] | ndarray) -> Float32[ndarray, "records leads samples"]:
        """Signals of some rows, (n, L, S) float32 in mV, in the order asked for."""
        return self.signals_uv[np.asarray(rows, dtype=np.int64)].astype(np.float32) / np.float32(UV_PER_MV)

    def verify(self) -> None:
        """Compare the files with the checksums of `store.json`; raises StoreError for the first that differs."""
        for name, expected in self.info["checksums"].items():
            if (found := sha256_of(self.path / name)) != expected:
                raise StoreError(f"store {self.path}: SHA-256 of {name} is {found}, expected {expected}")


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
        raise StoreError(f"{file}: store format {version}, expected {FORMAT}")
    if missing:
        raise StoreError(f"{file}: {', '.join(missing)} missing or of another type")
    return info


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
