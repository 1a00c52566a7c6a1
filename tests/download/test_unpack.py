"""CODE-15%: zips that are unpacked, known again without the zip, and not trusted."""

import os
from pathlib import Path

import pytest

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.download.names import STATE, DownloadError
from tests.download.archive_files import bring, zipped
from tests.download.publisher import Publisher


def test_code15_is_unpacked_and_known_again(publisher: Publisher, code15: dict[str, bytes], tmp_path: Path) -> None:
    base = publisher.zenodo(code15)
    assert bring("code15", base, tmp_path).fetched == 2
    assert {path.name for path in tmp_path.iterdir()} == {"exams.csv", "exams_part0.hdf5", STATE}
    assert len(list_records("code15", tmp_path).records) == 5
    part = tmp_path / "exams_part0.hdf5"
    assert bring("code15", base, tmp_path).fetched == 0
    os.utime(part)
    assert bring("code15", base, tmp_path).fetched == 0, "read again, and found to be the same"
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content)
    with pytest.raises(DownloadError, match=r"exams_part0.hdf5: not the published file, expected md5:\w+ of exams_p"):
        bring("code15", base, tmp_path)
    assert bring("code15", base, tmp_path, overwrite=True).fetched == 1
    assert publisher.count("/records/4916206/files/exams_part0.zip") == 2


def test_an_unpacked_file_of_the_users_own_is_not_replaced(
    publisher: Publisher, code15: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "exams_part0.hdf5").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="--overwrite replaces it"):
        bring("code15", publisher.zenodo(code15), tmp_path)
    assert (tmp_path / "exams_part0.hdf5").read_bytes() == b"mine"


def test_a_zip_that_arrived_before_a_kill_is_not_fetched_again(
    publisher: Publisher, code15: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / STATE / "whole").mkdir(parents=True)
    (tmp_path / STATE / "whole" / "exams_part0.zip").write_bytes(code15["exams_part0.zip"])
    bring("code15", publisher.zenodo(code15), tmp_path)
    assert publisher.count("/records/4916206/files/exams_part0.zip") == 0
    assert (tmp_path / "exams_part0.hdf5").is_file()


def broken_crc(content: bytes) -> bytes:
    """The same zip, whose CRC in its directory is another one."""
    at = content.rindex(b"PK\x01\x02") + 16
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda zip_: zip_[: len(zip_) // 2], "cannot be unpacked, File is not a zip file"),
        (broken_crc, "cannot be unpacked, Bad CRC-32"),
        (
            lambda zip_: zipped({"../evil": b"1", "exams_part0.hdf5": b"2"}),
            r"exams_part0.zip names the file '\.\./evil'",
        ),
        (lambda zip_: zipped({"/tmp/exams_part0.hdf5": b"2"}), "names the file '/tmp/exams_part0.hdf5'"),
        (
            lambda zip_: zipped({"exams_part1.hdf5": b"2"}),
            r"expected exams_part0.hdf5 in it, found \['exams_part1.hdf5'",
        ),
    ],
    ids=["cut", "wrong CRC", "climbs", "absolute", "another file"],
)
def test_zips_that_cannot_be_trusted(
    publisher: Publisher, code15: dict[str, bytes], tmp_path: Path, change: object, message: str
) -> None:
    assert callable(change)
    base = publisher.zenodo(code15 | {"exams_part0.zip": change(code15["exams_part0.zip"])})
    with pytest.raises(DownloadError, match=message):
        bring("code15", base, tmp_path / "data")
    assert not (tmp_path / "data" / "exams_part0.hdf5").exists()
    assert not list(tmp_path.rglob("evil"))


def test_damaged_notes_are_named(publisher: Publisher, code15: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / STATE).mkdir()
    (tmp_path / STATE / "unpacked.json").write_text("{")
    with pytest.raises(DownloadError, match=r"unpacked.json cannot be read"):
        bring("code15", publisher.zenodo(code15), tmp_path)
