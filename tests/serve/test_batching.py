"""Windows of many requests run together, fairly; what fails hits its own request alone."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ecgjepa.serve.batching import ModelClosedError, ModelThread, QueueFullError
from ecgjepa.windows import Window


def window(value: float) -> Window:
    return Window(np.full((1, 4), value, np.float32), ("I",))


class Network:
    """Doubles a window; fails on a batch with 13 in it; keeps what ran together. Waits for a gate if there is one."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.gate: threading.Event | None = None
        self.begun = threading.Event()

    def __call__(self, windows: list[Window]) -> np.ndarray:
        values = [float(each.signal_mv[0, 0]) for each in windows]
        self.begun.set()
        if self.gate is not None:
            assert self.gate.wait(10)
        if 13 in values:
            raise RuntimeError("unlucky")
        self.batches.append(values)
        return np.array([[2 * value] for value in values], np.float32)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def made() -> Iterator[Callable[..., ModelThread]]:
    threads: list[ModelThread] = []

    def make(batch_size: int = 4, max_wait_s: float = 0.0, most_waiting: int = 100) -> ModelThread:
        threads.append(ModelThread(batch_size, max_wait_s, most_waiting))
        threads[-1].start()
        return threads[-1]

    yield make
    for thread in threads:
        thread.close()


async def ask(model: ModelThread, network: Network, *values: float) -> list[float | str]:
    rows = await model.features(network, [window(value) for value in values])
    return [str(row) if isinstance(row, Exception) else float(row[0]) for row in rows]


async def held(network: Network, model: ModelThread) -> "asyncio.Task[list[float | str]]":
    """A request of one window that is on the model, and stays there until the gate opens."""
    network.gate = threading.Event()
    task = asyncio.create_task(ask(model, network, 0))
    assert await asyncio.to_thread(network.begun.wait, 10)
    return task


def test_requests_share_a_batch_and_get_their_own_rows(network: Network, made: Callable[..., ModelThread]) -> None:
    model = made(batch_size=3, max_wait_s=5.0)

    async def run() -> list[list[float | str]]:
        with model.expect():
            return await asyncio.gather(*(ask(model, network, value) for value in (1, 2, 3)))

    began = time.monotonic()
    assert asyncio.run(run()) == [[2.0], [4.0], [6.0]]
    assert sorted(network.batches[0]) == [1, 2, 3]
    assert time.monotonic() - began < 4, "a full batch does not wait"


def test_a_lone_window_waits_only_for_who_is_expected_and_not_for_long(
    network: Network, made: Callable[..., ModelThread]
) -> None:
    model = made(batch_size=64, max_wait_s=0.5)
    began = time.monotonic()
    with model.expect():
        assert asyncio.run(ask(model, network, 1)) == [2.0]
    assert 0.4 < time.monotonic() - began < 5
    began = time.monotonic()
    assert asyncio.run(ask(model, network, 2)) == [4.0]
    assert time.monotonic() - began < 0.4


def test_one_window_is_not_behind_a_job_of_many(network: Network, made: Callable[..., ModelThread]) -> None:
    model = made(batch_size=4)

    async def run() -> None:
        first = await held(network, model)
        many = asyncio.create_task(ask(model, network, *range(100, 120)))
        await asyncio.sleep(0)
        one = asyncio.create_task(ask(model, network, 1))
        await asyncio.sleep(0)
        assert network.gate is not None
        network.gate.set()
        await asyncio.gather(first, many, one)
        assert (await many) == [2.0 * value for value in range(100, 120)], "rows in the order of the windows"

    asyncio.run(run())
    assert 1 in network.batches[1], "the next batch takes windows of both"
    assert all(len(batch) <= 4 for batch in network.batches)


def test_a_failing_batch_fails_one_alone(network: Network, made: Callable[..., ModelThread]) -> None:
    model = made(batch_size=4, max_wait_s=5.0)

    async def run() -> list[list[float | str]]:
        with model.expect():
            return await asyncio.gather(*(ask(model, network, *values) for values in ((1,), (13, 4), (3,))))

    assert asyncio.run(run()) == [[2.0], ["unlucky", 8.0], [6.0]]


def test_networks_do_not_share_a_batch(network: Network, made: Callable[..., ModelThread]) -> None:
    model, other = made(batch_size=8, max_wait_s=0.1), Network()

    async def run() -> list[list[float | str]]:
        with model.expect():
            return await asyncio.gather(ask(model, network, 1), ask(model, other, 2), ask(model, network, 3))

    assert asyncio.run(run()) == [[2.0], [4.0], [6.0]]
    assert (network.batches, other.batches) == ([[1, 3]], [[2]])


def test_too_many_are_refused_and_cancelled_ones_are_left_out(
    network: Network, made: Callable[..., ModelThread]
) -> None:
    model = made(batch_size=1, most_waiting=3)

    async def run() -> None:
        first = await held(network, model)
        waiting = asyncio.create_task(ask(model, network, 5, 6))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="2 windows wait for the model, and 2 more"):
            await ask(model, network, 7, 8)
        waiting.cancel()
        await asyncio.sleep(0)
        assert model.waiting == 0
        last = asyncio.create_task(ask(model, network, 9))
        await asyncio.sleep(0)
        assert network.gate is not None
        network.gate.set()
        assert await first == [0.0]
        assert await last == [18.0]

    asyncio.run(run())
    assert network.batches == [[0], [9]]


def test_calls_come_between_batches_and_errors_come_back(network: Network, made: Callable[..., ModelThread]) -> None:
    model = made()
    assert model.call(lambda: threading.current_thread().name) == "model"
    with pytest.raises(ZeroDivisionError):
        model.call(lambda: 1 / 0)
    assert asyncio.run(ask(model, network, 4)) == [8.0], "it goes on"


def test_closing_answers_whoever_waits(network: Network, made: Callable[..., ModelThread]) -> None:
    model = made(batch_size=1)

    async def run() -> None:
        first = await held(network, model)
        waiting = asyncio.create_task(ask(model, network, 5))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(model.close))
        with pytest.raises(ModelClosedError):
            await waiting
        assert network.gate is not None
        network.gate.set()
        await closing
        assert await first == [0.0], "the batch that runs is not lost"
        with pytest.raises(ModelClosedError):
            await ask(model, network, 6)

    asyncio.run(run())
