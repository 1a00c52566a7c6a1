"""Whole archives from a real server into a folder that `prepare` reads: verified, never half, never twice."""

import random
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.download import ARCHIVES, Outcome, list_files, missing_files, needed_bytes, room
from ecgjepa.download import fetch as module
from ecgjepa.download.manifest import RemoteFile
from ecgjepa.download.names import STATE, DownloadError
from tests.data.archives import smooth_signal, write_ptbxl, write_wfdb
from tests.download.archive_files import QUICK, bring, contents
from tests.download.publisher import Fault, Publisher


@pytest.fixture(scope="module")
def ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ptbxl(tmp_path_factory.mktemp("ptbxl"), records=3, absent=0)


def test_ptbxl_is_there_as_published_and_a_second_call_fetches_nothing(
    publisher: Publisher, ptbxl: Path, tmp_path: Path
) -> None:
    base, folder = publisher.physionet(ptbxl), tmp_path / "new" / "ptbxl"
    outcome = bring("ptbxl", base, folder)
    assert contents(folder) == contents(ptbxl)
    assert (outcome.files, outcome.fetched) == (8, 8)
    assert outcome.fetched_bytes == sum(map(len, contents(ptbxl).values()))
    assert list_records("ptbxl", folder).records["path"].notna().all()
    asked = len(publisher.asked)
    assert bring("ptbxl", base, folder) == Outcome(8, 0, 0)
    assert [each.path for each in publisher.asked[asked:]] == ["/db/SHA256SUMS.txt"]
    (folder / "scp_statements.csv").unlink()
    assert bring("ptbxl", base, folder).fetched == 1


@pytest.mark.parametrize(
    ("archive", "source", "below"),
    [("shaoxing", "WFDBRecords/01/010", ""), ("cpsc2018", "g3", "training/cpsc_2018/")],
)
def test_wfdb_archives_as_prepare_reads_them(
    publisher: Publisher, tmp_path: Path, archive: str, source: str, below: str
) -> None:
    write_wfdb(tmp_path / "published" / source, "A0001", smooth_signal(1), comments=["Dx: 426783006"])
    base = publisher.physionet(tmp_path / "published", below=below)
    bring(archive, base, tmp_path / "data")
    assert contents(tmp_path / "data") == contents(tmp_path / "published")
    assert list_records(ARCHIVES[archive].dataset, tmp_path / "data").records["path"].notna().all()


def test_wrong_bytes_are_fetched_once_more_and_then_named(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base, path = publisher.physionet(ptbxl), "/db/records500/00000/00002_hr.dat"
    publisher.faults[path] = [Fault(body=b"something else")]
    bring("ptbxl", base, tmp_path / "once")
    assert publisher.count(path) == 2
    publisher.faults[path] = [Fault(body=b"something else")]
    publisher.forever.add(path)
    with pytest.raises(DownloadError) as caught:
        bring("ptbxl", base, tmp_path / "always")
    assert publisher.count(path) == 4
    message = str(caught.value)
    assert "1 of 8 files could not be fetched" in message
    assert "records500/00000/00002_hr.dat from http" in message
    expected = publisher.files["/db/SHA256SUMS.txt"].decode().split(" records500/00000/00002_hr.dat")[0][-64:]
    assert f"expected sha256:{expected} but got " in message
    found = contents(tmp_path / "always")
    assert not [name for name in found if "00002_hr.dat" in name], "neither under its name nor under another"
    assert sum(not name.startswith(STATE) for name in found) == 7, "the others are there"


def test_a_part_of_something_else_does_not_spoil_a_file(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    parts = tmp_path / STATE / "parts" / "records500" / "00000"
    parts.mkdir(parents=True)
    (parts / "00001_hr.dat.part").write_bytes(b"x" * 5000)
    bring("ptbxl", publisher.physionet(ptbxl), tmp_path)
    assert contents(tmp_path) == contents(ptbxl)
    assert publisher.count("/db/records500/00000/00001_hr.dat") == 2


def test_files_that_are_not_there_do_not_stop_the_others(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base = publisher.physionet(ptbxl, extra={"gone.txt": "0" * 64})
    with pytest.raises(
        DownloadError, match=r"1 of 9 files could not be fetched:\n.*gone.txt: the server answers HTTP 404"
    ):
        bring("ptbxl", base, tmp_path)
    assert len([name for name in contents(tmp_path) if not name.startswith(STATE)]) == 8


def test_many_that_are_not_there_end_it(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base = publisher.physionet(ptbxl, extra={f"gone{k:03}.txt": "0" * 64 for k in range(200)})
    with pytest.raises(DownloadError, match="of 208 files could not be fetched"):
        bring("ptbxl", base, tmp_path)
    assert len(publisher.asked) < 100


def test_a_server_that_refuses_ends_it(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base = publisher.physionet(ptbxl)
    publisher.faults["/db/ptbxl_database.csv"] = [Fault(status=403)]
    with pytest.raises(DownloadError, match=r"ptbxl_database.csv: the server answers HTTP 403 Forbidden"):
        bring("ptbxl", base, tmp_path)
    assert bring("ptbxl", base, tmp_path).files == 8


def test_a_file_of_the_user_is_not_replaced_without_asking(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base, mine = publisher.physionet(ptbxl), tmp_path / "scp_statements.csv"
    mine.write_text("mine")
    with pytest.raises(DownloadError, match=rf"{mine}: not the published file, expected sha256:\w+ of scp_"):
        bring("ptbxl", base, tmp_path)
    assert {name for name in contents(tmp_path) if not name.startswith(STATE)} == {"scp_statements.csv"}
    assert mine.read_text() == "mine"
    bring("ptbxl", base, tmp_path, overwrite=True)
    assert contents(tmp_path) == contents(ptbxl)


def test_a_folder_in_place_of_a_file_is_named(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    (tmp_path / "scp_statements.csv").mkdir()
    with pytest.raises(DownloadError, match=r"scp_statements.csv is a folder"):
        bring("ptbxl", publisher.physionet(ptbxl), tmp_path, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="is a file, expected a folder"):
        bring("ptbxl", publisher.physionet(ptbxl), tmp_path / "file")


@pytest.mark.parametrize("place", ["records500", "records500/00000", STATE, f"{STATE}/parts"])
def test_a_link_that_leads_out_of_the_folder_is_named(
    publisher: Publisher, ptbxl: Path, tmp_path: Path, place: str
) -> None:
    base, elsewhere = publisher.physionet(ptbxl), tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "data" / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere, target_is_directory=True)
    files = list_files(ARCHIVES["ptbxl"], base_address=base, patience=QUICK)
    for look in (lambda: missing_files(files, tmp_path / "data"), lambda: bring("ptbxl", base, tmp_path / "data")):
        with pytest.raises(DownloadError, match=rf"data/{place} leads to {elsewhere}, expected a folder inside of"):
            look()
    assert not list(elsewhere.iterdir())
    assert contents(tmp_path / "data") == {}


def test_links_within_the_folder_and_to_it_are_followed(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    (tmp_path / "disk" / "records").mkdir(parents=True)
    (tmp_path / "disk" / "records500").symlink_to("records", target_is_directory=True)
    (tmp_path / "data").symlink_to("disk", target_is_directory=True)
    bring("ptbxl", publisher.physionet(ptbxl), tmp_path / "data")
    assert (tmp_path / "disk" / "records" / "00000" / "00001_hr.dat").is_file()


def test_no_room_is_said_before_anything_is_fetched(
    publisher: Publisher, code15: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = publisher.zenodo(code15)
    usage = shutil.disk_usage(tmp_path)._replace(free=30_000)
    monkeypatch.setattr(room.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DownloadError, match=r"[\d.]+ .B are needed, 30.00 kB are free on this disk"):
        bring("code15", base, tmp_path)
    assert publisher.count("/records/4916206/files/exams.csv") == 0


def test_what_is_needed_counts_zips_beside_what_they_hold() -> None:
    archive = ARCHIVES["code15"]
    files = [RemoteFile(f"exams_part{k}.zip", "", "md5:", 1000) for k in range(18)]
    assert needed_bytes(archive, files, connections=4) == int(18_000 * archive.unpacked_ratio) + 4_000
    ptbxl = [RemoteFile(f"{k}.dat", "", "sha256:", None) for k in range(43_598)]
    assert needed_bytes(ARCHIVES["ptbxl"], ptbxl, connections=4) == pytest.approx(2.77e9, rel=0.01)


def test_one_download_at_a_time_into_a_folder(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base = publisher.physionet(ptbxl)
    (tmp_path / STATE).mkdir()
    with FileLock(tmp_path / STATE / "lock"), pytest.raises(DownloadError, match="another download into this folder"):
        bring("ptbxl", base, tmp_path)
    assert bring("ptbxl", base, tmp_path).fetched == 8


def test_connections_are_used_at_once(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    base = publisher.physionet(ptbxl)
    for path in list(publisher.files):
        if path.endswith(".dat"):
            publisher.faults[path] = [Fault(stall=10)]  # all three stall for 0.5 s
    publisher.released.wait(0)
    bring("ptbxl", base, tmp_path, connections=8)
    stalled = [k for k, asked in enumerate(publisher.asked) if asked.path.endswith(".dat")]
    assert len(stalled) == 6
    first_three = {publisher.asked[k].path for k in stalled[:3]}
    assert len(first_three) == 3, "all were asked for before any was gone on with"


def test_missing_files_are_found_without_writing(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    files = list_files(ARCHIVES["ptbxl"], base_address=publisher.physionet(ptbxl), patience=QUICK)
    assert missing_files(files, tmp_path / "nothing") == files
    assert not (tmp_path / "nothing").exists()
    shutil.copytree(ptbxl, tmp_path / "copy")
    assert missing_files(files, tmp_path / "copy") == []


def test_a_full_disk_names_the_file(
    publisher: Publisher, ptbxl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(whole: Path, final: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "place", full)
    with pytest.raises(DownloadError, match=r"\.(csv|hea|dat): .*No space left on device; the same command goes on"):
        bring("ptbxl", publisher.physionet(ptbxl), tmp_path)


def test_random_cuts_and_refusals_end_in_the_published_bytes(publisher: Publisher, ptbxl: Path, tmp_path: Path) -> None:
    chance, base = random.Random(7), publisher.physionet(ptbxl)
    for path, content in publisher.files.items():
        publisher.faults[path] = [
            chance.choice([Fault(cut=chance.randrange(len(content) + 1)), Fault(status=503), Fault(whole=True)])
            for _ in range(2)
        ]
    bring("ptbxl", base, tmp_path)
    assert contents(tmp_path) == contents(ptbxl)
