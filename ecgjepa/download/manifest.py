"""The publisher's own list of files and checksums -> what to fetch, from where, to which name.

PhysioNet: `SHA256SUMS.txt`, one line a file. Zenodo: the record in its API, with MD5 and size.
"""

import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ecgjepa.download.archives import ZENODO_RECORD, Archive
from ecgjepa.download.names import DownloadError, safe_name
from ecgjepa.download.transfer import Patience, Transfer

_SHA256_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(\S.*)")
_MD5 = re.compile(r"md5:[0-9a-f]{32}")


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: path below the data folder.
        url: where it is.
        checksum: as published, `sha256:...` or `md5:...`.
        size_bytes: None where the publisher's list does not say it.
    """

    name: str
    url: str
    checksum: str
    size_bytes: int | None

    @property
    def final_name(self) -> str:
        """The path that stays: of a zip what it holds."""
        return self.name.removesuffix(".zip") + ".hdf5" if self.name.endswith(".zip") else self.name


def list_files(
    archive: Archive,
    *,
    everything: bool = False,
    base_address: str | None = None,
    patience: Patience | None = None,
) -> list[RemoteFile]:
    """Ask the publisher which files an archive has.

    Args:
        everything: those that `prepare` does not read as well (PTB-XL at 100 Hz).
        base_address: another server with the same layout.
        patience: of the connection.

    Raises:
        DownloadError: no connection, no such list, a name that leaves the folder, or files missing in the list.
    """
    base = (base_address or archive.address).rstrip("/") + "/"
    physionet = archive.publisher == "physionet"
    url = base + ("SHA256SUMS.txt" if physionet else f"api/records/{ZENODO_RECORD}")
    text = _fetch_text(url, patience or Patience())
    published = _physionet(text, url, base) if physionet else _zenodo(text, url, base)
    chosen = [
        name
        for name in published
        if archive.needed.fullmatch(name) or (everything and archive.optional and archive.optional.fullmatch(name))
    ]
    for pattern in archive.must_have:
        if not any(pattern.fullmatch(name) for name in chosen):
            raise DownloadError(f"{url} lists {len(published)} files, but none like {pattern.pattern!r} was found")
    return [RemoteFile(name.removeprefix(archive.folder), *published[name]) for name in sorted(chosen)]


def _fetch_text(url: str, patience: Patience) -> str:
    with tempfile.TemporaryDirectory() as folder, Transfer(patience) as transfer:
        path = Path(folder) / "list"
        transfer.fetch(url, path)
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise DownloadError(f"{url}: expected text, found {error}") from error


def _physionet(text: str, url: str, base: str) -> dict[str, tuple[str, str, int | None]]:
    """Name -> address, checksum, size."""
    published: dict[str, tuple[str, str, int | None]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        if (match := _SHA256_LINE.fullmatch(line.strip())) is None:
            raise DownloadError(f"{url}, line {number}: expected a SHA-256 and a file name, found {line[:80]!r}")
        name, checksum = safe_name(match[2], url), f"sha256:{match[1].lower()}"
        if name in published and published[name][1] != checksum:
            raise DownloadError(f"{url}, line {number}: {name} is listed twice, with two checksums")
        published[name] = (base + quote(name), checksum, None)
    return published


def _zenodo(text: str, url: str, base: str) -> dict[str, tuple[str, str, int | None]]:
    """Name -> address, checksum, size."""
    published: dict[str, tuple[str, str, int | None]] = {}
    try:
        for file in json.loads(text)["files"]:
            name, checksum, size_bytes = safe_name(file["key"], url), file["checksum"], int(file["size"])
            if not _MD5.fullmatch(checksum) or size_bytes < 0:
                raise DownloadError(f"{url}, {name}: expected an MD5 and a size, found {checksum!r}, {size_bytes}")
            published[name] = (f"{base}records/{ZENODO_RECORD}/files/{quote(name)}?download=1", checksum, size_bytes)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(f"{url}: expected Zenodo's record with its files, found {text[:80]!r}") from error
    return published
