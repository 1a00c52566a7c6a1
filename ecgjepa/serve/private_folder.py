"""Where uploads lie while they are read: a folder of this server alone, gone when it ends.

TEMPORARY/ecgjepa-serve-XXXXXXXX/   mode 0700
          lock                      held by the server; a folder whose lock is free is left over and removed
          XXXXXXXX/                 one upload, mode 0700
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ecgjepa.serve.reading.uploads import OwnFile, UploadedFile

PREFIX = "ecgjepa-serve-"
LOCK = "lock"


class PrivateFolder:
    """The folder of one server."""

    def __init__(self) -> None:
        _remove_left_over()
        made = Path(tempfile.mkdtemp(prefix="ecgjepa-new-"))
        self._lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.with_name(made.name.replace("ecgjepa-new-", PREFIX))
        made.rename(self.path)  # only now can another server see it

    def write(self, files: Sequence[UploadedFile], own: Sequence[OwnFile]) -> Path:
        """A new folder with the uploads under our names.

        Raises:
            OSError: there is no room for them; nothing of them is left.
        """
        folder = Path(tempfile.mkdtemp(dir=self.path))
        try:
            for each in own:
                content = files[each.number].content if each.content is None else each.content
                with (folder / each.name).open("xb") as file:
                    if isinstance(content, bytes):
                        file.write(content)
                    else:
                        content.seek(0)
                        shutil.copyfileobj(content, file, 2**20)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_left_over() -> None:
    """Remove the folders of servers that were killed; those that live hold their lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            state = folder.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its server lives
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)
