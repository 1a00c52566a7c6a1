"""What a run is trained on: stores and their rows, and how they are described in `run.json`."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float32, Int64
from numpy import ndarray

from ecgjepa.config import Config, DataConfig
from ecgjepa.data.amplitude import amplitude_warnings, measure_amplitudes
from ecgjepa.data.batches import Batches
from ecgjepa.data.store import SIGNALS, Store
from ecgjepa.signal import SignalContract

_log = logging.getLogger(__name__)

# Records on which the representation is watched; enough for RankMe of the pooled features of most sizes.
WATCHED = 256


@dataclass(frozen=True)
class Sources:
    """Opened stores of one contract, the rows of each that are trained on, and their batches."""

    stores: list[Store]
    rows: list[Int64[ndarray, "..."]]
    batches: Batches
    gains: dict[str, float]

    @classmethod
    def open(cls, config: Config) -> "Sources":
        """The stores of the settings.

        Raises:
            ValueError: there is none, one is given twice, or they do not fit each other or the settings.
        """
        stores = [Store.open(path) for path in config.data.stores]
        if not stores:
            raise ValueError("no store to train on: give --store, or a raw folder such as --data-dir-shao")
        if len({store.path.resolve() for store in stores}) < len(stores):
            raise ValueError(f"a store is given twice: {', '.join(config.data.stores)}")
        if config.training.reference:
            for store in stores:
                if store.contract.resampling != "fft":
                    raise ValueError(
                        f"with --reference, stores are resampled as published; {store.path} is by "
                        f"{store.contract.resampling}: prepare it with --resampling fft"
                    )
        rows, data = [training_rows(store, config.data) for store in stores], config.data
        size, seed = config.training.batch_size, config.training.seed
        batches = Batches(stores, rows, size, seed, weights=data.weights, gains=data.gains)
        return cls(stores, rows, batches, data.gains)

    @property
    def contract(self) -> SignalContract:
        """That of the signals of all stores."""
        return self.stores[0].contract

    def used(self) -> Iterator[tuple[Store, Int64[ndarray, "..."]]]:
        """Stores that are drawn from, with their rows."""
        drawn = self.batches.draws_per_epoch()
        for store, rows in zip(self.stores, self.rows, strict=True):
            if drawn[store.info["dataset"]] and len(rows):
                yield store, rows

    def watched_mv(self) -> Float32[ndarray, "records leads samples"]:
        """The records on which the representation is watched: the same all along, of each store alike."""
        used = list(self.used())
        share, signals_mv = -(-WATCHED // len(used)), []
        for store, rows in used:
            chosen = np.sort(np.random.default_rng(0).permutation(rows)[:share])
            signals_mv.append(store.signals_mv(chosen) * np.float32(self.gains.get(store.info["dataset"], 1.0)))
        return np.concatenate(signals_mv)[:WATCHED]

    def describe(self) -> dict[str, Any]:
        """What `run.json` says of them; the user is told where sources differ in scale."""
        used = list(self.used())
        amplitudes_mv = measure_amplitudes([store for store, _ in used], [rows for _, rows in used], self.gains)
        warnings = amplitude_warnings(amplitudes_mv, self.gains)
        for warning in warnings:
            _log.warning("warning: %s", warning)
        return {
            "stores": self.describe_stores(),
            "draws_per_epoch": self.batches.draws_per_epoch(),
            "amplitudes": {source: round(found_mv, 4) for source, found_mv in amplitudes_mv.items()},
            "warnings": warnings,
        }

    def describe_stores(self) -> list[dict[str, Any]]:
        """Each store, and which of its rows are trained on."""
        return [
            {
                "path": str(store.path.resolve()),
                "dataset": store.info["dataset"],
                "records": len(store),
                "trained_on": len(rows),
                "checksum": store.info["checksums"][SIGNALS],
                "rows_checksum": hashlib.sha256(store.info["checksums"][SIGNALS].encode() + rows.tobytes()).hexdigest(),
                "account": store.info["account"],
            }
            for store, rows in zip(self.stores, self.rows, strict=True)
        ]

    def example(self) -> dict[str, Any]:
        """The first ECG that may be drawn, for the picture of the report."""
        store, rows = next(self.used())
        return {
            "store": str(store.path.resolve()),
            "row": int(rows[0]),
            "record": store.column("record")[int(rows[0])].as_py(),
            "gain": self.gains.get(store.info["dataset"], 1.0),
        }


def training_rows(store: Store, config: DataConfig) -> Int64[ndarray, "..."]:
    """Rows of a store that may be trained on: those of no split, or of `train`; all if `include_held_out`."""
    if config.include_held_out:
        return np.arange(len(store))
    held_out = pc.is_in(store.column("split").cast(pa.string()), pa.array(["validation", "test"]))
    return np.flatnonzero(~held_out.to_numpy())
