"""The global heap of an HDF5 file, where texts of attributes lie, checked before the HDF5 library reads it.

Damaged sizes in it send that library round for ever, or make it take gigabytes.

HDF5 File Format Specification, section III.E: a collection is `GCOL`, version 1, three zeros, its size in 8 bytes, then
objects of a header of 16 bytes (number, references, four zeros, size in 8 bytes) and their data, filled up to 8 bytes;
number 0 is the free space at the end. Section IV.B: a text is known by its length in 4 bytes, the address of the
collection in 8 and the number of the object in 4.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from ecgjepa.errors import RefusedRecordError

SIGNATURE = b"GCOL\x01\0\0\0"
_OBJECT = struct.Struct("<HHIQ")
_TEXT = struct.Struct("<IQI")


def check_heap(name: str, path: Path) -> None:
    """Walk every collection of the file, and every text that lies in one.

    Raises:
        RefusedRecordError: `unreadable` where an object does not end in its collection, or a text not in its object.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for start in _places(content, SIGNATURE):
            sizes = _sizes(content, start) if start % 8 == 0 else {}
            texts = _places(content, start.to_bytes(8, "little")) if sizes else iter(())
            known = (_TEXT.unpack_from(content, place - 4) for place in texts if 4 <= place <= len(content) - 12)
            if sizes is None or any(length > sizes.get(number, length) for length, _, number in known):
                raise RefusedRecordError(
                    name, "unreadable", f"{path.name}: damaged texts of attributes at byte {start}"
                )


def _places(content: mmap.mmap, pattern: bytes) -> Iterator[int]:
    place = content.find(pattern)
    while place >= 0:
        yield place
        place = content.find(pattern, place + 1)


def _sizes(content: mmap.mmap, start: int) -> dict[int, int] | None:
    """Bytes of each object of a collection; None if they do not fit into it."""
    place, end = start + 16, start + int.from_bytes(content[start + 8 : start + 16], "little")
    sizes: dict[int, int] = {}
    while 0 < _OBJECT.size <= min(end, len(content)) - place:
        number, _, _, size = _OBJECT.unpack_from(content, place)
        # The size of the free space counts its header, that of an object does not.
        step = size if number == 0 else _OBJECT.size + (size + 7) // 8 * 8
        if not _OBJECT.size <= step <= end - place:
            return None
        sizes |= {number: size} if number else {}
        place += step
    return sizes if end <= len(content) else None
