"""Batches: each record once an epoch, order from (seed, epoch), several stores, the same from any step on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ecgjepa.data.batches import Batches
from ecgjepa.data.store import Store
from ecgjepa.signal import PUBLISHED_CONTRACT
from tests.data.stores import write_store


@pytest.fixture
def stores(tmp_path: Path) -> list[Store]:
    return [write_store(tmp_path / "a", 7, seed=1), write_store(tmp_path / "b", 4, seed=2)]


def all_rows(stores: list[Store]) -> list[np.ndarray]:
    return [np.arange(len(store)) for store in stores]


def test_an_epoch_sees_every_record_at_most_once(stores: list[Store]) -> None:
    batches = Batches(stores, all_rows(stores), 3, seed=0)
    assert (len(batches), batches.steps_per_epoch) == (11, 3)
    every = {store.signals_mv([row])[0].tobytes() for store in stores for row in range(len(store))}
    for epoch in range(3):
        seen = [record.numpy().tobytes() for step in range(3) for record in batches.batch(3 * epoch + step)]
        assert len(set(seen)) == 9
        assert set(seen) <= every
    left_out = every - {record.numpy().tobytes() for step in range(3) for record in batches.batch(step)}
    assert left_out != every - {record.numpy().tobytes() for step in range(3, 6) for record in batches.batch(step)}


def test_batches_are_a_function_of_seed_and_step(stores: list[Store]) -> None:
    batches = Batches(stores, all_rows(stores), 3, seed=0)
    forwards = dict(batches.from_step(0, 9))
    assert list(forwards) == list(range(9))
    again = Batches(stores, all_rows(stores), 3, seed=0)
    for step, batch in again.from_step(5, 9):
        assert torch.equal(batch, forwards[step])
    assert not torch.equal(Batches(stores, all_rows(stores), 3, seed=1).batch(0), forwards[0])
    assert list(batches.from_step(4, 4)) == []


def test_batch_is_in_mv(stores: list[Store]) -> None:
    batch = Batches(stores, all_rows(stores), 11, seed=0).batch(0)
    assert batch.dtype == torch.float32
    assert batch.abs().max() == pytest.approx(1.0, abs=2e-3)


def test_errors(stores: list[Store], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="11 records to train on, fewer than one batch of 12"):
        Batches(stores, all_rows(stores), 12, seed=0)
    other = write_store(tmp_path / "c", 4, contract=PUBLISHED_CONTRACT)
    with pytest.raises(ValueError, match="different contracts"):
        Batches([stores[0], other], [np.arange(4), np.arange(4)], 2, seed=0)
