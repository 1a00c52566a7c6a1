"""`ecgjepa download` as a user types it; killed in the middle, and called again."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecgjepa.cli import main
from ecgjepa.cli.download import ARCHIVES as NAMES
from ecgjepa.cli.train import DATASETS
from ecgjepa.download import ARCHIVES, transfer
from tests.data.archives import write_ptbxl
from tests.download.publisher import Publisher

# The command itself, with another address.
COMMAND = """
import dataclasses, runpy, sys
from ecgjepa.download import ARCHIVES
ARCHIVES["ptbxl"] = dataclasses.replace(ARCHIVES["ptbxl"], address=sys.argv.pop(1))
runpy.run_module("ecgjepa", run_name="__main__", alter_sys=True)
"""
BIG = "/db/records500/00000/00001_hr.dat"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def ptbxl(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PTB-XL with one large file, published; the command knows its address."""
    folder = write_ptbxl(tmp_path / "published", records=2, absent=0)
    (folder / BIG.removeprefix("/db/")).write_bytes(random.Random(1).randbytes(3_000_000))
    address = publisher.physionet(folder)
    monkeypatch.setitem(ARCHIVES, "ptbxl", dataclasses.replace(ARCHIVES["ptbxl"], address=address))
    return folder


def start(publisher: Publisher, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", COMMAND, f"{publisher.url}db/", "download", "ptbxl", str(folder)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, start_new_session=True
    )


def wait_for_big(publisher: Publisher, process: "subprocess.Popen[str]") -> None:
    for _ in range(1500):
        if publisher.sent_bytes.get(BIG, 0) >= 1_000_000:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    raise AssertionError("the large file did not arrive")


def assert_same(folder: Path, published: Path) -> None:
    for path in published.rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(published)).read_bytes() == path.read_bytes()
    assert len(list(folder.rglob("*"))) == len(list(published.rglob("*"))), "nothing else is left"


def test_names_are_those_of_the_package() -> None:
    assert set(NAMES) == set(ARCHIVES)
    assert {archive.dataset for archive in ARCHIVES.values()} <= set(DATASETS)


def test_source_licence_citation_and_the_next_command_are_said(ptbxl: Path, tmp_path: Path) -> None:
    result = run("download", "ptbxl", tmp_path / "my data")
    assert result.exit_code == 0, result.output
    for text in ("PTB-XL 1.0.3", "physionet.org/content/ptb-xl/1.0.3", "Creative Commons", "Wagner", "6 files, about"):
        assert text in result.output
    assert result.output.index("licence") < result.output.index("fetched now")
    assert f"ecgjepa prepare --dataset ptbxl --data-dir '{tmp_path / 'my data'}' --out stores/ptbxl" in result.output
    assert_same(tmp_path / "my data", ptbxl)


def test_a_dry_run_asks_for_the_list_and_writes_nothing(ptbxl: Path, publisher: Publisher, tmp_path: Path) -> None:
    result = run("download", "ptbxl", tmp_path / "data", "--dry-run")
    assert result.exit_code == 0, result.output
    assert "would fetch 6 files, about 362.40 kB" in result.output
    assert f"from {publisher.url}db/" in result.output
    assert "licence" in result.output
    assert not (tmp_path / "data").exists()
    assert [asked.path for asked in publisher.asked] == ["/db/SHA256SUMS.txt"]


def test_errors_are_one_line(ptbxl: Path, publisher: Publisher, tmp_path: Path) -> None:
    assert "has no further files" in run("download", "code15", tmp_path, "--all").output
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scp_statements.csv").write_text("mine")
    result = run("download", "ptbxl", tmp_path / "data")
    assert result.exit_code == 1
    assert "Error: " in result.output
    assert "--overwrite replaces it" in result.output
    assert run("download", "ptbxl", tmp_path / "data", "--overwrite").exit_code == 0


def test_killed_in_the_middle_the_same_command_goes_on(ptbxl: Path, publisher: Publisher, tmp_path: Path) -> None:
    publisher.pause_s = 0.02
    process = start(publisher, tmp_path / "data")
    wait_for_big(publisher, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    sent, whole = publisher.sent_bytes[BIG], {path for path in publisher.files if path != BIG and path.count("/") > 1}
    assert not (tmp_path / "data" / BIG.removeprefix("/db/")).exists()
    publisher.pause_s = 0.0
    again = start(publisher, tmp_path / "data")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "6 files, all as published; 1 fetched now" in out
    assert_same(tmp_path / "data", ptbxl)
    assert {path: publisher.count(path) for path in whole - {"/db/SHA256SUMS.txt"}} == dict.fromkeys(
        whole - {"/db/SHA256SUMS.txt"}, 1
    )
    first, second = (asked for asked in publisher.asked if asked.path == BIG)
    assert first.range is None
    assert second.range is not None
    begin = int(second.range.removeprefix("bytes=").removesuffix("-"))
    assert sent - 4 * transfer.CHUNK_BYTES <= begin < 3_000_000


def test_interrupted_it_says_how_to_go_on(ptbxl: Path, publisher: Publisher, tmp_path: Path) -> None:
    publisher.pause_s = 0.02
    process = start(publisher, tmp_path / "data")
    wait_for_big(publisher, process)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    assert "stopped; the same command goes on" in err
    assert "Traceback" not in err
    publisher.pause_s = 0.0
    assert run("download", "ptbxl", tmp_path / "data").exit_code == 0
    assert_same(tmp_path / "data", ptbxl)
