"""A small store without any files behind it, for tests of what reads stores."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgjepa.data.store import DESCRIPTION, RECORDS, SIGNALS, Store, sha256_of
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract


def write_store(folder: Path, records: int = 12, seed: int = 0, contract: SignalContract = DEFAULT_CONTRACT) -> Store:
    """Sines of random frequency, in microvolts; two labels; every fourth record is validation or test."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    time_s = np.arange(contract.samples) / contract.sampling_rate_hz
    frequency = chance.uniform(1, 10, (records, len(contract.leads), 1))
    np.save(folder / SIGNALS, np.rint(1000 * np.sin(2 * np.pi * frequency * time_s)).astype(np.int16))
    names = [f"{folder.name}{k:04d}" for k in range(records)]
    splits = [("validation", "test")[k // 4 % 2] if k % 4 == 3 else "train" for k in range(records)]
    table = pd.DataFrame(
        {
            "record": names, "source": folder.name, "patient": names, "fold": pd.array([pd.NA] * records, "Int64"),
            "split": splits, "age": 50.0, "sex": None, "flags": [[] for _ in names],
            "labels_kind": [["a"] if k % 2 else ["b"] for k in range(records)],
        }
    )  # fmt: skip
    table.to_parquet(folder / RECORDS, index=False)
    account = {"candidates": records, "kept": records, "changed": {}, "refused": {}, "flags": {}}
    description = {"format": 1, "dataset": folder.name, "contract": contract.to_dict(), "levels": {"kind": ["a", "b"]}}
    checksums = {name: sha256_of(folder / name) for name in (SIGNALS, RECORDS)}
    write_json(folder / DESCRIPTION, {**description, "account": account, "checksums": checksums})
    return Store.open(folder)
