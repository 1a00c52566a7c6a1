"""Some reader processes: one that ends is replaced, whoever ended it, and also while nobody asks."""

import asyncio
import logging

from ecgjepa.serve.limits import Limits
from ecgjepa.serve.reading.messages import Reply, Request
from ecgjepa.serve.reading.reader import LostError, Reader

_LOG = logging.getLogger(__name__)
# One that ends sooner than this after its start waits so long before it is replaced.
PAUSE_SECONDS = 1.0


class Readers:
    """Processes that wait for files."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self.workers, self.replaced, self._limits = workers, 0, limits
        self._idle: asyncio.Queue[Reader] = asyncio.Queue()
        self._alive: set[Reader] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """Of the processes that are ready or reading."""
        return sorted(reader.pid for reader in self._alive if reader.is_alive)

    async def start(self) -> None:
        """Start all; returns when they are ready.

        Raises:
            LostError: one does not start.
        """
        started = await asyncio.gather(
            *(Reader.start(self._limits) for _ in range(self.workers)), return_exceptions=True
        )
        for reader in started:
            if isinstance(reader, Reader):
                self._enter(reader)
                self._tasks.add(asyncio.create_task(self._keep(reader)))
        for each in started:
            if isinstance(each, BaseException):
                await self.close()
                raise each

    async def close(self) -> None:
        """End all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await asyncio.gather(*(reader.end() for reader in self._alive))
        self._alive.clear()

    async def ask(self, request: Request) -> Reply:
        """The reply of the next process that is free; the time in which it waits is not counted.

        Raises:
            TimeoutError: it took longer than `limits.read_seconds`, and is ended.
            LostError: it ended.
        """
        reader = await self._idle.get()
        while not reader.is_alive:  # ended while it was idle; its successor is on the way
            reader = await self._idle.get()
        # Whoever gives up meanwhile leaves the process to finish, or to be ended in time.
        return await asyncio.shield(asyncio.create_task(self._finish(reader, request)))

    async def _finish(self, reader: Reader, request: Request) -> Reply:
        try:
            async with asyncio.timeout(self._limits.read_seconds):
                reply = await reader.ask(request)
        except BaseException:
            reader.kill()
            raise
        if reply.head.is_spent:
            reader.kill()
        else:
            self._idle.put_nowait(reader)
        return reply

    def _enter(self, reader: Reader) -> None:
        self._alive.add(reader)
        self._idle.put_nowait(reader)

    async def _keep(self, reader: Reader) -> None:
        """See to it that there is a process in the place of this one, until cancelled."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await reader.wait()
            self._alive.discard(reader)
            await reader.end()
            if loop.time() - began < PAUSE_SECONDS:
                await asyncio.sleep(PAUSE_SECONDS)
            began = loop.time()
            try:
                reader = await Reader.start(self._limits)
            except (LostError, OSError):
                _LOG.exception("a reader process could not be started; it is tried again")
            else:
                self.replaced += 1
                self._enter(reader)
                _LOG.warning("a reader process ended and was replaced")
