"""Names that come from outside, a list of files or a zip, and must stay inside the folder."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

STATE = ".ecgjepa-download"  # below the data folder: what is on its way, and what was unpacked


class DownloadError(OSError):
    """A download that cannot start or go on; the message names the file, what was found and what was expected."""


def safe_name(name: str, source: str) -> str:
    """The relative path that a list or a zip gives, without a leading `./`.

    Raises:
        DownloadError: the name is absolute, climbs with `..`, holds a control character, or lies in our own `STATE`;
            as POSIX or as Windows would read it.
    """
    name = name.removeprefix("./")
    parts = name.replace("\\", "/").split("/")
    windows = PureWindowsPath(name)
    if (
        PurePosixPath(name).is_absolute()
        or windows.drive
        or windows.root
        or any(part in ("", ".", "..") for part in parts)
        or not name.isprintable()
        or parts[0].lower() == STATE
    ):
        raise DownloadError(
            f"{source} names the file {name!r}, expected a path inside of the folder; nothing is written"
        )
    return name


def check_inside(data_dir: Path, names: Iterable[str]) -> None:
    """What is written below the data folder must lie there; the folder itself may be a link.

    Args:
        data_dir: the folder, which need not be there.
        names: relative paths of files.

    Raises:
        DownloadError: a folder on the way to a file is a link that leads out.
    """
    root = os.path.realpath(data_dir)
    places = {place for name in names for place in PurePosixPath(name).parents}
    state, parts, whole = PurePosixPath(STATE), PurePosixPath(STATE, "parts"), PurePosixPath(STATE, "whole")
    for place in sorted({state, *places, *(parts / each for each in places), *(whole / each for each in places)}):
        real = os.path.realpath(data_dir / place)
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            raise DownloadError(
                f"{data_dir / place} leads to {real}, expected a folder inside of {root}; nothing is written"
            )
