"""One reader process, as the server sees it."""

import asyncio
import json
import os
import signal
import sys

from ecgjepa.serve.limits import Limits
from ecgjepa.serve.reading.messages import REPLY, BadReplyError, Reply, Request, check_reply

START_SECONDS = 120.0
# All that a reader is told of the environment: no token, and no plug-ins of HDF5.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SET = {"HDF5_PLUGIN_PRELOAD": "::", "ARROW_DEFAULT_MEMORY_POOL": "system", "PYTHONUNBUFFERED": "1"}


class LostError(RuntimeError):
    """The process ended, or says what no reader of ours says."""


class Reader:
    """A process that has answered, and reads one file at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, limits: Limits) -> "Reader":
        """A new process, ready; started anew, not forked, since a fork would cut off the threads of torch.

        Raises:
            LostError: it ended instead; what it said is in the log.
        """
        options = {"parent": os.getpid(), "memory_bytes": limits.reader_memory_bytes}
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        environment |= {**dict.fromkeys(_ONE_THREAD, "1"), **_SET}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the folder that the server was started in
            "-m",
            "ecgjepa.serve.reading.process",
            json.dumps(options),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is the server's to handle
            limit=2**20,
        )
        reader = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                await reader._receive(2**10, 0)
        except BaseException as error:
            reader.kill()
            if isinstance(error, (TimeoutError, LostError)):
                raise LostError("a reader process does not start; its own words are above") from error
            raise
        return reader

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended, as far as is known."""
        return self._process.returncode is None

    def kill(self) -> None:
        """End the process at once, if it has not ended."""
        if self.is_alive:
            self._process.send_signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Until the process has ended."""
        await self._process.wait()

    async def end(self) -> None:
        """End the process, and wait until it has."""
        self.kill()
        await self.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def ask(self, request: Request) -> Reply:
        """The reply to a request.

        Raises:
            LostError: the process ended, or does not answer as a reader does.
        """
        assert self._process.stdin is not None, "was opened"
        try:
            self._process.stdin.write(request.pack())
            await self._process.stdin.drain()
            return check_reply(request, *await self._receive(request.most_head_bytes, request.most_samples_bytes))
        except (ConnectionError, BadReplyError) as error:
            raise LostError(str(error) or "the process has ended") from error

    async def _receive(self, most_head_bytes: int, most_samples_bytes: int) -> tuple[bytes, bytes]:
        assert self._process.stdout is not None, "was opened"
        try:
            sizes = REPLY.unpack(await self._process.stdout.readexactly(REPLY.size))
            if sizes[0] > most_head_bytes or sizes[1] > most_samples_bytes:
                raise LostError(f"a reply of {sizes[0]} and {sizes[1]} bytes")
            head = await self._process.stdout.readexactly(sizes[0])
            return head, await self._process.stdout.readexactly(sizes[1])
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise LostError("the process has ended") from error
