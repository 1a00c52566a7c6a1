"""A small store without any files behind it, for tests of what reads stores."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy import ndarray

from ecgjepa.data.store import DESCRIPTION, FORMAT, RECORDS, SIGNALS, Store, digest_of, sha256_of, signal_hash
from ecgjepa.files import write_json
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract


def write_store(
    folder: Path,
    records: int = 12,
    seed: int = 0,
    contract: SignalContract = DEFAULT_CONTRACT,
    dataset: str | None = None,
    signals_uv: ndarray | None = None,
) -> Store:
    """Sines of random frequency, in microvolts; two labels; every fourth record is validation or test.

    Args:
        dataset: the folder's name if None.
        signals_uv: other signals than sines, (records, leads, samples).
    """
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    time_s = np.arange(contract.samples) / contract.sampling_rate_hz
    frequency = chance.uniform(1, 10, (records, len(contract.leads), 1))
    if signals_uv is None:
        signals_uv = np.rint(1000 * np.sin(2 * np.pi * frequency * time_s)).astype(np.int16)
    np.save(folder / SIGNALS, signals_uv)
    hashes = [signal_hash(signal_uv) for signal_uv in signals_uv]
    names = [f"{folder.name}{k:04d}" for k in range(records)]
    splits = [("validation", "test")[k // 4 % 2] if k % 4 == 3 else "train" for k in range(records)]
    table = pd.DataFrame(
        {
            "record": names, "source": folder.name, "patient": names, "fold": pd.array([pd.NA] * records, "Int64"),
            "split": splits, "age": 50.0, "sex": None, "flags": [[] for _ in names],
            "file_state": np.arange(records, dtype=np.uint64), "signal_hash": hashes,
            "labels_kind": [["a"] if k % 2 else ["b"] for k in range(records)],
        }
    )  # fmt: skip
    table.to_parquet(folder / RECORDS, index=False)
    account = {"candidates": records, "kept": records, "changed": {}, "refused": {}, "flags": {}}
    description = {"format": FORMAT, "dataset": dataset or folder.name, "contract": contract.to_dict()}
    checksums = {SIGNALS: digest_of(hashes), RECORDS: sha256_of(folder / RECORDS)}
    description |= {"levels": {"kind": ["a", "b"]}, "account": account, "checksums": checksums}
    write_json(folder / DESCRIPTION, description)
    return Store.open(folder)
