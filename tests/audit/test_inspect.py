"""The command on folders, published layouts and stores: what it finds, names, writes and returns."""

import csv
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ecgjepa.audit import summary
from ecgjepa.audit.inputs import MAX_SOURCES, from_listing, from_store
from ecgjepa.audit.run import PART, Audit, look_over
from ecgjepa.audit.text import as_text
from ecgjepa.cli import main
from ecgjepa.data.listings.listing import Listing, to_piece
from ecgjepa.data.listings.own import list_folder
from ecgjepa.signal import DEFAULT_CONTRACT
from tests.audit.signals import beats, write_records
from tests.data.archives import write_ptbxl, write_wfdb
from tests.data.stores import write_store

SCALE = r"two is 2\.[3-7] times larger in amplitude than one \(5 and 7 records\)"


def inspect(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["inspect", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def audit_of(folder: Path, scratch: Path, **how: object) -> Audit:
    scratch.mkdir(exist_ok=True)
    sample = how.pop("sample", None)
    return look_over(from_listing(list_folder(folder), scratch, DEFAULT_CONTRACT, sample), **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good records, one copied under another name, one twice as large source, and four broken ones."""
    folder = tmp_path_factory.mktemp("raw")
    write_records(folder / "one", [f"a{k}" for k in range(6)])
    write_records(folder / "two", [f"b{k}" for k in range(4)], size_mv=2.5, seed=50)
    write_wfdb(folder / "one", "short", beats(90, samples=1000).T)
    for suffix in (".hea", ".dat"):  # the same ECG under two names
        (folder / f"two/copy{suffix}").write_bytes((folder / f"one/a2{suffix}").read_bytes().replace(b"a2", b"copy"))
    (folder / "two/empty.hea").write_text("")
    (folder / "two/cut.hea").write_text((folder / "one/a1.hea").read_text().replace("a1", "cut"))
    (folder / "two/cut.dat").write_bytes((folder / "one/a1.dat").read_bytes()[:50_000])
    (folder / "two/gone.hea").write_text((folder / "one/a1.hea").read_text().replace("a1", "gone"))
    return folder


def test_a_folder_in_the_terminal(folder: Path, tmp_path: Path) -> None:
    result = inspect(folder, "--workers", 1)
    assert result.exit_code == 3
    assert max(map(len, result.output.splitlines())) <= max(100, len(str(folder)) + 40)
    assert re.search(SCALE, " ".join(result.output.split()))
    assert re.search(r"duplicate +2 ", result.output)
    assert "same signal: one/a2 = two/copy" in result.output
    for name in ("one/short", "two/empty", "two/cut", "two/gone"):
        assert f"{name}: " in result.output.split("`prepare` would refuse")[1]


def test_every_refusal_and_note_is_in_the_list(folder: Path, tmp_path: Path) -> None:
    assert inspect(folder, "--workers", 1, "--list", tmp_path / "all.csv").exit_code == 3
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    refused = {row["record"]: row["what"] for row in rows if row["status"] == "refused"}
    assert set(refused) == {"one/short", "two/empty", "two/cut", "two/gone"}
    assert refused["two/cut"] == "unreadable"
    assert refused["two/gone"] == "file_absent"
    same = [(row["record"], row["source"], row["detail"]) for row in rows if row["what"] == "duplicate"]
    assert same == [("one/a2", "one", "group 0"), ("two/copy", "two", "group 0")]
    assert rows[0]["path"].startswith(str(folder))


class Balanced(HTMLParser):
    """Opened tags are closed; texts and links are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.words, self.links = [], [], []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.links += [value for name, value in attrs if name in ("href", "src")]
        if tag not in ("meta", "link", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_the_same_and_asks_nobody(folder: Path, tmp_path: Path) -> None:
    raw = tmp_path / "<b>raw"
    shutil.copytree(folder, raw)
    result = inspect(raw, "--workers", 1, "--out", tmp_path / "audit.html")
    assert result.exit_code == 3
    html = (tmp_path / "audit.html").read_text()
    page = Balanced()
    page.feed(html)
    assert page.open == []
    assert page.links == ["data:,"]
    assert "<b>raw" not in html
    assert "<script" not in html
    words = " ".join(" ".join(page.words).split())
    assert re.search(SCALE, words)
    assert "one/a2 = two/copy" in words
    assert all(name in words for name in ("one/short", "two/empty", "two/cut", "two/gone"))
    assert html.count("<rect") == 2 * 12


def test_nothing_is_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "audit.html").write_text("mine")
    result = inspect(folder, "--out", tmp_path / "audit.html")
    assert result.exit_code == 1
    assert "--overwrite" in result.output
    assert (tmp_path / "audit.html").read_text() == "mine"
    assert "no folder" in inspect(folder, "--list", tmp_path / "no/all.csv").output


def test_the_same_with_two_workers(folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    shutil.copytree(folder, many)
    first = beats(500).T
    for k in range(PART):  # more than one part
        np.save(many / f"c{k:02d}.npy", first)
    audits = [
        audit_of(many, tmp_path / f"scratch{workers}", workers=workers, list_file=tmp_path / f"{workers}.csv")
        for workers in (1, 2)
    ]
    assert audits[0].inputs.records == 15 + PART
    assert audits[0].tally == audits[1].tally
    assert as_text(audits[0], "x", 0) == as_text(audits[1], "x", 0)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_a_good_folder_has_status_0_and_hints_are_taken(tmp_path: Path) -> None:
    write_records(tmp_path / "raw", ["a", "b"])
    (tmp_path / "raw/notes.csv").write_text("who,what\n1,2\n")
    result = inspect(tmp_path / "raw", "--workers", 1)
    assert result.exit_code == 0  # a table of something else is listed only
    assert "notes: " in result.output
    arrays = tmp_path / "arrays"
    arrays.mkdir()
    np.save(arrays / "a.npy", beats(1) * 1000)
    assert inspect(arrays, "--workers", 1).exit_code == 3
    told = ["--sampling-rate-hz", 500, "--unit", "uV", "--leads", "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"]
    result = inspect(arrays, "--workers", 1, *told)
    assert result.exit_code == 0
    assert "not found: not_finite, flat, clipped, saturated" in result.output


def test_a_sample_is_said_and_the_same_every_time(tmp_path: Path) -> None:
    write_records(tmp_path / "raw", [f"a{k}" for k in range(9)])
    result = inspect(tmp_path / "raw", "--workers", 1, "--records", 4, "--seed", 3)
    assert "a random sample of 4 of 9 records (seed 3)" in result.output
    assert result.output == inspect(tmp_path / "raw", "--workers", 1, "--records", 4, "--seed", 3).output
    inputs = from_listing(list_folder(tmp_path / "raw"), tmp_path, DEFAULT_CONTRACT, 4, 3)
    chosen = [row["record"] for _, _, row in inputs.rows(range(4))]
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen)
    assert inspect(tmp_path / "raw", "--workers", 1, "--records", 99).output.startswith(
        f"{tmp_path / 'raw'}: 9 records"
    )


def test_a_published_layout_names_what_is_absent(tmp_path: Path) -> None:
    write_ptbxl(tmp_path / "ptbxl", records=3, absent=2)
    result = inspect(tmp_path / "ptbxl", "--dataset", "ptbxl", "--workers", 1)
    assert result.exit_code == 3
    assert re.search(r"file_absent +2 ", result.output)
    assert "records           5" in result.output


def test_a_store(tmp_path: Path) -> None:
    signals_uv = np.rint(1000 * np.stack([beats(k, 2500, 250)[[0, 1, *range(6, 12)]] for k in range(5)])).astype(
        np.int16
    )
    signals_uv[3] = signals_uv[1]
    signals_uv[4, 2, 100:200] = 32767
    write_store(tmp_path / "store", 5, signals_uv=signals_uv)
    result = inspect(tmp_path / "store", "--workers", 1, "--out", tmp_path / "audit.html")
    assert result.exit_code == 0
    assert "same signal: store0001 = store0003" in result.output
    assert re.search(r"beyond_store +1 .*\n.*\n +store0004: V1\n", result.output)
    assert re.search(r"saturated +1 ", result.output)
    assert "refused when the store was prepared: nothing" in result.output
    assert "I II V1 V2 V3 V4 V5 V6 (5)" in result.output
    assert "is a store" in inspect(tmp_path / "store", "--dataset", "ptbxl").output
    sample = from_store(tmp_path / "store", tmp_path, 2)
    assert look_over(sample).tally.of("records").total() == 2


def test_many_sources_are_joined(tmp_path: Path) -> None:
    names = [f"{k % 40}/{k}" for k in range(100)] + [f"7/{k}" for k in range(100, 110)]
    piece = to_piece({"record": names, "path": [None] * len(names)}, [])
    inputs = from_listing(Listing("folder", lambda: [piece]), tmp_path, DEFAULT_CONTRACT)
    assert len(inputs.sources) == MAX_SOURCES
    assert inputs.sources[-1] == f"{40 - MAX_SOURCES + 1} others"
    audit = look_over(inputs)
    assert audit.tally.of("records", inputs.sources.index("7")).total() == 13
    assert audit.tally.of("records").total() == 110
    text = as_text(audit, "x", 0)
    assert re.search(r"\n  7 +13 +13\n", text)
    assert re.search(r"\nall sources\n  records +110\n", text)


def test_signs_that_a_terminal_obeys_are_not_printed(tmp_path: Path) -> None:
    piece = to_piece({"record": ["a\x1b[31mb"], "path": [None]}, [])
    audit = look_over(from_listing(Listing("folder", lambda: [piece]), tmp_path, DEFAULT_CONTRACT))
    text = as_text(audit, "x", 0)
    assert "\x1b" not in text
    assert "a?[31mb" in text


def test_shares_are_never_nothing_for_something() -> None:
    assert [summary.share(*each) for each in ((0, 5), (1, 10**6), (5, 5), (1, 3), (999, 1000), (0, 0))] == [
        "0 %", "<0.01 %", "100 %", "33 %", "99.9 %", "0 %",
    ]  # fmt: skip


@pytest.mark.real_data
def test_real_records(real_data_dir: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for part in ("code15", "challenge2020/ptb"):
        shutil.copytree(real_data_dir / part, raw / Path(part).name)
    headers = sorted((real_data_dir / "ptbxl/records500").rglob("*.hea"))[:40]
    (raw / "ptbxl").mkdir()
    for header in headers:
        for file in (header, header.with_suffix(".dat")):
            shutil.copy(file, raw / "ptbxl" / file.name)
    twin = headers[0].stem
    for suffix in (".hea", ".dat"):
        content = (raw / f"ptbxl/{twin}{suffix}").read_bytes()
        (raw / f"ptbxl/twin{suffix}").write_bytes(content.replace(twin.encode(), b"twin"))
    broken = headers[1].stem
    (raw / f"ptbxl/{broken}.dat").write_bytes(b"")
    result = inspect(raw, "--workers", 1)
    assert result.exit_code == 3
    factor = float(re.search(r"code15 is ([\d.]+) times larger in amplitude than ptbxl", result.output)[1])
    assert 2 < factor < 3
    assert f"same signal: ptbxl/{twin} = ptbxl/twin" in result.output
    assert f"ptbxl/{broken}: 0 samples in the file" in result.output
    assert re.search(r"amplitude_low +1 .*\n.*\n.*\n +ptb/S0001\n", result.output)
    assert re.search(r"\bpadded +6 ", result.output)
