"""The guard sees what it is there to see."""

import gzip
import socket
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.data import guard
from tests.data.guard import StillReadingError, watched


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("data", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("I\n1\n")
    return tmp_path / "data", tmp_path / "outside"


def test_openings(places: tuple[Path, Path]) -> None:
    data, outside = places
    with watched(data, outside) as seen:
        (data / "a.csv").read_bytes()
    assert not seen.opened
    (data / "link.csv").symlink_to(outside / "a.csv")
    for path in (outside / "a.csv", data / "link.csv", data / "../outside/a.csv"):
        with watched(data, outside) as seen:
            path.read_bytes()
        assert str(outside / "a.csv") in seen.opened


def test_openings_by_a_library_in_c(places: tuple[Path, Path]) -> None:
    data, outside = places
    with h5py.File(outside / "a.h5", "w") as file:
        file["ecg"] = np.zeros(3)
    with h5py.File(data / "a.h5", "w") as file:
        file["ecg"] = h5py.ExternalLink(str(outside / "a.h5"), "ecg")
    with watched(data, outside) as seen, h5py.File(data / "a.h5", "r") as file:
        assert len(file["ecg"]) == 3
    assert seen.opened


def test_time_memory_and_packets(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(guard, "LIMIT_S", 0.2)
        with pytest.raises(StillReadingError), watched(*places):
            time.sleep(5)
    with watched(*places) as seen:
        assert len(gzip.decompress(gzip.compress(bytes(2**26)))) == 2**26
    assert seen.peak_bytes >= 2**26
    with watched(*places) as seen, socket.socket() as connection, pytest.raises(OSError, match="refused"):
        connection.connect(("127.0.0.1", 9))
    assert seen.forbidden
