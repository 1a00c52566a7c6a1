"""Trouble of the machine while a file is read, which says nothing of the file: disks, networks, too many open files."""

import errno
import re
from collections.abc import Iterator

from ecgjepa.errors import RefusedRecordError

IO_ERROR = "io_error"
# The disk, or the way to it: another file may be read, and this one later.
_OF_THE_WAY = frozenset(
    getattr(errno, word)
    for word in ("EIO", "ESTALE", "ETIMEDOUT", "ENETDOWN", "EHOSTDOWN", "EREMOTEIO", "ENODEV")
    if hasattr(errno, word)  # Linux has them all
)
# The process, or the whole machine: no file can be read.
_OF_ALL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_IN_WORDS = re.compile(r"errno = (\d{1,4})\b")  # as HDF5 tells it


def refusal_of_trouble(
    name: str, error: BaseException, handled: BaseException | None = None
) -> RefusedRecordError | None:
    """The refusal `io_error`, if the error, or one that led to it, is of the disk or the way to it; else None.

    Args:
        name: of the record.
        error: what a reader ran into; a library may have made another error of it, as `zipfile` does.
        handled: was under way before the file was read, and is another's.

    Raises:
        OSError: no file can be opened any more; the error as it was.
    """
    for each in _chain(error, handled):
        if not isinstance(each, OSError):
            continue
        number = each.errno
        if number is None and (told := _IN_WORDS.search(str(each))):
            number = int(told[1])
        if number in _OF_ALL:
            raise each
        if number in _OF_THE_WAY:
            found = f"the file could not be read, which may be of the machine: {each.strerror or each}"
            return RefusedRecordError(name, IO_ERROR, found)
    return None


def _chain(error: BaseException, end: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    below: BaseException | None = error
    while below is not None and below is not end and id(below) not in seen:
        seen.add(id(below))
        yield below
        below = below.__cause__ or below.__context__
