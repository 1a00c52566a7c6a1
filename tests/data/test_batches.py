"""Batches: each record once an epoch, order from (seed, epoch), several stores, the same from any step on."""

from concurrent.futures import ThreadPoolExecutor
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
    forwards = {step: batches.batch(step) for step in range(9)}
    assert list(forwards) == list(range(9))
    again = Batches(stores, all_rows(stores), 3, seed=0)
    for step, batch in ((step, again.batch(step)) for step in range(5, 9)):
        assert torch.equal(batch, forwards[step])
    assert not torch.equal(Batches(stores, all_rows(stores), 3, seed=1).batch(0), forwards[0])
    assert torch.equal(batches.batch(4, slice(1, 3)), batches.batch(4)[1:3])


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


def test_order_without_weights_is_that_of_earlier_versions(stores: list[Store]) -> None:
    """So that runs that were begun with them can be gone on with."""
    rows = [np.array([6, 0, 3]), np.array([1, 2, 3])]
    batches = Batches(stores, rows, 2, seed=5)
    every = np.concatenate([store.signals_mv(chosen) for store, chosen in zip(stores, rows, strict=True)])
    for epoch in range(3):
        order = np.random.default_rng((5, epoch)).permutation(6)
        for position in range(3):
            expected = every[order[2 * position : 2 * position + 2]]
            np.testing.assert_array_equal(batches.batch(3 * epoch + position).numpy(), expected)


def test_a_store_without_rows_is_never_drawn_from(stores: list[Store]) -> None:
    batches = Batches([*stores, stores[0]], [np.array([], int), np.arange(4), np.array([], int)], 2, seed=0)
    seen = {record.numpy().tobytes() for step in range(4) for record in batches.batch(step)}
    assert seen == {record.tobytes() for record in stores[1].signals_mv(range(4))}


def test_weights_decide_how_often_a_source_is_drawn(stores: list[Store]) -> None:
    batches = Batches(stores, all_rows(stores), 11, seed=0, weights={"a": 1, "b": 10})
    own = {record.tobytes() for record in stores[0].signals_mv(range(7))}
    assert (len(batches), batches.steps_per_epoch, batches.draws_per_epoch()) == (11, 1, {"a": 1, "b": 10})
    for step in range(9):
        assert sum(record.numpy().tobytes() in own for record in batches.batch(step)) == 1
    seen = {record.numpy().tobytes() for step in range(7) for record in batches.batch(step)}
    assert own <= seen  # one an epoch, none twice
    forwards = {step: batches.batch(step) for step in range(9)}
    again = Batches(stores, all_rows(stores), 11, seed=0, weights={"a": 1, "b": 10})
    for step, batch in ((step, again.batch(step)) for step in range(6, 9)):
        assert torch.equal(batch, forwards[step])
    assert Batches(stores, all_rows(stores), 2, seed=0).draws_per_epoch() == {"a": 7, "b": 4}


def test_weight_0_is_as_if_the_store_were_not_there(stores: list[Store]) -> None:
    batches = Batches(stores, all_rows(stores), 4, seed=0, weights={"a": 0, "b": 3})
    alone = Batches(stores[1:], all_rows(stores[1:]), 4, seed=0, weights={"b": 1})
    assert len(batches) == 4
    assert {record.numpy().tobytes() for record in batches.batch(0)} == {r.numpy().tobytes() for r in alone.batch(0)}
    with pytest.raises(ValueError, match="4 records to train on, fewer than one batch of 5"):
        Batches(stores, all_rows(stores), 5, seed=0, weights={"a": 0, "b": 3})


def test_gains_are_factors_on_the_signals_of_a_source(stores: list[Store]) -> None:
    plain = Batches(stores, all_rows(stores), 11, seed=0).batch(0).numpy()
    scaled = Batches(stores, all_rows(stores), 11, seed=0, gains={"b": 0.42}).batch(0).numpy()
    own = {record.tobytes() for record in stores[1].signals_mv(range(4))}
    is_b = np.array([record.tobytes() in own for record in plain])
    assert is_b.sum() == 4
    np.testing.assert_array_equal(scaled[~is_b], plain[~is_b])
    np.testing.assert_array_equal(scaled[is_b], plain[is_b] * np.float32(0.42))


def test_names_of_no_source_are_errors(stores: list[Store]) -> None:
    with pytest.raises(ValueError, match="gain of c, but the sources are a, b"):
        Batches(stores, all_rows(stores), 3, seed=0, gains={"c": 2.0})
    with pytest.raises(ValueError, match="no weight of b"):
        Batches(stores, all_rows(stores), 3, seed=0, weights={"a": 2.0})


def test_threads_may_ask_for_any_batch(stores: list[Store]) -> None:
    batches = Batches(stores, all_rows(stores), 3, seed=0, weights={"a": 2, "b": 1})
    steps = [int(step) for step in np.random.default_rng(0).integers(30, size=200)]
    alone = {step: Batches(stores, all_rows(stores), 3, seed=0, weights={"a": 2, "b": 1}).batch(step) for step in steps}
    with ThreadPoolExecutor(8) as pool:
        for step, batch in zip(steps, pool.map(batches.batch, steps), strict=True):
            assert torch.equal(batch, alone[step])
