"""Names that come from outside, a list of files or a zip, and must stay inside the folder."""

from pathlib import PurePosixPath, PureWindowsPath

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
