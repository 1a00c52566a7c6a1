"""Tiny fine-tuning runs: a store in which two leads tell the classes, encoders of a few weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ecgjepa.checkpoint import LoadedModel, generator_of, load_model, save_model
from ecgjepa.config import ModelConfig
from ecgjepa.data.store import DESCRIPTION, RECORDS, Store, sha256_of
from ecgjepa.evaluate.targets import RegressionTargets, Targets, read_targets
from ecgjepa.files import write_json
from ecgjepa.finetune.finetune import Outcome, finetune
from ecgjepa.finetune.settings import FinetuneSettings, settings_of
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from tests.data.stores import write_store

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=2)
MODEL = ModelConfig(
    width=16, depth=2, heads=2, patch_samples=50, patch_norm=True,
    predictor_width=8, predictor_depth=1, predictor_heads=2, drop_path=0.0,
)  # fmt: skip
CLASSES = ("A", "B", "C")


def make_store(folder: Path, records: int = 96, seed: int = 0, exclusive: bool = False) -> Store:
    """Class A and B are sines in lead I and II, nothing tells C unless it is exclusive; lead V1 has 1/10 Hz a year."""
    chance = np.random.default_rng(seed)
    time_s = np.arange(CONTRACT.samples) / CONTRACT.sampling_rate_hz
    labels = chance.random((records, 3)) < [0.4, 0.5, 0.3]
    if exclusive:
        labels = np.eye(3, dtype=bool)[chance.integers(3, size=records)]
    age = chance.uniform(20, 80, records)
    signal = 0.1 * chance.standard_normal((records, 3, CONTRACT.samples))
    signal[:, 0] += labels[:, [0]] * np.sin(2 * np.pi * 3 * time_s)
    signal[:, 1] += labels[:, [1]] * np.sin(2 * np.pi * 7 * time_s)
    signal[:, 2] += np.sin(2 * np.pi * age[:, None] / 10 * time_s)
    write_store(folder, records, seed, CONTRACT, signals_uv=np.rint(1000 * signal).astype(np.int16))
    table = pd.read_parquet(folder / RECORDS)
    table["labels_kind"] = [[name for name, is_it in zip(CLASSES, row, strict=True) if is_it] for row in labels]
    table["age"] = age
    table.to_parquet(folder / RECORDS, index=False)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    description["levels"]["kind"] = list(CLASSES)
    description["checksums"][RECORDS] = sha256_of(folder / RECORDS)
    write_json(folder / DESCRIPTION, description)
    return Store.open(folder)


def make_model(folder: Path, seed: int = 0) -> LoadedModel:
    """A model folder with an encoder that nothing was learned by."""
    save_model(folder, {"teacher": Encoder(MODEL, CONTRACT, generator=generator_of(seed))}, seed=seed)
    return load_model(folder)


def tiny(protocol: str = "strict", **changes: Any) -> FinetuneSettings:
    """Settings of a run that takes a second."""
    few = {"level": "kind", "epochs": 3, "batch_size": 16, "lr": 3e-3, "head_lr": 1e-2, "layer_decay": 0.9}
    if protocol == "paper":
        few = {"level": "kind", "epochs": 2}
    return settings_of(protocol, **{**few, **changes})  # type: ignore[arg-type]


def run(store: Store, model: LoadedModel, settings: FinetuneSettings, out: Path, **options: Any) -> Outcome:
    """A run without a bar, on labels of the store."""
    targets: Targets | RegressionTargets | None = options.pop("targets", None)
    if targets is None:
        assert settings.task != "regression"
        targets = read_targets(store, settings.level, settings.task)
    return finetune(store, model, targets, settings, out, **{"progress": False, "resamples": 20, **options})
