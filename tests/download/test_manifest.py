"""Which files a publisher's list gives, and which lists are refused."""

import json
from pathlib import Path

import pytest

from ecgjepa.download import ARCHIVES, Patience, list_files
from ecgjepa.download.names import DownloadError, safe_name
from tests.download.publisher import Publisher

QUICK = Patience(read_s=1, attempts=2, pause_s=0.01)
SUM = "a" * 64
PTBXL = ("ptbxl_database.csv", "scp_statements.csv", "LICENSE.txt", "records500/00000/00001_hr.hea")


def listed(publisher: Publisher, text: str, archive: str = "ptbxl", everything: bool = False) -> dict[str, str]:
    """Name -> address of the files of a list."""
    publisher.files["/db/SHA256SUMS.txt"] = text.encode()
    files = list_files(ARCHIVES[archive], everything=everything, base_address=f"{publisher.url}db", patience=QUICK)
    assert all(file.checksum == f"sha256:{SUM}" and file.size_bytes is None for file in files)
    return {file.name: file.url.removeprefix(publisher.url) for file in files}


def lines(*names: str) -> str:
    return "".join(f"{SUM} {name}\n" for name in names)


def test_ptbxl_at_100_hz_only_on_request(publisher: Publisher) -> None:
    text = lines(*PTBXL, "records100/00000/00001_lr.hea", "other/a.txt")
    assert set(listed(publisher, text)) == set(PTBXL)
    assert set(listed(publisher, text, everything=True)) == {*PTBXL, "records100/00000/00001_lr.hea"}


def test_cpsc_goes_into_the_folder_itself(publisher: Publisher) -> None:
    text = lines("LICENSE.txt", "training/cpsc_2018/g1/A0001.hea", "training/georgia/g1/E00001.hea", "index.html")
    assert listed(publisher, text, "cpsc2018") == {
        "LICENSE.txt": "db/LICENSE.txt",
        "g1/A0001.hea": "db/training/cpsc_2018/g1/A0001.hea",
    }


def test_shaoxing(publisher: Publisher) -> None:
    names = ("ConditionNames_SNOMED-CT.csv", "WFDBRecords/01/010/JS00001.hea", "WFDBRecords/01/010/JS00001.mat")
    assert set(listed(publisher, lines(*names), "shaoxing")) == set(names)


def test_forms_of_sha256sum_and_names_that_need_quoting(publisher: Publisher) -> None:
    text = lines(*PTBXL[:2]) + f"{SUM.upper()}  ./{PTBXL[3]}\r\n\n{SUM} *read me 100%#1.txt\n"
    found = listed(publisher, text)
    assert set(found) == {*PTBXL[:2], PTBXL[3], "read me 100%#1.txt"}
    assert found["read me 100%#1.txt"] == "db/read%20me%20100%25%231.txt"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "records500/../../evil",
        "/etc/evil",
        "..\\evil",
        "C:\\evil",
        "C:evil",
        "\\evil",
        "a//b",
        "records500/.",
        "..",
        "a\x00b",
        "a\x1b[31mb",
        ".ecgjepa-download/unpacked.json",
    ],
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(DownloadError, match="expected a path inside of the folder"):
        safe_name(name, "a list")


def test_a_list_with_such_a_name_is_refused_by_it(publisher: Publisher) -> None:
    with pytest.raises(DownloadError, match=r"SHA256SUMS.txt names the file '\.\./evil'"):
        listed(publisher, lines(*PTBXL, "../evil"))


def test_a_list_that_is_none_is_refused(publisher: Publisher) -> None:
    with pytest.raises(DownloadError, match=r"line 1: expected a SHA-256 and a file name, found '<html>"):
        listed(publisher, "<html>Log in to this network</html>")
    with pytest.raises(DownloadError, match=r"lists 3 files, but none like .*records500"):
        listed(publisher, lines(*PTBXL[:3]))
    with pytest.raises(DownloadError, match="lists 0 files"):
        listed(publisher, "")
    with pytest.raises(DownloadError, match=r"line 5: LICENSE.txt is listed twice, with two checksums"):
        listed(publisher, lines(*PTBXL) + f"{'b' * 64} LICENSE.txt\n")
    del publisher.files["/db/SHA256SUMS.txt"]
    with pytest.raises(DownloadError, match=r"SHA256SUMS.txt: the server answers HTTP 404"):
        list_files(ARCHIVES["ptbxl"], base_address=f"{publisher.url}db", patience=QUICK)


def test_a_list_that_is_no_text_is_refused(publisher: Publisher) -> None:
    publisher.files["/db/SHA256SUMS.txt"] = b"\xff\xfe\x00"
    with pytest.raises(DownloadError, match="expected text"):
        list_files(ARCHIVES["ptbxl"], base_address=f"{publisher.url}db", patience=QUICK)


def test_code15_has_sizes(publisher: Publisher) -> None:
    base = publisher.zenodo({"exams.csv": b"1", "exams_part0.zip": b"123", "readme.md": b""})
    table, part = list_files(ARCHIVES["code15"], base_address=base, patience=QUICK)
    assert (table.name, table.size_bytes, table.final_name) == ("exams.csv", 1, "exams.csv")
    assert (part.name, part.size_bytes, part.final_name) == ("exams_part0.zip", 3, "exams_part0.hdf5")
    assert part.url == f"{base}records/4916206/files/exams_part0.zip?download=1"
    assert part.checksum == "md5:202cb962ac59075b964b07152d234b70"


@pytest.mark.parametrize(
    "answer",
    [
        "no JSON",
        "[]",
        json.dumps({"files": [{"key": "exams.csv"}]}),
        json.dumps({"files": [{"key": "exams.csv", "size": 1, "checksum": "sha1:00"}]}),
        json.dumps({"files": [{"key": "exams.csv", "size": 1, "checksum": None}]}),
    ],
)
def test_another_answer_of_zenodo_is_refused(publisher: Publisher, answer: str) -> None:
    publisher.files["/api/records/4916206"] = answer.encode()
    with pytest.raises(DownloadError, match="expected"):
        list_files(ARCHIVES["code15"], base_address=publisher.url, patience=QUICK)


def test_a_zip_name_that_leaves_the_folder_is_refused(publisher: Publisher) -> None:
    base = publisher.zenodo({"exams.csv": b"", "../exams_part0.zip": b""})
    with pytest.raises(DownloadError, match=r"'\.\./exams_part0.zip'"):
        list_files(ARCHIVES["code15"], base_address=base, patience=QUICK)


def test_every_archive_says_where_it_is_from() -> None:
    for name, archive in ARCHIVES.items():
        assert archive.name == name
        assert archive.address.startswith("https://")
        assert archive.address.endswith("/")
        assert archive.page.startswith("https://")
        assert "creativecommons.org" in archive.licence
        assert all("https://doi.org/" in citation for citation in archive.citations)


def test_a_folder_is_not_written_by_listing(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    listed(publisher, lines(*PTBXL))
    assert not list(tmp_path.iterdir())
