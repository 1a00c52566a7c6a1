"""A folder of good and broken files, and an encoder small enough for tests."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from tests.data.archives import smooth_signal, write_wfdb

CONFIG = ModelConfig(width=16, depth=2, heads=2, patch_norm=True)


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return Encoder(CONFIG, SignalContract(), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six good records in two folders, one of them 25 s long, and three broken ones."""
    root = tmp_path / "archive"
    for k in range(5):
        write_wfdb(root / "a", f"good{k}", smooth_signal(k))
    write_wfdb(root / "b", "long", smooth_signal(7, 12_500))
    cut = write_wfdb(root / "b", "cut", smooth_signal(8)).with_suffix(".dat")
    cut.write_bytes(cut.read_bytes()[:1000])
    write_wfdb(root / "b", "flat", np.zeros((5000, 12)))
    write_wfdb(root / "b", "lost", smooth_signal(9)).unlink()
    (root / "notes.txt").write_text("nothing to see")
    return root


GOOD = ["a/good0", "a/good1", "a/good2", "a/good3", "a/good4", "b/long"]
BROKEN = {"b/cut": "unreadable", "b/flat": "flat", "b/lost": "file_absent"}
