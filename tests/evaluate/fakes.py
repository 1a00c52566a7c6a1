"""A store of a few made-up records, and encoders whose features are known."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.data.store import Store
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract(leads=("I", "II"), sampling_rate_hz=10, seconds=1)
MODEL = ModelConfig(width=8, depth=1, heads=2, patch_samples=5, predictor_width=8, predictor_depth=1, predictor_heads=2)
CLASSES = ["CD", "MI", "NORM"]


class LeadEncoder(Encoder):
    """Its features are the samples of one lead, in mV."""

    def __init__(self, lead: str, contract: SignalContract = CONTRACT) -> None:
        super().__init__(MODEL, contract)
        self.lead = contract.leads.index(lead)

    def forward(self, signal_mv_BLS: torch.Tensor, leads: None = None) -> torch.Tensor:
        return signal_mv_BLS[:, self.lead]


class FakeSignals:
    """Rows in memory."""

    def __init__(self, signals_uv: np.ndarray) -> None:
        self.signals_uv, self.shape = signals_uv, signals_uv.shape

    def read_into(self, rows: np.ndarray, out: np.ndarray, places: np.ndarray) -> None:
        out[places] = self.signals_uv[rows]


@dataclass(frozen=True)
class FakeStore(Store):
    """A store in memory."""

    records: pd.DataFrame
    signals_uv: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "signals", FakeSignals(self.signals_uv))


def make_store(records: int = 400, seed: int = 0, exclusive: bool = False, **info: object) -> Store:
    """Lead I tells the classes (with noise), lead II is noise. 5/8 train, 1/8 validation; two records a patient.

    Args:
        exclusive: every record has exactly one class.
    """
    rng = np.random.default_rng(seed)
    labels = rng.random((records, 3)) < [0.2, 0.35, 0.5]
    if exclusive:
        labels = np.eye(3, dtype=bool)[rng.integers(3, size=records)]
    signal_mv = rng.standard_normal((records, 2, CONTRACT.samples))
    signal_mv[:, 0, :3] += 1.2 * labels
    number = np.arange(records)
    split = np.array(["train", "train", "train", "train", "train", "validation", "test", "test"], dtype=object)
    table = pd.DataFrame(
        {
            "record": [f"r{n:04}" for n in number],
            "patient": [f"p{n // 2:04}" for n in number],
            "split": split[number // 2 % 8],
            "labels_superdiagnostic": [
                [name for name, is_it in zip(CLASSES, row, strict=True) if is_it] for row in labels
            ],
        }
    )
    signals_uv = np.round(1000 * signal_mv).astype(np.int16)
    description = {"dataset": "ptbxl", "levels": {"superdiagnostic": CLASSES}} | info
    return FakeStore(Path("fake"), description, CONTRACT, None, table, signals_uv)


def with_records(store: Store, **columns: object) -> Store:
    """The store with some columns of its table replaced."""
    return replace(store, records=store.records.assign(**columns))
