"""Classifiers that were fine-tuned for a second, and ECGs in files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ecgjepa.data.store import Store
from ecgjepa.evaluate.targets import read_regression
from tests.finetune.runs import make_model, make_store, run, tiny

LEADS = ("I", "II", "V1")


@dataclass(frozen=True)
class Runs:
    """Runs of `finetune` by name, the store that they learned from, the encoder that they began with."""

    store: Store
    model: Path
    multilabel: Path
    attention: Path
    regression: Path


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Mean pooling of all leads; attention pooling of two filtered leads, exclusive classes; a number."""
    folder = tmp_path_factory.mktemp("runs")
    model = make_model(folder / "model")
    store, exclusive = make_store(folder / "store"), make_store(folder / "exclusive", exclusive=True)
    run(store, model, tiny(epochs=2, mode="two-stage", head_epochs=1), folder / "multilabel")
    run(
        exclusive, model,
        tiny(epochs=1, task="multiclass", pooling="attention", leads=("V1", "I"), filter="butterworth"),
        folder / "attention",
    )  # fmt: skip
    run(
        store, model, tiny(epochs=1, task="regression", level="age"), folder / "regression",
        targets=read_regression(store, "age"),
    )  # fmt: skip
    return Runs(store, folder / "model", *(folder / name for name in ("multilabel", "attention", "regression")))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two good ones, one of 5 s, one without two of the leads, and two broken ones; at 200 Hz, in microvolts."""
    root = tmp_path / "archive"
    root.mkdir()
    for number, (name, seconds, leads) in enumerate(
        (("a", 2, LEADS), ("b", 2, LEADS), ("long", 5, LEADS), ("one_lead", 2, ("V1",)))
    ):
        write_npz(root / f"{name}.npz", signal_uv(number, seconds, len(leads)), leads)
    write_npz(root / "flat.npz", np.zeros((3, 400)), LEADS)
    (root / "cut.npz").write_bytes((root / "a.npz").read_bytes()[:300])
    return root


GOOD, BROKEN = {"a", "b", "long", "one_lead"}, {"cut": "unreadable", "flat": "flat"}


def signal_uv(seed: int, seconds: float, leads: int) -> np.ndarray:
    """(leads, samples) of noise around a sine, at 200 Hz."""
    chance = np.random.default_rng(seed)
    time_s = np.arange(round(200 * seconds)) / 200
    sines = np.sin(2 * np.pi * chance.uniform(1, 8, (leads, 1)) * time_s)
    return 1000 * (sines + 0.1 * chance.standard_normal(sines.shape))


def write_npz(file: Path, signal: np.ndarray, leads: tuple[str, ...]) -> None:
    """A file that says everything about itself."""
    np.savez(file, signal=signal, sampling_rate_hz=200, leads=leads, unit="uV")
