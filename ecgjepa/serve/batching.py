"""Windows of many requests -> one thread that runs the networks, in batches; every request waits for its own rows.

A batch takes windows of the waiting jobs in turn, so a job of one window is not behind a job of a thousand. While the
networks run, the next batch collects; `max_wait_s` is only waited where nothing runs and somebody is about to come.

Axes: W windows, D features.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.windows import Window

# What a network makes of windows: (W, D).
Run = Callable[[list[Window]], Float32[ndarray, "w d"]]
# The row of a window, or why there is none.
Row = ndarray | Exception

_LOG = logging.getLogger(__name__)


class QueueFullError(RuntimeError):
    """More windows wait for the model than may; ask again later."""


class ModelClosedError(RuntimeError):
    """The model is not running, or runs no more."""


@dataclass(eq=False)
class _Job:
    """Windows of one request.

    Attributes:
        taken: windows that are in a batch, or were.
        rows: what came of those that are done, in their order.
    """

    run: Run
    windows: Sequence[Window]
    came_s: float
    done: "Future[list[Row]]" = field(default_factory=Future)
    taken: int = 0
    rows: list[Row] = field(default_factory=list)

    @property
    def left(self) -> int:
        """Windows that no batch has taken."""
        return len(self.windows) - self.taken


class ModelThread:
    """The one thread in which networks run.

    Args:
        batch_size: windows that run together, at most.
        max_wait_s: how long a batch waits for the windows of those who are expected.
        most_waiting: windows that may wait.
        tell: called with the windows of every batch.
    """

    def __init__(
        self, batch_size: int, max_wait_s: float, most_waiting: int, tell: Callable[[int], object] | None = None
    ) -> None:
        if batch_size < 1 or max_wait_s < 0 or most_waiting < 1:
            raise ValueError(
                f"batches of {batch_size} after {max_wait_s:g} s, {most_waiting} waiting: expected at least 1, 0 and 1"
            )
        self.batch_size, self.max_wait_s, self.most_waiting = batch_size, max_wait_s, most_waiting
        self._tell = tell
        self._jobs: deque[_Job] = deque()
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._expected = 0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Refuse what waits, end the batch that runs, and the thread; may be called twice."""
        with self._changed:
            self._closed = True
            left = [job.done for job in self._jobs] + [future for _, future in self._calls]
            self._jobs.clear()
            self._calls.clear()
            self._changed.notify_all()
        for future in left:
            _settle(future, ModelClosedError("the server is stopping"))
        if self._thread.is_alive():
            self._thread.join()

    @property
    def waiting(self) -> int:
        """Windows that no batch has taken."""
        with self._changed:
            return self._count()

    @contextmanager
    def expect(self) -> Iterator[None]:
        """In the block windows are read, which will be asked for after it."""
        with self._changed:
            self._expected += 1
        try:
            yield
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify_all()

    async def features(self, run: Run, windows: Sequence[Window]) -> list[Row]:
        """What a network makes of each window; one that it fails on has its error in place of a row.

        When the caller is cancelled, windows that are not in a batch yet are left out.

        Args:
            run: windows of the same `run` share a batch.

        Raises:
            QueueFullError: too many windows wait.
            ModelClosedError: the thread does not run.
        """
        job = _Job(run, windows, time.monotonic())
        if not windows:
            return []
        with self._changed:
            if self._closed or not self._thread.is_alive():
                raise ModelClosedError("the model is not running")
            if (there := self._count()) + len(windows) > self.most_waiting:
                found = f"{there} windows wait for the model, and {len(windows)} more are asked for"
                raise QueueFullError(f"{found}; expected at most {self.most_waiting} in all")
            self._jobs.append(job)
            self._changed.notify_all()
        return await asyncio.wrap_future(job.done)

    def call(self, work: Callable[[], Any]) -> Any:
        """Do something else in the thread, between two batches; waits for it, so call it from another thread.

        Raises:
            ModelClosedError: the thread does not run.
            Exception: what `work` raises.
        """
        future: Future[Any] = Future()
        with self._changed:
            if self._closed or not self._thread.is_alive():
                raise ModelClosedError("the model is not running")
            self._calls.append((work, future))
            self._changed.notify_all()
        return future.result()

    def _count(self) -> int:
        return sum(job.left for job in self._jobs if not job.done.cancelled())

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._closed and not self._jobs and not self._calls:
                    self._changed.wait()
                if self._closed:
                    return
                call = self._calls.popleft() if self._calls else None
                batch = self._collect(patient=call is None)
            if batch:
                self._run_batch(batch)
            if call is not None:
                _settle(call[1], _try(call[0]))

    def _collect(self, patient: bool) -> list[_Job]:
        """Take the windows of the next batch: the job of each, in order."""
        while patient and self._expected and self._jobs and not self._calls and not self._closed:
            first = self._jobs[0]
            enough = sum(job.left for job in self._jobs if job.run == first.run) >= self.batch_size
            remaining_s = first.came_s + self.max_wait_s - time.monotonic()
            if enough or remaining_s <= 0:
                break
            self._changed.wait(remaining_s)
        waiting = [job for job in self._jobs if not job.done.cancelled()]
        together = [job for job in waiting if job.run == waiting[0].run]
        batch: list[_Job] = []
        while len(batch) < self.batch_size and (some := [job for job in together if job.left]):
            for job in some[: self.batch_size - len(batch)]:
                batch.append(job)
                job.taken += 1
        taken = set(map(id, batch))
        behind = [job for job in waiting if id(job) in taken and job.left]
        self._jobs = deque([job for job in waiting if id(job) not in taken] + behind)
        return batch

    def _run_batch(self, batch: list[_Job]) -> None:
        run, number_of = batch[0].run, {id(job): job.taken - batch.count(job) for job in batch}
        windows = []
        for job in batch:
            windows.append(job.windows[number_of[id(job)]])
            number_of[id(job)] += 1
        try:
            rows: list[Row] = list(run(windows))
        except Exception:
            if len(windows) > 1:
                _LOG.exception("a batch of %d windows failed; they run one by one", len(windows))
            rows = [_try(lambda window=window: run([window])[0]) for window in windows]  # type: ignore[misc]
        if self._tell is not None:
            self._tell(len(windows))
        for job, row in zip(batch, rows, strict=True):
            job.rows.append(row)
            if len(job.rows) == len(job.windows):
                _settle(job.done, job.rows)


def _try(work: Callable[[], Any]) -> Any:
    """What comes of it, or the error."""
    try:
        return work()
    except Exception as error:
        return error


def _settle(future: "Future[Any]", outcome: Any) -> None:
    try:
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:  # whoever waited was cancelled
        pass
