"""A zip with one HDF5 file -> that file, and a note by which it is known again when the zip is gone."""

import json
import shutil
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from ecgjepa.download.manifest import RemoteFile
from ecgjepa.download.names import DownloadError, safe_name
from ecgjepa.download.room import check_room, place
from ecgjepa.files import write_json

CHUNK_BYTES = 1024 * 1024
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class Unpacked:
    """What was unpacked: of each zip its checksum, and size, CRC-32 and time of the file it held.

    Args:
        path: the JSON file of the notes.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        try:
            self._notes: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        except ValueError as error:
            raise DownloadError(f"{path} cannot be read ({error}); remove it, and use --overwrite") from error

    def is_whole(self, file: RemoteFile, final: Path) -> bool:
        """Whether `final` is what the published zip holds; it is read again only if its time has changed."""
        note = self._notes.get(file.name)
        found = final.stat()
        if note is None or note.get("checksum") != file.checksum or note.get("bytes") != found.st_size:
            return False
        return note.get("mtime_ns") == found.st_mtime_ns or note.get("crc32") == _crc32(final)

    def add(self, file: RemoteFile, whole: Path, crc32: int) -> None:
        """Note an unpacked file that is to take its place."""
        found = whole.stat()
        note = {"bytes": found.st_size, "crc32": crc32, "mtime_ns": found.st_mtime_ns}
        with self._lock:
            self._notes[file.name] = {"checksum": file.checksum, **note}
            write_json(self._path, self._notes)


def unpack(file: RemoteFile, zipped: Path, final: Path, unpacked: Unpacked) -> None:
    """Take `exams_part*.hdf5` out of its zip, checked by the zip's CRC-32; remove the zip.

    Raises:
        DownloadError: a name that leaves the folder, no such file in the zip, a broken zip, or no room.
    """
    beside = zipped.with_suffix(".unpacking")
    try:
        with zipfile.ZipFile(zipped) as members:
            names = [safe_name(member.filename.rstrip("/"), file.name) for member in members.infolist()]
            wanted = [member for member in members.infolist() if PurePosixPath(member.filename).name == final.name]
            if len(wanted) != 1:
                raise DownloadError(f"{file.name}: expected {final.name} in it, found {names[:5]}")
            check_room(final.parent, wanted[0].file_size)
            with members.open(wanted[0]) as source, beside.open("wb") as target:
                shutil.copyfileobj(source, target, CHUNK_BYTES)
    except _BROKEN as error:
        beside.unlink(missing_ok=True)
        raise DownloadError(f"{file.name}: cannot be unpacked, {error} ({zipped})") from error
    unpacked.add(file, beside, wanted[0].CRC)  # before it has its name: a file without a note is the user's own
    place(beside, final)
    zipped.unlink()


def _crc32(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            crc = zlib.crc32(chunk, crc)
    return crc
