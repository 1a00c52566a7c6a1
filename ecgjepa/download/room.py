"""Room on the disk, and files that take their place when they are whole."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from ecgjepa.download.archives import Archive
from ecgjepa.download.manifest import RemoteFile
from ecgjepa.download.names import DownloadError


def format_bytes(size_bytes: float) -> str:
    """`1.25 GB`; decimal, as disks and publishers count."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size_bytes < 1000 or unit == "GB":
            break
        size_bytes /= 1000
    return f"{size_bytes:,.0f} bytes" if unit == "bytes" else f"{size_bytes:,.2f} {unit}"


def download_bytes(archive: Archive, files: Iterable[RemoteFile]) -> int:
    """Bytes to fetch; about, where the publisher's list has no sizes."""
    return sum(archive.mean_file_bytes or 0 if file.size_bytes is None else file.size_bytes for file in files)


def needed_bytes(archive: Archive, files: list[RemoteFile], connections: int) -> int:
    """Bytes that files need on the disk; zips are there beside what they hold until that is unpacked."""
    zips = sorted((file.size_bytes or 0 for file in files if file.name.endswith(".zip")), reverse=True)
    others = sum(
        archive.mean_file_disk_bytes if file.size_bytes is None else file.size_bytes
        for file in files
        if not file.name.endswith(".zip")
    )
    return others + int(sum(zips) * archive.unpacked_ratio) + sum(zips[:connections])


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder is on, or would be."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_room(folder: Path, needed: int, here: int = 0) -> None:
    """Refuse what does not fit.

    Args:
        folder: where it goes.
        needed: bytes.
        here: bytes of it that have arrived already.
    """
    free = free_bytes(folder)
    if needed - here > free:
        raise DownloadError(
            f"{folder}: {format_bytes(needed - here)} are needed, {format_bytes(free)} are free on this disk"
        )


def place(whole: Path, final: Path) -> None:
    """Flush a whole file to the disk and give it its name; what had that name is replaced."""
    if final.is_dir():
        raise DownloadError(f"{final} is a folder, expected a file")
    final.parent.mkdir(parents=True, exist_ok=True)
    with whole.open("rb+") as file:
        os.fsync(file.fileno())
    whole.replace(final)
