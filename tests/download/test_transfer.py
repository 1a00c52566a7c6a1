"""Connections that break, stall, lie or refuse; against a real server."""

import random
import threading
import time
from email.utils import formatdate
from pathlib import Path

import pytest
import requests

from ecgjepa import __version__
from ecgjepa.download import transfer as module
from ecgjepa.download.names import DownloadError
from ecgjepa.download.transfer import FileError, Patience, StoppedError, Transfer
from tests.download.publisher import Fault, Publisher

QUICK = Patience(connect_s=5, read_s=0.3, attempts=4, pause_s=0.01, longest_pause_s=3)
CONTENT = random.Random(0).randbytes(700_000)


def fetch(publisher: Publisher, part: Path, patience: Patience = QUICK) -> bytes:
    with Transfer(patience) as transfer:
        transfer.fetch(f"{publisher.url}a.bin", part)
    return part.read_bytes()


@pytest.fixture
def part(publisher: Publisher, tmp_path: Path) -> Path:
    publisher.files["/a.bin"] = CONTENT
    return tmp_path / "a.part"


def test_a_file_arrives_in_one_request_that_says_who_asks(publisher: Publisher, part: Path) -> None:
    assert fetch(publisher, part) == CONTENT
    (asked,) = publisher.asked
    assert asked.agent == f"ecgjepa/{__version__}"
    assert asked.encoding == "identity"
    assert asked.range is None


def test_a_connection_that_breaks_is_gone_on_with(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(cut=200_000), Fault(cut=150_000), Fault(cut=0)]
    assert fetch(publisher, part) == CONTENT
    assert len(publisher.asked) == 4
    assert all(asked.range and asked.if_range for asked in publisher.asked[1:])
    assert publisher.sent_bytes["/a.bin"] <= len(CONTENT)


@pytest.mark.parametrize("fault", [Fault(cut=100_001), Fault(stall=100_001)], ids=["broken", "stalled"])
def test_nothing_that_arrived_is_lost(publisher: Publisher, part: Path, fault: Fault) -> None:
    publisher.faults["/a.bin"] = [fault]
    assert fetch(publisher, part) == CONTENT
    assert publisher.asked[1].range == "bytes=100001-"
    assert publisher.sent_bytes["/a.bin"] <= len(CONTENT)


def test_a_later_call_goes_on(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(cut=300_000), *[Fault(status=503)] * 3]
    with pytest.raises(DownloadError, match="HTTP 503 Service Unavailable; given up after 4 attempts"):
        fetch(publisher, part)
    assert part.stat().st_size == 300_000
    assert fetch(publisher, part) == CONTENT
    assert publisher.sent_bytes["/a.bin"] <= len(CONTENT) + 3 * len(b"not now")


def test_two_versions_are_not_mixed(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(cut=300_000), Fault(status=403)]
    with pytest.raises(DownloadError, match="HTTP 403 Forbidden"):
        fetch(publisher, part)
    publisher.files["/a.bin"] = newer = CONTENT[::-1]
    assert fetch(publisher, part) == newer


def test_without_a_mark_of_the_version_the_range_is_asked_for_alone(publisher: Publisher, part: Path) -> None:
    weak = {"ETag": 'W/"1"'}
    publisher.faults["/a.bin"] = [Fault(cut=300_000, headers=weak)]
    assert fetch(publisher, part) == CONTENT
    assert publisher.asked[1].range is not None
    assert publisher.asked[1].if_range is None


def test_a_server_without_ranges_sends_the_file_anew(publisher: Publisher, part: Path) -> None:
    came: list[int] = []
    publisher.faults["/a.bin"] = [Fault(cut=300_000), Fault(whole=True)]
    with Transfer(QUICK, progress=came.append) as transfer:
        transfer.fetch(f"{publisher.url}a.bin", part)
    assert part.read_bytes() == CONTENT
    assert sum(came) == len(CONTENT), "the bar does not count twice"


@pytest.mark.parametrize(
    ("here", "requests_made"),
    [(CONTENT, 1), (CONTENT + b"more", 2)],
    ids=["whole", "longer than published"],
)
def test_nothing_after_the_end(publisher: Publisher, part: Path, here: bytes, requests_made: int) -> None:
    part.write_bytes(here)
    assert fetch(publisher, part) == CONTENT
    assert len(publisher.asked) == requests_made


@pytest.mark.parametrize("found", ["bytes 5-699999/700000", "bytes 300000-400000/700000", "seconds 1-2/3"])
def test_another_range_than_asked_for_is_not_taken(publisher: Publisher, part: Path, found: str) -> None:
    part.write_bytes(CONTENT[:300_000])
    publisher.faults["/a.bin"] = [Fault(headers={"Content-Range": found})]
    assert fetch(publisher, part) == CONTENT
    assert publisher.asked[1].range is None


def test_a_busy_server_is_asked_again_when_it_says(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(status=429, headers={"Retry-After": "1"}), Fault(status=503), Fault(status=500)]
    begin = time.monotonic()
    assert fetch(publisher, part) == CONTENT
    assert time.monotonic() - begin >= 1
    assert len(publisher.asked) == 4


def test_retry_after_may_be_a_date_or_nonsense() -> None:
    assert module._retry_after_s(formatdate(time.time() + 100, usegmt=True)) == pytest.approx(100, abs=5)
    assert module._retry_after_s(formatdate(time.time() - 100, usegmt=True)) == 0
    assert module._retry_after_s("soon") is None
    assert module._retry_after_s(None) is None


def test_a_server_that_asks_for_an_hour_is_told_to_the_user(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(DownloadError, match=r"HTTP 429 Too Many Requests; it asks to wait 3,600 s"):
        fetch(publisher, part)
    assert len(publisher.asked) == 1


def test_a_file_that_is_not_there_is_not_asked_for_again(publisher: Publisher, part: Path) -> None:
    del publisher.files["/a.bin"]
    with pytest.raises(FileError, match=r"a\.bin: the server answers HTTP 404"):
        fetch(publisher, part)
    assert len(publisher.asked) == 1


def test_a_connection_that_stalls_is_given_up_and_gone_on_with(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(stall=262_144)]
    assert fetch(publisher, part) == CONTENT
    assert len(publisher.asked) == 2
    assert publisher.asked[1].range is not None


def test_no_server_is_given_up_after_some_attempts(tmp_path: Path, publisher: Publisher) -> None:
    with Transfer(QUICK) as transfer, pytest.raises(DownloadError, match=r"refused.*given up after 4 attempts"):
        transfer.fetch("http://127.0.0.1:9/a", tmp_path / "a")


def test_attempts_that_bring_something_do_not_count(
    publisher: Publisher, part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PROGRESS_BYTES", 65_536)
    publisher.faults["/a.bin"] = [Fault(cut=70_000)]
    publisher.forever.add("/a.bin")
    assert fetch(publisher, part) == CONTENT
    assert len(publisher.asked) > 2 * QUICK.attempts


def test_a_server_that_always_begins_anew_and_breaks_is_given_up(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(cut=600_000, whole=True)]
    publisher.forever.add("/a.bin")
    with pytest.raises(DownloadError, match=r"IncompleteRead.*given up after 4 attempts"):
        fetch(publisher, part)
    assert len(publisher.asked) == 4


def test_a_compressed_answer_is_refused(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(headers={"Content-Encoding": "gzip"})]
    with pytest.raises(DownloadError, match="sends the file as 'gzip'"):
        fetch(publisher, part)


def test_a_file_that_does_not_fit_is_refused(publisher: Publisher, part: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(DownloadError, match="700,000 bytes are needed, 1,000 are free"):
        fetch(publisher, part)
    assert not part.exists()


def test_an_encrypted_address_must_not_lead_to_an_open_one(tmp_path: Path) -> None:
    answer = requests.Response()
    answer.status_code, answer.url = 200, "http://physionet.org/a"
    with Transfer(QUICK) as transfer, pytest.raises(DownloadError, match="expected an encrypted connection"):
        transfer._check_answer(answer, "https://physionet.org/a", tmp_path / "a", 0)


def test_proxies_of_the_environment_are_used(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", publisher.url)
    publisher.files["/a.bin"] = b"by proxy"  # a proxy gets the whole address; the server here takes its path
    with Transfer(QUICK) as transfer:
        transfer.fetch("http://physionet.invalid/a.bin", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"by proxy"


def test_stopping_ends_a_pause(publisher: Publisher, part: Path) -> None:
    publisher.faults["/a.bin"] = [Fault(status=503, headers={"Retry-After": "3"})]
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    with Transfer(QUICK, stop) as transfer, pytest.raises(StoppedError):
        transfer.fetch(f"{publisher.url}a.bin", part)
    assert time.monotonic() - begin < 2
