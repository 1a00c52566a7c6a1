"""Malformed records among good ones, and malformed listings: what is good is kept, what is not is named."""

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.data.listings.listing import DatasetError, Listing, printable
from ecgjepa.data.listings.own import list_table
from ecgjepa.data.prepare import prepare
from tests.data.archives import smooth_signal, write_code15, write_ptbxl, write_wfdb
from tests.data.guard import LIMIT_BYTES, watched
from tests.data.malformed import KINDS, make_ground
from tests.data.malformed_kind import NO_HINTS, sparse
from tests.data.sample_files import write_samples

GOOD = ("first", "zz/last", "samples/csv/table", "samples/muse/muse")


def write_good(folder: Path) -> None:
    write_wfdb(folder, "first", smooth_signal(1))
    write_wfdb(folder / "zz", "last", smooth_signal(2))
    everything = write_samples(
        folder / "all", smooth_signal(3).T, tuple("I II III aVR aVL aVF V1 V2 V3 V4 V5 V6".split()), 500
    )
    for key in ("csv", "muse"):
        path = everything[key][0]
        (folder / "samples" / key).mkdir(parents=True)
        path.rename(folder / "samples" / key / path.name)
    shutil.rmtree(folder / "all")


def test_a_folder_of_all_kinds_keeps_the_good_and_names_the_bad(tmp_path: Path) -> None:
    ground = make_ground(tmp_path / "outside")
    write_good(tmp_path / "data")
    made: dict[str, int] = {}
    for number, kind in enumerate(KINDS):
        folder = tmp_path / "data" / f"kind{number:04d}"
        folder.mkdir()
        path = kind.make(folder, ground)
        if kind.is_listed:
            made[printable(str(path))] = number
    store = prepare("folder", tmp_path / "data", tmp_path / "store", workers=1, progress=False)
    store.verify()
    assert sorted(store.column("record").to_pylist()) == sorted(GOOD)
    with (tmp_path / "store" / "refused.csv").open(newline="", encoding="utf-8") as file:
        refused = {row["path"]: row for row in csv.DictReader(file)}
    assert set(made) <= set(refused)
    for path, number in made.items():
        kind, row = KINDS[number], refused[path]
        assert row["detail"]
        if kind.hints == NO_HINTS and not kind.by_contract and not row["row"]:
            assert row["reason"] in kind.reasons, (str(kind), row)


Make = Callable[[Path], Callable[[], Listing]]


def ptbxl(change: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> Callable[[], Listing]:
        write_ptbxl(folder, records=2, absent=0)
        change(folder)
        return lambda: list_records("ptbxl", folder)

    return make


def code15(change: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> Callable[[], Listing]:
        write_code15(folder)
        change(folder)
        return lambda: list_records("code15", folder)

    return make


def table(content: bytes, name: str = "t.csv") -> Make:
    def make(folder: Path) -> Callable[[], Listing]:
        folder.mkdir()
        write_wfdb(folder, "a", smooth_signal(1, 500))
        (folder / name).write_bytes(content)
        return lambda: list_table(folder / name)

    return make


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def instead(name: str, place: Callable[[Path], object]) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        place(folder / name)

    return change


DATABASE, EXAMS = "ptbxl_database.csv", "exams.csv"
NORM = b"\"{'NORM': 100.0, 'SR': 0.0}\""
_PTBXL: dict[str, Callable[[Path], object]] = {
    "empty": rewritten(DATABASE, lambda _: b""),
    "only names": rewritten(DATABASE, lambda c: c.split(b"\n")[0]),
    "UTF-16": rewritten(DATABASE, lambda c: c.decode().encode("utf-16")),
    "noise": rewritten(DATABASE, lambda _: np.random.default_rng(0).bytes(5000)),
    "zeros": rewritten(DATABASE, lambda _: bytes(5000)),
    "cut in the names": rewritten(DATABASE, lambda c: c[:30]),
    "a torn row": rewritten(DATABASE, lambda c: c + b"1,2,3,4,5,6,7,8,9,10,11\n"),
    "a fold of 11": rewritten(DATABASE, lambda c: c.replace(b",1,records500", b",11,records500")),
    "a fold in words": rewritten(DATABASE, lambda c: c.replace(b",1,records500", b",one,records500")),
    "an age in words": rewritten(DATABASE, lambda c: c.replace(b",300,", b",old,")),
    "codes that are code": rewritten(DATABASE, lambda c: c.replace(NORM, b"__import__('os').getcwd()")),
    "codes of 10,000 brackets": rewritten(DATABASE, lambda c: c.replace(NORM, b"[" * 10_000)),
    "codes of 100,000 signs": rewritten(DATABASE, lambda c: c.replace(NORM, b"-" * 100_000 + b"1")),
    "codes that are a list": rewritten(DATABASE, lambda c: c.replace(NORM, b"['NORM']")),
    "codes that cannot be keys": rewritten(DATABASE, lambda c: c.replace(NORM, b'"{[]: 1}"')),
    "no codes": rewritten(DATABASE, lambda c: c.replace(NORM, b"")),
    "no path": rewritten(DATABASE, lambda c: c.replace(b"records500/00000/00001_hr", b"")),
    "a path above": rewritten(DATABASE, lambda c: c.replace(b"records500/00000/00001_hr", b"../outside/wfdb")),
    "an absolute path": rewritten(DATABASE, lambda c: c.replace(b"records500/00000/00001_hr", b"/etc/passwd")),
    "a path with NUL": rewritten(DATABASE, lambda c: c.replace(b"records500/00000/00001_hr", b"records500/\0/a")),
    "a record twice": rewritten(DATABASE, lambda c: c.replace(b"00002_hr", b"00001_hr")),
    "a folder as table": instead(DATABASE, Path.mkdir),
    "a pipe as table": instead(DATABASE, os.mkfifo),
    "a device as table": instead(DATABASE, lambda path: path.symlink_to("/dev/zero")),
    "no statements": instead("scp_statements.csv", lambda path: None),
    "empty statements": rewritten("scp_statements.csv", lambda _: b""),
    "no records": lambda folder: shutil.rmtree(folder / "records500"),
}  # fmt: skip
_CODE15: dict[str, Callable[[Path], object]] = {
    "empty": rewritten(EXAMS, lambda _: b""),
    "UTF-16": rewritten(EXAMS, lambda c: c.decode().encode("utf-16")),
    "other columns": rewritten(EXAMS, lambda c: c.replace(b"exam_id", b"id")),
    "flags in words": rewritten(EXAMS, lambda c: c.replace(b"True", b"perhaps")),
    "exam ids in words": rewritten(EXAMS, lambda c: c.replace(b"1000,", b"first,")),
    "other exams": rewritten(EXAMS, lambda c: c.replace(b"100", b"777")),
    "no parts": instead("exams_part0.hdf5", lambda path: None),
}
_TABLES: dict[str, bytes] = {
    "empty": b"",
    "zeros": bytes(5000),
    "noise": np.random.default_rng(1).bytes(5000),
    "UTF-16": "path,patient\na.hea,p\n".encode("utf-16"),
    "Latin-1": "path,patient\na.hea,Müller\n".encode("latin-1"),
    "NUL in a name": b"pa\0th,patient\na.hea,p\n",
    "a column twice": b"path,path\na.hea,a.hea\n",
    "no path": b"patient,age\np,5\n",
    "an empty path": b"path,patient\n,p\n",
    "a torn row": b"path,patient\na.hea,p,q,r\n",
    "a quote that is never closed": b'path,patient\n"a.hea,p\n',
    "a record twice": b"path\na.hea\na.dat\n",
    "an age of 1e30": b"path,age\na.hea,1e30\n",
    "an age of NaN": b"path,age\na.hea,nan\n",
    "a row of -1": b"path,row\na.hea,-1\n",
    "a row of 10^400": b"path,row\na.hea,1" + b"0" * 400 + b"\n",
    "a rate of 0": b"path,sampling_rate_hz\na.hea,0\n",
    "a rate of infinity": b"path,sampling_rate_hz\na.hea,inf\n",
    "a gain below 0": b"path,gain_per_mv\na.hea,-1\n",
    "a unit of pressure": b"path,unit\na.hea,mmHg\n",
    "leads twice": b'path,leads\na.hea,"I,I"\n',
    "a split in other words": b"path,split\na.hea,sometimes\n",
    "a patient in two splits": b"path,patient,split\na.hea,p,train\nb.hea,p,test\n",
    "a name of 10^7 characters": b"a" * 10**7 + b"\n1\n",
    "10^5 columns": b",".join(b"c%d" % k for k in range(10**5)) + b"\n1\n",
}
LISTINGS: dict[str, Make] = {
    **{f"PTB-XL: {what}": ptbxl(change) for what, change in _PTBXL.items()},
    **{f"CODE-15%: {what}": code15(change) for what, change in _CODE15.items()},
    **{f"table: {what}": table(content) for what, content in _TABLES.items()},
    "Parquet: noise": table(np.random.default_rng(1).bytes(5000), "t.parquet"),
    "Parquet: empty": table(b"", "t.parquet"),
    "Parquet: a signature and nothing": table(b"PAR1" + bytes(100) + b"PAR1", "t.parquet"),
    "Parquet: a footer of 4 GB": table(b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1", "t.parquet"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("what", LISTINGS)
def test_malformed_listings(what: str, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    write_wfdb(tmp_path / "outside", "wfdb", smooth_signal(1, 500))
    listing = LISTINGS[what](tmp_path / "data")
    with watched(tmp_path / "data", tmp_path / "outside") as seen, pytest.raises(DatasetError) as caught:
        list(listing().pieces())
    assert len(str(caught.value)) < 2000
    assert not [path for path in seen.opened if "/etc/" in path or "outside" in path]
    assert seen.peak_bytes < LIMIT_BYTES


@pytest.mark.parametrize("kind", ["link", "virtual", "external", "group", "texts", "none", "many", "terabyte", "noise"])
def test_malformed_exam_ids_leave_a_line_for_the_part(kind: str, tmp_path: Path) -> None:
    """A part whose exams cannot be known is listed, is read, and is refused by name."""
    data, outside = write_code15(tmp_path / "data"), tmp_path / "outside"
    outside.mkdir()
    with h5py.File(outside / "ids.h5", "w") as file:
        file["exam_id"] = np.arange(5)
    (data / EXAMS).unlink()
    part = data / "exams_part1.hdf5"
    with h5py.File(part, "w") as file:
        file["tracings"] = np.zeros((5, 4096, 12), np.float32)
        if kind == "link":
            file["exam_id"] = h5py.ExternalLink(str(outside / "ids.h5"), "exam_id")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((5,), "i8")
            layout[:] = h5py.VirtualSource(str(outside / "ids.h5"), "exam_id", (5,))
            file.create_virtual_dataset("exam_id", layout)
        elif kind == "external":
            file.create_dataset("exam_id", (5,), "i8", external=[(str(outside / "ids.h5"), 0, 40)])
        elif kind == "group":
            file.create_group("exam_id")
        elif kind == "texts":
            file["exam_id"] = [b"a"] * 5
        elif kind == "many":
            file.create_dataset("exam_id", (10**12,), "i8", chunks=(1000,), compression="gzip")
    if kind == "terabyte":
        sparse(part, part.read_bytes()[:3000], 10**12)
    elif kind == "noise":
        part.write_bytes(np.random.default_rng(0).bytes(5000))
    with watched(data, outside) as seen:
        records = list_records("code15", data).records
    assert not seen.opened + seen.forbidden
    assert seen.peak_bytes < LIMIT_BYTES
    assert records.loc[records["path"] == str(part), "row"].tolist() == [-1]
