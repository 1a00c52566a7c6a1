"""What the tests of whole archives share."""

import io
import zipfile
from pathlib import Path

from ecgjepa.download import ARCHIVES, Outcome, Patience, fetch_files, list_files

QUICK = Patience(connect_s=5, read_s=0.5, attempts=3, pause_s=0.01, longest_pause_s=1)


def bring(archive: str, base: str, folder: Path, overwrite: bool = False, connections: int = 4) -> Outcome:
    files = list_files(ARCHIVES[archive], base_address=base, patience=QUICK)
    return fetch_files(
        ARCHIVES[archive],
        files,
        folder,
        overwrite=overwrite,
        connections=connections,
        patience=QUICK,
        progress=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()
