"""Clocks that stand still, and losses that are not finite."""

import contextlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecgjepa.config import Config
from ecgjepa.data.batches import Batches
from ecgjepa.errors import RunError
from ecgjepa.train.log import Clock
from ecgjepa.train.sources import Sources
from ecgjepa.train.training import Training
from tests.data.stores import write_store
from tests.train.runs import config_for, info_of, quiet


def test_a_paused_clock_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    now = {"clock": 100.0, "cores": 7.0}
    monkeypatch.setattr("ecgjepa.train.log.time.monotonic", lambda: now["clock"])
    monkeypatch.setattr("ecgjepa.train.log.time.process_time", lambda: now["cores"])
    clock = Clock(seconds=5, core_seconds=3)
    now["clock"] += 2
    with clock.paused():
        now["clock"] += 50
        now["cores"] += 40
    now["cores"] += 1
    assert (clock.seconds, clock.core_seconds) == (7, 4)
    with contextlib.suppress(ZeroDivisionError), clock.paused():
        now["clock"] += 50
        raise ZeroDivisionError
    assert clock.seconds == 7


@pytest.mark.parametrize("log_every", [1, 100])
def test_the_batch_of_a_loss_that_is_not_finite_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_every: int
) -> None:
    """Whenever it is noticed, the batch is that of the step at which it happened."""
    store = write_store(tmp_path / "ecgs", 20)
    config: Config = config_for(store, **{"training.epochs": 3, "run.log_every": log_every})
    step, done = Training.step, []

    def breaks_in_step_4(self: Training, *arguments: Any) -> torch.Tensor:
        done.append(1)
        return step(self, *arguments) * (math.nan if len(done) == 4 else 1)

    monkeypatch.setattr(Training, "step", breaks_in_step_4)
    with pytest.raises(RunError, match=r"the loss is nan at step 4; its batch is in .*not-finite-step-00000004\.npz"):
        quiet(config, tmp_path / "run")
    kept = np.load(tmp_path / "run" / "not-finite-step-00000004.npz", allow_pickle=False)
    batches: Batches = Sources.open(config).batches
    np.testing.assert_array_equal(kept["signal_mv"], batches.batch(3).numpy())
    assert list(zip(kept["store"].tolist(), kept["record"].tolist(), strict=True)) == batches.records(3)
    patches = np.concatenate([kept["visible_patches"], kept["hidden_patches"]], axis=-1)
    assert (np.sort(patches) == np.arange(patches.shape[-1])).all()
    assert info_of(tmp_path / "run")["status"] == "failed"
    assert not (tmp_path / "run" / "checkpoints").exists()
