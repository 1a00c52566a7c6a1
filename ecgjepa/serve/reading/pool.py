"""Uploaded files -> windows, read by processes that may be ended: `ReaderPool`."""

import asyncio
import logging
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ecgjepa.errors import RefusedRecordError
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.private_folder import PrivateFolder
from ecgjepa.serve.reading.messages import Reply, Request
from ecgjepa.serve.reading.reader import LostError
from ecgjepa.serve.reading.readers import Readers
from ecgjepa.serve.reading.uploads import Arrangement, Found, UploadedFile, arrange, only_one
from ecgjepa.serve.reading.wanted import Item, NoRoomError, ReadECG, ReaderLostError, TooSlowError, Unit, Wanted

__all__ = ["NoRoomError", "ReadECG", "ReaderLostError", "ReaderPool", "TooSlowError", "UploadedFile", "Wanted"]

# The reason of an ECG whose process ended.
LOST = "reader_lost"
_LOG = logging.getLogger(__name__)


@dataclass(eq=False)
class _Upload:
    """One call of `read`.

    Attributes:
        windows_left: that its ECGs may have together.
    """

    folder: Path
    wanted: Wanted
    shown_of: dict[str, str]
    windows_left: int

    def in_words_of_client(self, detail: str) -> str:
        """A message without our folder and our names of files."""
        said = detail.replace(f"{self.folder}/", "").replace(str(self.folder), "the upload")
        return re.sub(r"ecg-\d{4}(\.[a-z0-9]+)*", lambda match: self.shown_of.get(match[0], "the file"), said)


class ReaderPool:
    """Processes that read the files of clients; one that is lost is replaced, also while nobody asks.

    Args:
        workers: how many.
        limits: of time and memory for one ECG, and of windows.
    """

    def __init__(self, workers: int, limits: Limits) -> None:
        self._limits, self._readers = limits, Readers(workers, limits)
        self._folder: PrivateFolder | None = None

    @property
    def pids(self) -> list[int]:
        """Of the processes that are ready or reading."""
        return self._readers.pids

    @property
    def folder(self) -> Path | None:
        """Where uploads lie while they are read; None when the pool does not run."""
        return None if self._folder is None else self._folder.path

    @property
    def replaced(self) -> int:
        """How many processes were lost, and replaced."""
        return self._readers.replaced

    async def start(self) -> None:
        """Start the processes; returns when all are ready.

        Raises:
            LostError: one does not start.
        """
        self._folder = await asyncio.to_thread(PrivateFolder)
        try:
            await self._readers.start()
        except BaseException:
            self._folder.close()
            raise

    async def close(self) -> None:
        """End the processes, and remove what they worked on."""
        await self._readers.close()
        if self._folder is not None:
            await asyncio.to_thread(self._folder.close)
            self._folder = None

    async def read(self, files: Sequence[UploadedFile], wanted: Wanted) -> list[Item]:
        """One item per ECG, in the order of the files; without `many` exactly one.

        Raises:
            RefusedRecordError: `too_many_ecgs`.
            NoRoomError: the upload cannot be written.
            TooSlowError, ReaderLostError: without `many`; with it, these are items (`too_slow`, `reader_lost`).
        """
        arranged = await asyncio.to_thread(arrange, files)
        found = arranged.found if wanted.many else [only_one(arranged)]
        if not any(isinstance(each, Found) for each in found):
            return [each for each in found if isinstance(each, RefusedRecordError)]
        async with self._written(files, arranged, wanted) as upload:
            units = await self._units(upload, found)
            at_once = asyncio.Semaphore(self._readers.workers)  # so that files of others come between

            async def item(unit: Unit | RefusedRecordError) -> Item:
                async with at_once:
                    return unit if isinstance(unit, RefusedRecordError) else await self._read(upload, unit)

            items = await asyncio.gather(*map(item, units))
        if not wanted.many and isinstance(items[0], TooSlowError):
            raise items[0]
        if not wanted.many and isinstance(items[0], RefusedRecordError) and items[0].reason == LOST:
            raise ReaderLostError(items[0].detail)
        return items

    @asynccontextmanager
    async def _written(
        self, files: Sequence[UploadedFile], arranged: Arrangement, wanted: Wanted
    ) -> AsyncIterator[_Upload]:
        """The uploads in a folder of their own, which is removed in every case."""
        assert self._folder is not None, "start() was called"
        writing = asyncio.ensure_future(asyncio.to_thread(self._folder.write, files, arranged.files))
        try:
            try:
                folder = await asyncio.shield(writing)
            except OSError as error:
                _LOG.error("an upload cannot be written: %s", error.strerror)
                raise NoRoomError("there is no room for the upload at the moment") from error
            shown_of = {own.name: own.shown for own in arranged.files}
            yield _Upload(folder, wanted, shown_of, self._limits.max_windows)
        finally:
            await asyncio.wait([writing])  # a thread goes on when its request is given up
            if not writing.cancelled() and writing.exception() is None:
                await asyncio.to_thread(shutil.rmtree, writing.result(), True)

    async def _units(
        self, upload: _Upload, found: Sequence[Found | RefusedRecordError]
    ) -> list[Unit | RefusedRecordError]:
        """Every ECG that is to be read; those in a file of many are counted first."""
        wanted, units = upload.wanted, list[Unit | RefusedRecordError]()
        more: Sequence[Unit | RefusedRecordError]
        for each in found:
            if isinstance(each, RefusedRecordError) or not each.may_be_many:
                more = [each if isinstance(each, RefusedRecordError) else Unit(each, wanted.row)]
            elif wanted.row is not None:
                more = [Unit(each, wanted.row)]
            else:
                reply = await self._ask(upload, Unit(each, None), count=True)
                more = self._rows(each, wanted, reply)
            if len(units) + len(more) > wanted.max_ecgs:
                detail = f"{len(units) + len(more)} ECGs or more, expected at most {wanted.max_ecgs} in one batch"
                record = each.record
                raise RefusedRecordError(record, "too_many_ecgs", detail)
            units += more
        return units

    def _rows(
        self, found: Found, wanted: Wanted, reply: Reply | RefusedRecordError
    ) -> Sequence[Unit | RefusedRecordError]:
        """The ECGs of a file that may hold many."""
        if isinstance(reply, RefusedRecordError):
            return [reply]
        count = reply.head.count
        if count is not None and count > 1 and not wanted.many:
            detail = f"{found.record} holds {count} ECGs, expected one; name its row, 0 to {count - 1}"
            return [RefusedRecordError(found.record, "many_records", detail)]
        if count is not None and count > wanted.max_ecgs:
            detail = f"{found.record} holds {count} ECGs, expected at most {wanted.max_ecgs} in one batch"
            raise RefusedRecordError(found.record, "too_many_ecgs", detail)
        return [Unit(found, None)] if count is None else [Unit(found, row) for row in range(count)]

    async def _read(self, upload: _Upload, unit: Unit) -> Item:
        reply = await self._ask(upload, unit)
        if isinstance(reply, RefusedRecordError):
            return reply
        upload.windows_left -= max(map(len, reply.windows))
        if upload.windows_left < 0:
            detail = f"more than {self._limits.max_windows} windows in one request"
            return RefusedRecordError(unit.record, "too_long", detail)
        return ReadECG(unit.record, reply.windows, reply.head.seconds, reply.head.sampling_rate_hz)

    async def _ask(self, upload: _Upload, unit: Unit, *, count: bool = False) -> Reply | RefusedRecordError:
        """What a process says of a unit, or what is wrong with it or with the process."""
        wanted = upload.wanted
        request = Request(
            str(upload.folder),
            unit.found.file,
            unit.record,
            wanted.hints,
            wanted.contracts,
            wanted.patch_samples,
            wanted.windows,
            self._limits.max_windows,
            count,
            unit.row,
        )
        try:
            reply = await self._readers.ask(request)
        except TimeoutError:
            detail = f"not read after {self._limits.read_seconds:g} s, which no ECG takes"
            return TooSlowError(unit.record, "too_slow", detail)
        except LostError:
            detail = "the process that read it ended, and is replaced; it may be asked for again"
            return RefusedRecordError(unit.record, LOST, detail)
        if reply.head.refused is None:
            return reply
        reason, detail = reply.head.refused
        return RefusedRecordError(unit.record, reason, upload.in_words_of_client(detail))
