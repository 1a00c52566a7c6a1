"""An index folder is whole or not there: made beside its place, then exchanged with the index that is there, if any."""

import ctypes
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ecgjepa.search.description import DESCRIPTION, PARTS

# Of Linux's renameat2: paths without a folder before them, and both names keep a file.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def refuse_out(out: Path, overwrite: bool) -> None:
    """Found out before any work.

    Raises:
        FileExistsError: something is there that may not be replaced.
    """
    if not os.path.lexists(out):
        return
    if out.is_symlink() or not out.is_dir():
        raise FileExistsError(f"{out} exists already and is no folder, so it is not replaced")
    names = {file.name for file in out.iterdir()}
    if not names:
        return
    if not _is_description(out / DESCRIPTION):
        raise FileExistsError(f"{out} exists already and is not an index, so it is not replaced")
    if foreign := sorted(names - PARTS):
        raise FileExistsError(f"{out} holds {foreign[0]}, which is no part of an index, so it is not replaced")
    if not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")


@contextmanager
def building(out: Path, overwrite: bool) -> Iterator[Path]:
    """The folder in which the index is made: takes its place when the block ends well, vanishes when it does not.

    What a killed process left is removed first, or put back.

    Raises:
        FileExistsError: something is there that may not be replaced, or another process is at it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FileExistsError(f"another process is writing {out}; {lock.lock_file} says so") from None
    folder = out.with_name(f".{out.name}.building")
    try:
        _restore(out)
        refuse_out(out, overwrite)  # again: what is there may be of a process that had the lock just now
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        _flush(folder)
        _put_in_place(folder, out)
    finally:
        _restore(out)
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()  # its file stays: who removes it may remove another's


def _is_description(file: Path) -> bool:
    """Whether it is that of an index, be it of another format; other things have an `index.json` too."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and {"format", "metric", "weights_sha256"} <= said.keys()


def _flush(folder: Path) -> None:
    mode = (folder / DESCRIPTION).stat().st_mode  # safetensors would keep its files for their owner alone
    for file in folder.iterdir():
        file.chmod(mode)
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())


def _put_in_place(folder: Path, out: Path) -> None:
    """At `folder` is then what was at `out`, if anything."""
    if not out.exists():
        folder.rename(out)
    elif not _exchange(folder, out):
        out.rename(_replaced(out))  # whoever is killed here has it put back by `_restore` the next time
        folder.rename(out)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, so that there is always one at either path; False where the system cannot."""
    swap = getattr(ctypes.CDLL(None), "renameat2", None)
    if swap is None:
        return False
    return swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _restore(out: Path) -> None:
    """Put an index back that nothing took the place of, or remove it where something did."""
    if _replaced(out).exists():
        if out.exists():
            shutil.rmtree(_replaced(out))
        else:
            _replaced(out).rename(out)


def _replaced(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")
