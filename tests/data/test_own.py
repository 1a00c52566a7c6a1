"""One's own folders and tables: every ECG is listed once, what is wrong is named, nothing is passed over in silence."""

import json
import os
import re
import shlex
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from ecgjepa.cli import main
from ecgjepa.data import readers
from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.listings import folders
from ecgjepa.data.listings.datasets import DatasetError
from ecgjepa.data.listings.folders import BUILDING_FILES, find_records
from ecgjepa.data.listings.listing import checked_pieces, hints_of, listing_schema
from ecgjepa.data.listings.own import OwnListing, list_folder, list_table
from ecgjepa.data.listings.splits import split_of_patient
from ecgjepa.data.preparing.building import PLAN
from ecgjepa.data.preparing.chunks import LISTING
from ecgjepa.data.store import Store
from ecgjepa.leads import LEADS_12
from tests.data.archives import smooth_signal, write_code15, write_wfdb
from tests.data.sample_files import write_samples

EMPTY = ["a.hea", "b.hea", "c.hea"]


def names(listing: OwnListing) -> list[str]:
    return [name for piece in listing.pieces() for name in piece["record"].to_pylist()]


def write_table(folder: Path, text: str, name: str = "my.csv") -> Path:
    """A table beside empty files `a.hea`, `b.hea`, `c.hea`."""
    for file in EMPTY:
        (folder / file).touch()
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# Folders.


def test_every_format_at_any_depth(tmp_path: Path) -> None:
    files = write_samples(tmp_path / "deep" / "er", smooth_signal(0).T, LEADS_12, 500)
    (tmp_path / "notes.TXT").touch()
    (tmp_path / "LICENSE").touch()
    listing = list_folder(tmp_path)
    records = listing.records
    assert sorted(records["record"]) == sorted(f"deep/er/{readers_stem(path)}" for path, _ in files.values())
    assert records["path"].tolist() == sorted(records["path"])
    assert listing.ignored == {".txt": 1, "LICENSE": 1}
    assert (records["patient"] == records["record"]).all()
    assert records["split"].isna().all()
    for row in records.to_dict("records"):
        hints = Hints(500, LEADS_12, "mV") if row["path"].endswith(".npy") else Hints()
        readers.read(row["path"], hints=hints)


def readers_stem(path: Path) -> str:
    return path.name.split(".")[0]


def test_files_of_many_give_a_row_for_each(tmp_path: Path) -> None:
    write_code15(tmp_path)
    np.save(tmp_path / "many.npy", np.zeros((2, 12, 50)))
    np.savez(tmp_path / "one.npz", signal=np.zeros((12, 50)))
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    (tmp_path / "lost.dat").touch()
    rows = [
        (name, -1 if row is pd.NA else row) for name, row in list_folder(tmp_path).records[["record", "row"]].to_numpy()
    ]
    many = [(f"exams_part0[{row}]", row) for row in range(5)] + [("many[0]", 0), ("many[1]", 1)]
    assert rows == [("broken", -1), ("exams", -1), *many[:5], ("lost", -1), *many[5:], ("one", -1)]
    exam = readers.read(tmp_path / "exams_part0.hdf5", 3)
    assert exam.sampling_rate_hz == 400


def test_names_are_unique_within_a_folder(tmp_path: Path) -> None:
    for name in ("a.csv", "a.edf", "a.csv.edf", "b.hea", "b.dat", "c.CSV.GZ", "d[0].edf", ".csv", "e.dat", "e.mat"):
        (tmp_path / name).touch()
    np.save(tmp_path / "d.npy", np.zeros((1, 12, 50)))
    found = names(list_folder(tmp_path))
    assert len(set(found)) == len(found)
    assert found == [".csv", "a.csv", "a.csv.edf", "a.edf", "b", "c", "d[0]", "d[0].edf", "e.dat", "e.mat"]


def test_links_are_followed_once_and_circles_end(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    (inside / "x").mkdir(parents=True)
    (outside / "sub").mkdir(parents=True)
    for place in (inside, inside / "x", outside, outside / "sub"):
        (place / "r.hea").touch()
    for name, target in (
        ("1up", inside),
        ("2sub", outside / "sub"),
        ("3out", outside),
        ("4again", outside),
        ("5x", inside / "x"),
    ):
        (inside / name).symlink_to(target, target_is_directory=True)
    (outside / "back").symlink_to(tmp_path, target_is_directory=True)
    found = names(list_folder(inside))
    real = {os.path.realpath(path) for path in list_folder(inside).records["path"]}
    assert found == ["r", "2sub/r", "3out/r", "x/r"]
    assert len(real) == len(found)


def test_stores_are_no_raw_data(tmp_path: Path) -> None:
    (tmp_path / "r.hea").touch()
    for folder in ("store", "store.building"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "signals.npy", np.zeros((2, 8, 50)))
        (tmp_path / folder / "store.json").touch()
    (tmp_path / "store.building" / "store.json").rename(tmp_path / "store.building" / "plan.json")
    listing = list_folder(tmp_path)
    assert names(listing) == ["r"]
    assert listing.ignored == {"store": 2}


def test_a_folder_is_left_out_as_a_building_only_if_it_is_one(tmp_path: Path) -> None:
    assert {PLAN, LISTING} == BUILDING_FILES
    for folder in ("icu.building", "mine.building"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "r.hea").touch()
    (tmp_path / "mine.building" / LISTING).touch()
    listing = list_folder(tmp_path)
    assert names(listing) == ["icu.building/r"]
    assert listing.ignored == {"store": 1}


def write_in_two_files(folder: Path, name: str = "r") -> Path:
    """A record whose header names two signal files, `NAME_1.dat` and `NAME_2.dat`."""
    folder.mkdir(exist_ok=True)
    lines = [f"{name} 2 500 50"]
    for k, lead in enumerate(("I", "II"), 1):
        (folder / f"{name}_{k}.dat").write_bytes(bytes(100))
        lines.append(f"{name}_{k}.dat 16 1000/mV 16 0 0 0 0 {lead}")
    (folder / f"{name}.hea").write_text("\n".join(lines))
    return folder / f"{name}.hea"


def test_signal_files_that_a_header_names_are_no_records(tmp_path: Path) -> None:
    header = write_in_two_files(tmp_path)
    write_wfdb(tmp_path, "s", smooth_signal(0))
    write_in_two_files(tmp_path / "below")
    for place in ("lost.dat", "below/r_3.mat"):
        (tmp_path / place).touch()
    os.mkfifo(tmp_path / "pipe.hea")
    (tmp_path / "latin.hea").write_bytes(b"# r_9.dat\n\nlatin 1\n\xff.dat 16\n")
    with open(os.fsencode(tmp_path) + b"/\xff.dat", "w"):
        pass
    assert names(list_folder(tmp_path)) == ["latin", "lost", "pipe", "r", "s", "below/r", "below/r_3"]
    assert readers.read(header).leads == LEADS_12[:2]


def test_headers_are_opened_only_where_a_signal_file_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.hea", "a.dat", "b.hea", "b.mat", "r.hea", "z.hea", "z.dat"):
        (tmp_path / name).touch()
    opened = []
    monkeypatch.setattr(folders, "_file_names", lambda path: opened.append(path) or {"r_1.dat"})
    assert names(list_folder(tmp_path)) == ["a", "b", "r", "z"]
    assert not opened
    (tmp_path / "r_1.dat").touch()
    assert names(list_folder(tmp_path)) == ["a", "b", "r", "z"]
    assert set(opened) == {str(tmp_path / "r.hea")}, "the one without a file of its own name is asked first"


def test_a_folder_streams_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(25):
        (tmp_path / f"{k % 3}").mkdir(exist_ok=True)
        (tmp_path / f"{k % 3}" / f"{k:02d}.hea").touch()
    monkeypatch.setattr("ecgjepa.data.listings.own.PIECE", 4)
    listing = list_folder(tmp_path)
    pieces = list(listing.pieces())
    assert [len(piece) for piece in pieces] == [4] * 6 + [1]
    assert pieces[0].schema == listing_schema(["snomed", "challenge2020"])
    assert names(listing) == sorted(f"{k % 3}/{k:02d}" for k in range(25))
    assert names(listing) == names(listing)
    for _ in checked_pieces(listing, tmp_path):
        pass


def test_a_tree_of_folders_is_not_held_in_memory(tmp_path: Path) -> None:
    for k in range(300):
        (tmp_path / f"p{k // 100}" / f"s{k}").mkdir(parents=True)
        (tmp_path / f"p{k // 100}" / f"s{k}" / f"{k}.hea").touch()

    def peak(folder: Path) -> int:
        tracemalloc.start()
        assert sum(1 for _ in find_records(folder, Counter())) in (100, 300)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(tmp_path)
    assert peak(tmp_path) < 1.2 * peak(tmp_path / "p0")


def test_a_name_that_is_no_text_is_a_record(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.hea"
    with open(path, "w"):
        pass
    listing = list_folder(tmp_path)
    assert names(listing) == ["\\udcff"]
    assert next(iter(listing.pieces()))["path"].to_pylist() == [os.path.realpath(path)]


def test_patients_by_their_folders(tmp_path: Path) -> None:
    for patient, study in (("p10000032", "1"), ("p10000032", "2"), ("p10000980", "3")):
        write_wfdb(tmp_path / "p1000" / patient / f"s{study}", study, smooth_signal(0, 50))
    for pattern in (r"/p(\d{8})/", r"(p1000)/p(?P<patient>\d{8})/"):
        listing = list_folder(tmp_path, patient=pattern, split="patient", split_seed=3)
        assert listing.records["patient"].tolist() == ["10000032", "10000032", "10000980"]
        assert listing.records["split"].tolist() == [split_of_patient(p, 3) for p in listing.records["patient"]]
    (tmp_path / "record_list.csv").write_text("subject_id,path\n1,p1000\n")
    assert list_folder(tmp_path, patient=r"/p(\d{8})/").records["patient"].tolist()[0] == "record_list"
    (tmp_path / "lost.hea").touch()
    with pytest.raises(DatasetError, match=r"lost.hea: patient pattern .* finds no patient in 'lost'"):
        names(list_folder(tmp_path, patient=r"/p(\d{8})/"))
    for pattern, message in (("p(", "no regular expression"), ("p1", "has no group")):
        with pytest.raises(DatasetError, match=message):
            list_folder(tmp_path, patient=pattern)


def test_hints_are_for_all_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", smooth_signal(0).T)
    hints = Hints(500, LEADS_12, "mV")
    (row,) = next(iter(list_folder(tmp_path, hints=hints).pieces())).to_pylist()
    assert hints_of(row) == hints
    assert readers.read(os.fsdecode(row["path"]), hints=hints_of(row)).leads == LEADS_12


def test_a_folder_without_an_ecg_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(DatasetError, match=r"found 1 .txt, expected suffixes .*\.edf"):
        list_folder(tmp_path)
    with pytest.raises(DatasetError, match="no folder"):
        list_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="split shares"):
        list_folder(tmp_path, split_shares=(0.5, 0.1, 0.1))


# Tables.

# Cells `!` stand for `|`.
FULL = """
path     | record  | Patient ID | split | fold | age | sex     | site        | Device      | ward
a        | first   | 17         | val   | 3    | 53  | F       | 3.0         | CS100    3  | X
b.hea    |         |            |       |      |     |         |             |             |
./c.dat  | nan-one | p 3        | TRAIN | 1    | 0   | unknown | north  wing |             |
gone.edf | NA      | p4         | test  |      |     |         |             |             |
"""
MORE = """
labels    | labels_rhythm | sampling_rate_hz | leads  | units | gain_per_mv
AF! MI !AF| []            | 500              | I II   | mV    |
          |               |                  |        |       |
NORM      | SR            |                  | "I,II" | adc   | 200
          |               |                  |        |       |
"""


def full_table(separator: str) -> str:
    left, right = ([line.split("|") for line in text.strip().splitlines()] for text in (FULL, MORE))
    rows = (first + second for first, second in zip(left, right, strict=True))
    return "\n".join(separator.join(cell.strip().replace("!", "|") for cell in row) for row in rows)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_a_table_says(tmp_path: Path, separator: str, mark: str) -> None:
    table = write_table(tmp_path, mark + full_table(separator), "my.tsv" if separator == "\t" else "my.csv")
    listing = list_table(table)
    check_full(listing, tmp_path)
    assert listing.unknown == ("ward",)
    assert listing.has_patients


def test_the_same_from_parquet(tmp_path: Path) -> None:
    write_table(tmp_path, "")
    columns: dict[str, Any] = {
        "path": ["a", "b.hea", "./c.dat", "gone.edf"],
        "record": pd.Categorical(["first", None, "nan-one", "NA"]),
        "subject_id": ["17", None, "p 3", "p4"],
        "split": ["val", None, "train", "test"],
        "fold": [3, None, 1, None],
        "age": [53, None, 0.0, None],
        "sex": ["F", "", "other", None],
        "site": ["3.0", None, "north  wing", None],
        "device": ["CS100    3", None, None, None],
        "labels": [["AF", "MI", "AF"], None, ["NORM"], None],
        "labels_rhythm": [[], None, ["SR"], None],
        "sampling_rate_hz": [500, None, None, None],
        "leads": [["I", "II"], None, ["I", "II"], None],
        "unit": ["mV", None, "adc", None],
        "gain_per_mv": [None, None, 200, None],
    }
    pd.DataFrame(columns, index=[4, 3, 2, 1]).to_parquet(tmp_path / "my.parquet")
    listing = list_table(tmp_path / "my.parquet")
    check_full(listing, tmp_path)
    assert listing.unknown == ()


def check_full(listing: OwnListing, folder: Path) -> None:
    first, second, third, fourth = (row for piece in listing.pieces() for row in piece.to_pylist())
    assert listing.levels == {"rhythm": None, "labels": None}
    assert first == {
        "record": "first", "path": os.fsencode(folder / "a.hea"), "row": None, "patient": "17", "fold": 3,
        "split": "validation", "age": 53.0, "sex": "female",
        "device": "CS100 3", "site": "3", "labels_labels": ["AF", "MI"], "labels_rhythm": [],
        "sampling_rate_hz": 500.0, "leads": ["I", "II"], "unit": "mV", "gain_per_mv": None,
    }  # fmt: skip
    assert (second["record"], second["patient"], second["path"]) == ("b", "b", os.fsencode(folder / "b.hea"))
    assert {second[name] for name in ("split", "fold", "age", "sex", "labels_labels", "labels_rhythm")} == {None}
    assert (third["split"], third["age"], third["sex"], third["labels_rhythm"]) == ("train", 0.0, None, ["SR"])
    assert (third["site"], third["device"]) == ("north wing", None)
    assert third["path"] == os.fsencode(f"{folder}/./c.hea")
    assert hints_of(third) == Hints(None, ("I", "II"), "adc", 200.0)
    assert (fourth["record"], fourth["path"], fourth["split"]) == ("NA", None, "test")


def test_decimal_commas_of_spreadsheets(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path;age;gain_per_mv\na;53,5;204.8\n")
    assert list_table(table).records["age"].tolist() == [53.5]
    with pytest.raises(DatasetError, match=r"line 2, column age: found '53,5', expected a number"):
        list_table(write_table(tmp_path, 'path,age\na,"53,5"\n'))


def test_records_by_name_and_folders_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "data" / "g1").mkdir(parents=True)
    (tmp_path / "data" / "g1" / "A1.hea").touch()
    table = write_table(tmp_path, "record\ng1/A1\n")
    row = list_table(table, tmp_path / "data").records.iloc[0]
    assert (row["record"], row["path"]) == ("g1/A1", str(tmp_path / "data/g1/A1.hea"))
    assert list_table(table).records["path"].tolist() == [None]
    with pytest.raises(DatasetError, match="no folder"):
        list_table(table, tmp_path / "nowhere")


def test_files_of_many_in_a_table(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["ecg"] = np.zeros((3, 50, 12))
    table = write_table(tmp_path, "path,row,patient\nm.h5,2,p\nm.h5,0,q\n")
    assert list_table(table).records[["record", "row", "patient"]].to_numpy().tolist() == [
        ["m[2]", 2, "p"], ["m[0]", 0, "q"]
    ]  # fmt: skip
    whole = list_table(write_table(tmp_path, "path,patient,labels\na,p,AF\nm.h5,q,MI\nb,,\n"))
    assert names(whole) == ["a", "m[0]", "m[1]", "m[2]", "b"]
    assert whole.records["patient"].tolist() == ["p", "q", "q", "q", "b"]
    assert whole.records["labels_labels"].tolist() == [["AF"], ["MI"], ["MI"], ["MI"], None]
    with pytest.raises(DatasetError, match=r"line 3, column path: m.h5, row 1, is there twice, before in line 2"):
        list_table(write_table(tmp_path, "path,row\nm.h5,\nm.h5,1\n"))


def test_names_that_files_share_get_their_suffix(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,record\nx/a.csv,\nx/a.edf,\nx/b.edf,\nb.csv,own\n")
    assert names(list_table(table)) == ["x/a.csv", "x/a.edf", "x/b", "own"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,sampling_rate_hz\na,500\nb,fast", "line 3, column sampling_rate_hz: found 'fast', expected a number"),
        ("path,sampling_rate_hz\na,nan", "column sampling_rate_hz: found 'nan', expected a number"),
        ("path,sampling_rate_hz\na,-5", "found -5, expected a number above 0"),
        ("path,row\na,1.5", "column row: found 1.5, expected a whole number from 0"),
        ("path,age\na,300", "column age: found 300, expected 0 to 150"),
        ("path,sex\na,0", "column sex: found '0', expected male"),
        ("path,split\na,train\n\nb,holdout", "line 4, column split: found 'holdout', expected train, validation"),
        ("path,unit\na,kg", "unit must be one of"),
        ("path,leads\na,I I", "leads must be distinct"),
        ("path,age\na,1\n,2", "line 3, column path: empty, expected a path"),
        ("path\nnan", "column path: found 'nan', expected a path"),
        ("path,patient\na,nan", "column patient: found 'nan', expected a name or an empty cell"),
        ("path,labels\na,None", r"column labels: found 'None', expected names separated by ; or \|, \[\] for none"),
        ("path,labels\na,\"['AF', 'MI']\"", "column labels: found \"\\['AF', 'MI'\\]\""),
        ("path,labels\na,;", "column labels: found ';'"),
        ("path\na\n\"b\nb\"\na.hea", "line 5, column path: a.hea is there twice, before in line 2"),
        ("path,record\na,x\nb,\nc,x", "line 4, column record: record 'x' is there twice, before in line 2"),
        ("path,row\na,1\nb,1\n./a.hea,1", "line 4, column path: ./a.hea, row 1, is there twice, before in line 2"),
        ("file_name,age\na,1", r"columns age, file_name, expected one named path or record; is 'file_name' the path\?"),
        ("path,pateint\na,1", "column 'pateint', did you mean 'patient'"),
        ("path,label_rhythm\na,AF", "column 'label_rhythm', did you mean 'labels_rhythm'"),
        ("path,sampling rate\na,500", "column 'sampling rate', did you mean 'sampling_rate_hz'"),
        ("path,patient,subject_id\na,1,1", "both 'patient' and 'subject_id' are the column patient"),
        ("path,age\na,1,2", "cannot be read as a table"),
        ("", "expected one named path or record"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_file_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    table = write_table(tmp_path, text)
    with pytest.raises(DatasetError, match=message) as error:
        list_table(table)
    assert str(table) in str(error.value)


def test_tables_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("path,patient\na,Müller\n".encode("latin-1"))
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    (tmp_path / "my.xlsx").touch()
    for name, message in (
        ("latin.csv", "cannot be read as a table of UTF-8"),
        ("cut.parquet", "cannot be read as a table"),
        ("my.xlsx", "suffix '.xlsx', expected one of .csv, .parquet, .tsv"),
        ("none.csv", "no table"),
    ):
        with pytest.raises(DatasetError, match=message):
            list_table(tmp_path / name)


def test_a_row_of_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    pd.DataFrame({"path": ["a", "b"], "age": [1.0, 200.0]}).to_parquet(tmp_path / "my.parquet")
    with pytest.raises(DatasetError, match=r"my.parquet, row 2, column age: found 200, expected 0 to 150"):
        list_table(tmp_path / "my.parquet")
    pd.DataFrame({"path": ["a", "b"], "labels": [["AF"], ["AF", None]]}).to_parquet(tmp_path / "my.parquet")
    with pytest.raises(DatasetError, match=r"row 2, column labels: found \['AF', ''\], expected a list of names"):
        list_table(tmp_path / "my.parquet")


def test_tables_of_archives_are_taken_as_they_are(tmp_path: Path) -> None:
    """The list of records of MIMIC-IV-ECG, and columns that only look a little like ours."""
    heading = "subject_id,study_id,file_name,ecg_time,path,recording,folder,gender,patient_sex,heart_axis"
    place = "files/p1000/p10000032/s40689238/40689238"
    cells = f"10000032,40689238,40689238,2180-07-23 08:44:00,{place},,,,,"
    row = list_table(write_table(tmp_path, f"{heading}\n{cells}\n")).records.iloc[0]
    assert (row["record"], row["patient"]) == (place, "10000032")


def test_a_table_without_rows_and_one_without_files(tmp_path: Path) -> None:
    for text, message in (("path,age", "no record is there"), ("path\nx\ny\n", "none of the 2 records")):
        listing = list_table(write_table(tmp_path, text))
        with pytest.raises(DatasetError, match=message):
            list(checked_pieces(listing, tmp_path))


# Splits of a table.


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    text = "path,patient,split\na,p,train\nb,q,test\nc,p,test\n"
    message = (
        r"my.csv, line 4, column split: patient p is in two splits: record a \(line 2\) in train, record c in test"
    )
    with pytest.raises(DatasetError, match=message):
        list_table(write_table(tmp_path, text))
    assert names(list_table(tmp_path / "my.csv", split="none")) == ["a", "b", "c"]
    assert list_table(tmp_path / "my.csv", split="none").records["split"].isna().all()
    split = list_table(tmp_path / "my.csv", split="patient", split_seed=5).records["split"].tolist()
    assert split == [split_of_patient(patient, 5) for patient in "pqp"]
    with pytest.raises(DatasetError, match=r"record a .* in none, which is trained on, record c in test"):
        list_table(write_table(tmp_path, text.replace("train", "")))
    list_table(write_table(tmp_path, text.replace("train", "").replace("c,p,test", "c,p,train")))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("a,,17,train\nb,,,test\nc,17,,test", "record a \\(line 2\\) in train, record 17, which has no patient"),
        ("17.edf,,,test\na,,17,", "record 17, which has no patient .* \\(line 2\\) in test, record a in none"),
        ("a,,x/b.edf,train\nx/b.edf,,,test\nx/b.csv,,,test", "patient x/b.edf is in two splits"),
        ("m.h5,,,test\na,,m[1],train", "patient m\\[1\\] is in two splits"),
        ("a,,M\u00fcller,train\nb,,Mu\u0308ller,test", "patient M\u00fcller is in two splits"),
        ("a,,12,train\nb,,12.0,test", "patient 12 is in two splits"),
    ],
)
def test_patients_are_compared_by_the_names_they_will_have(tmp_path: Path, rows: str, found: str) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["ecg"] = np.zeros((3, 50, 12))
    table = write_table(tmp_path, f"path,record,patient,split\n{rows}\n")
    with pytest.raises(DatasetError, match=found):
        list_table(table)
    assert (
        len(
            list_table(table, split="patient")
            .records.groupby("patient")["split"]
            .unique()
            .loc[lambda s: s.map(len) > 1]
        )
        == 0
    )
    table.write_text(table.read_text().replace("test", "train"))
    patients = list_table(table).records["patient"]
    assert len(set(patients)) < len(patients)


def test_numbers_of_patients_are_the_same_in_text_and_parquet(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,patient\na,12.0\nb,12\nc,\n")
    frame = pd.read_csv(table)
    frame.to_parquet(tmp_path / "my.parquet")
    frame.to_csv(tmp_path / "again.csv", index=False, sep=";", decimal=",")
    for file in (table, tmp_path / "my.parquet", tmp_path / "again.csv"):
        assert list_table(file).records["patient"].tolist() == ["12", "12", "c"]


def test_a_patient_is_one_however_a_folder_spells_it(tmp_path: Path) -> None:
    for name in ("M\u00fcller", "Mu\u0308ller"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "r.hea").touch()
    assert list_folder(tmp_path, patient="(.*)/").records["patient"].unique().tolist() == ["M\u00fcller"]


def test_what_auto_takes(tmp_path: Path) -> None:
    def split(text: str, **options: Any) -> list[str | None]:
        (piece,) = list_table(write_table(tmp_path, text), **options).pieces()
        return piece["split"].to_pylist()

    assert split("path,split,labels\na,dev,AF\n") == ["validation"]
    assert split("path,patient\na,p\n") == [None]
    assert split("path,patient,labels_x\na,p,\n") == [split_of_patient("p")]
    shares = (1e-9, 0.0, 1 - 1e-9)
    assert split("path,labels\na,AF\n", split_shares=shares) == ["test"]


def test_records_added_later_move_nobody(tmp_path: Path) -> None:
    rows = [f"{k}.edf,p{k % 7},AF" for k in range(40)]
    lines = ["path,patient,labels", *rows]
    few = list_table(write_table(tmp_path, "\n".join(lines[:20]))).records.set_index("record")["split"]
    many = list_table(write_table(tmp_path, "\n".join([lines[0], *reversed(rows)]))).records
    assert many.set_index("record")["split"].loc[few.index].equals(few)
    assert (many.groupby("patient")["split"].nunique() == 1).all()
    assert many["split"].nunique() > 1


def test_a_long_table_is_checked_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("own", "tables"):
        monkeypatch.setattr(f"ecgjepa.data.listings.{module}.PIECE", 7)
    monkeypatch.setattr("ecgjepa.data.listings.tables.BLOCK_BYTES", 200)
    rows = [f"{k}.edf,p{k},{('train', 'test')[k % 2]}" for k in range(100)]
    table = write_table(tmp_path, "\n".join(["path,patient,split", *rows]))
    listing = list_table(table)
    assert names(listing) == [str(k) for k in range(100)]
    assert max(len(piece) for piece in listing.pieces()) == 7
    for added, message in (
        ("3.edf,p3,test", r"line 102, column path: 3.edf is there twice, before in line 5"),
        ("z,p3,train", r"line 102, column split: patient p3 is in two splits: record 3 \(line 5\) in test"),
    ):
        with pytest.raises(DatasetError, match=message):
            list_table(write_table(tmp_path, "\n".join(["path,patient,split", *rows, added])))


def test_options_tell_one_listing_from_another(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,labels\na,AF\n")
    made: list[Callable[[], OwnListing]] = [
        lambda: list_table(table),
        lambda: list_table(table, split="none"),
        lambda: list_table(table, split_seed=1),
        lambda: list_table(table, hints=Hints(500, ("I",))),
        lambda: list_folder(tmp_path),
        lambda: list_folder(tmp_path, patient="(.)"),
    ]
    options = [json.dumps(make().options) for make in made]
    assert len(set(options)) == len(options)
    assert all(json.loads(text) == make().options for text, make in zip(options, made, strict=True))


# The command.


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result.output


def test_prepare_says_what_it_does_not_take(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_wfdb(data / "p1", "r", smooth_signal(0), comments=["Dx: 426783006"])
    np.save(data / "p1" / "s.npy", smooth_signal(1).T)
    (data / "notes.txt").touch()
    command = ("prepare", "--dataset", "folder", "--data-dir", data, "--workers", 1)
    output = run(*command, "--out", tmp_path / "store", "--split", "patient", "--sampling-rate-hz", 500, "--unit", "mV")
    assert "nothing says the patients" in output
    assert "no ECG formats, ignored: 1 .txt" in output
    assert "2 of 2 records kept" in output
    store = Store.open(tmp_path / "store")
    assert store.records["labels_snomed"].tolist() == [["426783006"], None]
    assert store.records["split"].tolist() == [split_of_patient(name) for name in ("p1/r", "p1/s")]
    text = "path,patient,labels,ward\np1/r,p,AF,3\np1/gone,q,MI,4\n"
    output = run("prepare", "--dataset", "table", "--table", write_table(tmp_path, text), "--data-dir", data, "--out",
                 tmp_path / "mine", "--split-shares", 0.5, 0.5, 0, "--split-seed", 4, "--workers", 1)  # fmt: skip
    assert "columns that are not used: ward" in output
    assert "1 of 2 records kept\n  changed: resampled 1\n  refused: file_absent 1" in output
    assert Store.open(tmp_path / "mine").records["split"].tolist() == [split_of_patient("p", 4, (0.5, 0.5, 0))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--dataset ptbxl --data-dir . --split none", "--split goes with --dataset folder or table only"),
        ("--dataset table", "--dataset table and --table FILE go together"),
        ("--dataset folder --data-dir . --table my.csv", "--dataset table and --table FILE go together"),
        ("--dataset folder", "Missing option '--data-dir'"),
        ("--dataset table --table my.csv --patient-pattern (.)", "--patient-pattern is for --dataset folder"),
        (
            "--dataset table --table my.csv --split-seed 1",
            "--split-seed is for --split patient, the split here is: none",
        ),
        ("--dataset folder --data-dir . --unit kg", "unit must be one of"),
        ("--dataset folder --data-dir . --split patient --split-shares 1 1 1", "split shares"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    write_table(tmp_path, "path\na\n")
    monkeypatch.chdir(tmp_path)
    assert message in run("prepare", *options.split(), "--out", "store")
    assert not (tmp_path / "store").exists()


def test_the_example_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    outputs = []
    for kind, block in re.findall(r"^```(python|console)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if kind == "python":
            exec(compile(block, "own-data.md", "exec"), namespace)
        else:
            outputs += [run(*shlex.split(line)[1:]) for line in block.splitlines()]
    table, folder = outputs
    assert "columns that are not used: ward" in table
    assert "4 of 4 records kept" in table
    assert "4 of 4 records kept" in folder
    assert Store.open("stores/all").records["patient"].tolist() == list("0123")
    assert namespace["held_out"].tolist() == [False, False, True, True]
    store = Store.open("stores/mine")
    assert store.records["labels_rhythm"].tolist() == [["AF", "PVC"], [], ["AF"], None]
    assert Store.open("stores/again").records["split"].tolist() == [split_of_patient(each, 1) for each in "AABC"]
