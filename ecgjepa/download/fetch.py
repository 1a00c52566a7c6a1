"""What is not there yet -> the data folder: several connections, every file verified before it has its name.

Below `DATA/.ecgjepa-download/`: `parts/` is on its way, `whole/` has arrived and is being verified or unpacked,
`unpacked.json` knows what came out of zips. All but the last is removed when everything is there.
"""

import logging
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch  # type: ignore[import-untyped]
from filelock import FileLock, Timeout
from tqdm import tqdm

from ecgjepa.download.archives import Archive
from ecgjepa.download.manifest import RemoteFile
from ecgjepa.download.names import STATE, DownloadError, check_inside
from ecgjepa.download.room import check_room, download_bytes, needed_bytes, place
from ecgjepa.download.transfer import FileError, Patience, Transfer
from ecgjepa.download.unpack import Unpacked, unpack

MOST_FAILURES = 10  # files that cannot be had, after which the rest is not tried
SHOWN = 5


@dataclass(frozen=True)
class Outcome:
    """What a download did: files of the archive, those of them that were fetched, and bytes that came."""

    files: int
    fetched: int
    fetched_bytes: int


class _Counter:
    """Bytes that came; called by all threads."""

    def __init__(self, show: Callable[[int], object]) -> None:
        self.arrived_bytes, self._show, self._lock = 0, show, threading.Lock()

    def __call__(self, size_bytes: int) -> None:
        with self._lock:
            self.arrived_bytes += max(size_bytes, 0)
            self._show(size_bytes)


def missing_files(
    files: list[RemoteFile], data_dir: Path, *, overwrite: bool = False, connections: int = 4, progress: bool = False
) -> list[RemoteFile]:
    """Those files that are not in the folder; what is there is compared with the published checksum.

    Args:
        overwrite: files that differ are missing, too.

    Raises:
        DownloadError: files are there that differ from the published ones; a link leads out of the folder.
    """
    check_inside(data_dir, (file.final_name for file in files))
    unpacked = Unpacked(data_dir / STATE / "unpacked.json")
    here = [file for file in files if (data_dir / file.final_name).exists()]

    def differs(file: RemoteFile) -> bool:
        final = data_dir / file.final_name
        if not final.is_file():
            raise DownloadError(f"{final} is a folder, expected a file")
        if file.name != file.final_name:
            return not unpacked.is_whole(file, final)
        algorithm, _, expected = file.checksum.partition(":")
        return bool(pooch.file_hash(str(final), alg=algorithm) != expected)

    with (
        ThreadPoolExecutor(connections) as pool,
        tqdm(total=len(here), desc="verifying", unit=" files", disable=None if progress and here else True) as bar,
    ):
        try:
            other = []
            for file, is_other in zip(here, pool.map(differs, here), strict=True):
                other += [file] if is_other else []
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if other and not overwrite:
        names = ", ".join(str(data_dir / file.final_name) for file in other[:SHOWN])
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        raise DownloadError(
            f"{names}{more}: not the published file, expected {other[0].checksum} of {other[0].name}; "
            "--overwrite replaces it"
        )
    known = {file.name for file in here} - {file.name for file in other}
    return [file for file in files if file.name not in known]


def fetch_files(
    archive: Archive,
    files: list[RemoteFile],
    data_dir: Path,
    *,
    overwrite: bool = False,
    connections: int = 4,
    patience: Patience | None = None,
    progress: bool = True,
) -> Outcome:
    """Bring all files into the folder; those that are there already are verified, not fetched.

    A call that was interrupted, or killed, is gone on with by the same call. Nothing has its final name that does not
    have the published checksum.

    Raises:
        DownloadError: no connection, no room, a file that differs from the published one, a wrong checksum (twice),
            or another download into this folder.
    """
    state = data_dir / STATE
    if data_dir.exists() and not data_dir.is_dir():
        raise DownloadError(f"{data_dir} is a file, expected a folder")
    check_inside(data_dir, (file.final_name for file in files))
    state.mkdir(parents=True, exist_ok=True)
    with _alone(state):
        missing = missing_files(files, data_dir, overwrite=overwrite, connections=connections, progress=progress)
        check_room(data_dir, needed_bytes(archive, missing, connections), _arrived_bytes(state, missing))
        fetched_bytes = _fetch(archive, missing, data_dir, connections, patience or Patience(), progress)
        shutil.rmtree(state / "parts", ignore_errors=True)
        shutil.rmtree(state / "whole", ignore_errors=True)
        if not (state / "unpacked.json").exists():
            shutil.rmtree(state, ignore_errors=True)
    return Outcome(len(files), len(missing), fetched_bytes)


def _fetch(
    archive: Archive, missing: list[RemoteFile], data_dir: Path, connections: int, patience: Patience, progress: bool
) -> int:
    """Fetch files that are missing; the bytes that came."""
    state, stop = data_dir / STATE, threading.Event()
    unpacked = Unpacked(state / "unpacked.json")
    kennel = pooch.create(
        path=state / "whole",
        base_url="",
        registry={file.name: file.checksum for file in missing},
        urls={file.name: file.url for file in missing},
        retry_if_failed=1,  # of a wrong checksum: once more, from the beginning
    )
    for folder in {Path(file.name).parent for file in missing}:  # two threads must not make the same one
        (state / "whole" / folder).mkdir(parents=True, exist_ok=True)
        (state / "parts" / folder).mkdir(parents=True, exist_ok=True)
    bar = tqdm(
        total=download_bytes(archive, missing),
        initial=_arrived_bytes(state, missing),
        desc=archive.name,
        unit="B",
        unit_scale=True,
        disable=None if progress and missing else True,
    )
    failures: list[DownloadError] = []
    with bar, Transfer(patience, stop, counter := _Counter(bar.update)) as transfer, _quiet_pooch():

        def fetch_one(file: RemoteFile) -> None:
            part = state / "parts" / f"{file.name}.part"

            def downloader(url: str, output_file: str, _: object) -> None:
                transfer.fetch(url, part)
                part.replace(output_file)
                part.with_name(f"{part.name}.validator").unlink(missing_ok=True)

            try:
                whole = Path(kennel.fetch(file.name, downloader=downloader))
                final = data_dir / file.final_name
                if file.name == file.final_name:
                    place(whole, final)
                else:
                    unpack(file, whole, final, unpacked)
            except ValueError as error:  # pooch's, with what was found and expected
                raise FileError(f"{file.name} from {file.url}: {error}") from error
            except OSError as error:
                if isinstance(error, DownloadError) or error.filename is not None:
                    raise
                raise DownloadError(f"{file.name}: {error}; the same command goes on") from error  # a full disk, say

        with ThreadPoolExecutor(connections) as pool:
            try:
                futures = [pool.submit(fetch_one, file) for file in missing]
                for done, future in enumerate(as_completed(futures), 1):
                    try:
                        future.result()
                    except FileError as error:
                        failures.append(error)
                        if len(failures) >= MOST_FAILURES:
                            break
                    bar.set_postfix_str(f"{done:,}/{len(missing):,} files", refresh=False)
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
    if failures:
        shown = "\n  ".join(str(error) for error in failures[:SHOWN])
        raise DownloadError(f"{len(failures)} of {len(missing)} files could not be fetched:\n  {shown}")
    return counter.arrived_bytes


def _arrived_bytes(state: Path, files: list[RemoteFile]) -> int:
    """Bytes of files that an earlier call brought, whole or in part."""
    paths = [path for f in files for path in (state / "parts" / f"{f.name}.part", state / "whole" / f.name)]
    return sum(path.stat().st_size for path in paths if path.is_file())


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    try:
        with FileLock(state / "lock", timeout=0):
            yield
    except Timeout as error:
        raise DownloadError(f"{state.parent}: another download into this folder is running") from error


@contextmanager
def _quiet_pooch() -> Iterator[None]:
    """Without a line for each of 40,000 files."""
    logger, level = pooch.get_logger(), pooch.get_logger().level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
