"""A publisher on this machine, and no proxy in between."""

from collections.abc import Iterator

import pytest

from tests.data.archives import write_code15
from tests.download.archive_files import zipped
from tests.download.publisher import Publisher


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Publisher() as server:
        yield server


@pytest.fixture(scope="session")
def code15(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """`exams.csv` and the zip, as published."""
    folder = write_code15(tmp_path_factory.mktemp("code15"))
    part = (folder / "exams_part0.hdf5").read_bytes()
    return {"exams.csv": (folder / "exams.csv").read_bytes(), "exams_part0.zip": zipped({"exams_part0.hdf5": part})}
