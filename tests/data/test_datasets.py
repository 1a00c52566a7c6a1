"""Data sets: every record of the table is listed, labels, patients and splits are right."""

import errno
import os
from pathlib import Path

import h5py
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ecgjepa.data.listings.datasets import DatasetError, list_records
from ecgjepa.data.listings.labels import (
    CHALLENGE2020_CLASSES,
    HeaderNotes,
    challenge2020_labels,
    cpsc2018_labels,
    read_header_notes,
)
from ecgjepa.data.prepare import prepare
from ecgjepa.data.readers import read
from ecgjepa.data.store import RECORDS, Store
from ecgjepa.errors import RefusedRecordError
from tests.data.archives import smooth_signal, write_code15, write_ptbxl, write_wfdb


def test_ptbxl(tmp_path: Path) -> None:
    listing = list_records("ptbxl", write_ptbxl(tmp_path, records=12, absent=3))
    records = listing.records.set_index("record")
    assert len(records) == 15
    assert records["path"].isna().sum() == 3
    assert listing.levels == {
        "all": ["AFIB", "IMI", "NORM", "SR"],
        "diagnostic": ["IMI", "NORM"],
        "subdiagnostic": ["IMI", "NORM"],
        "superdiagnostic": ["MI", "NORM"],
        "form": [],
        "rhythm": ["AFIB", "SR"],
    }
    first = records.loc["00001_hr"]
    assert (first["patient"], first["age"], first["sex"], first["split"]) == ("100", 90, "male", "train")
    assert first["labels_all"] == ["NORM", "SR"]
    assert records.loc["00002_hr", "labels_superdiagnostic"] == ["MI"]
    assert records.loc["00003_hr", "labels_superdiagnostic"] is None  # AFIB is no diagnosis
    assert records.loc[["00009_hr", "00010_hr"], "split"].tolist() == ["validation", "test"]


def test_ptbxl_devices_and_sites(tmp_path: Path) -> None:
    write_ptbxl(tmp_path, records=4, absent=0)
    table = tmp_path / "ptbxl_database.csv"
    assert list_records("ptbxl", tmp_path).records[["device", "site"]].isna().all(axis=None)
    told = {"device": ["CS100    3", "AT-6 C 5.0", None, "AT-6     6"], "site": [0.0, 12.0, None, 3.0]}
    pd.read_csv(table).assign(**told).to_csv(table, index=False)
    store = prepare("ptbxl", tmp_path, tmp_path / "store", workers=1, progress=False)
    assert store.column("device").to_pylist() == ["CS100 3", "AT-6 C 5.0", None, "AT-6 6"]
    assert store.column("site").to_pylist() == ["0", "12", None, "3"]


def test_a_store_of_before_there_were_devices_opens_and_gets_them(tmp_path: Path) -> None:
    write_ptbxl(tmp_path, records=4, absent=0)
    table = tmp_path / "ptbxl_database.csv"
    store = prepare("ptbxl", tmp_path, tmp_path / "store", workers=1, progress=False)
    columns = pq.read_table(store.path / RECORDS).drop_columns(["device", "site"])
    pq.write_table(columns, store.path / RECORDS)
    older = Store.open(store.path)
    assert not older.has_column("site")
    assert "site" not in older.records
    pd.read_csv(table).assign(site=2.0).to_csv(table, index=False)
    newer = prepare("ptbxl", tmp_path, tmp_path / "store", workers=1, progress=False)
    assert newer.records["site"].tolist() == ["2"] * 4
    newer.verify()


def test_code15(tmp_path: Path) -> None:
    listing = list_records("code15", write_code15(tmp_path))
    records = listing.records.set_index("record")
    assert list(records.index) == ["1000", "1001", "1002", "1003", "exams_part0[4]"]
    assert records.loc["1000", "labels_abnormality"] == listing.levels["abnormality"]
    assert records.loc["1001", "labels_abnormality"] == []  # labelled: none of the six
    assert records.loc["exams_part0[4]", "labels_abnormality"] is None
    assert records.loc["1003", "patient"] == "3"


def test_code15_exams_of_an_absent_or_broken_part_are_listed(tmp_path: Path) -> None:
    write_code15(tmp_path)
    table = pd.read_csv(tmp_path / "exams.csv")
    more = [table.iloc[[0]].assign(exam_id=7, trace_file="exams_part9.hdf5")]
    more += [table.iloc[[0]].assign(exam_id=8, trace_file="exams_part1.hdf5")]
    pd.concat([table, *more]).to_csv(tmp_path / "exams.csv", index=False)
    (tmp_path / "exams_part1.hdf5").write_bytes(b"\x89HDF\r\n not really")
    records = list_records("code15", tmp_path).records.set_index("record")
    assert records.loc["7", "path"] is None or pd.isna(records.loc["7", "path"])
    assert records.loc["8", "path"].endswith("exams_part1.hdf5")
    (tmp_path / "exams.csv").unlink()
    listing = list_records("code15", tmp_path)
    assert "exams_part1" in set(listing.records["record"])  # the broken part keeps a line
    assert listing.levels == {}
    assert listing.records["patient"].is_unique


def test_code15_without_readable_exam_ids_gives_no_exam_another_signal(tmp_path: Path) -> None:
    write_code15(tmp_path)
    with h5py.File(tmp_path / "exams_part0.hdf5", "r+") as file:
        del file["exam_id"]
    records = list_records("code15", tmp_path).records
    assert records["record"].tolist() == ["exams_part0", "1000", "1001", "1002", "1003"]
    for path, row in zip(records["path"], records["row"], strict=True):
        with pytest.raises(RefusedRecordError, match="exam ids"):
            read(Path(path), int(row))


def test_labels_and_ids_that_fit_nothing_are_errors(tmp_path: Path) -> None:
    write_code15(tmp_path)
    table = pd.read_csv(tmp_path / "exams.csv")
    table.assign(AF="no").to_csv(tmp_path / "exams.csv", index=False)
    with pytest.raises(DatasetError, match="must be True or False"):
        list_records("code15", tmp_path)
    table.assign(exam_id=table["exam_id"] + 10**6).to_csv(tmp_path / "exams.csv", index=False)
    with pytest.raises(DatasetError, match="knows none of the exams"):
        list_records("code15", tmp_path)


def test_no_record_slips_into_training_or_into_one_patient(tmp_path: Path) -> None:
    write_ptbxl(tmp_path)
    table = pd.read_csv(tmp_path / "ptbxl_database.csv")
    table.assign(patient_id=float("nan")).to_csv(tmp_path / "ptbxl_database.csv", index=False)
    assert list_records("ptbxl", tmp_path).records["patient"].is_unique
    table.loc[9, "strat_fold"] = 0
    table.to_csv(tmp_path / "ptbxl_database.csv", index=False)
    with pytest.raises(DatasetError, match=r"00010_hr: strat_fold 0, expected 1 to 10"):
        list_records("ptbxl", tmp_path)


def test_a_broken_cell_is_named(tmp_path: Path) -> None:
    write_ptbxl(tmp_path, records=2)
    table = tmp_path / "ptbxl_database.csv"
    table.write_text(table.read_text().replace("{'IMI': 50.0", "{'IMI: 50.0"))
    with pytest.raises(DatasetError, match="00002_hr: scp_codes"):
        list_records("ptbxl", tmp_path)


def test_folders_of_wfdb(tmp_path: Path) -> None:
    write_wfdb(tmp_path / "01" / "010", "JS00001", smooth_signal(0))
    assert list_records("shaoxing", tmp_path).records["record"].tolist() == ["JS00001"]
    write_wfdb(tmp_path / "cpsc" / "g1", "A0001", smooth_signal(0))
    write_wfdb(tmp_path / "cpsc" / "g7", "A0002", smooth_signal(0))
    assert list_records("cpsc", tmp_path / "cpsc").records["split"].tolist() == ["train", "test"]
    every = list_records("folder", tmp_path).records
    assert every["record"].tolist() == ["01/010/JS00001", "cpsc/g1/A0001", "cpsc/g7/A0002"]


@pytest.mark.parametrize(("dataset", "place"), [("shaoxing", "01/010"), ("cpsc", "g1")])
def test_a_name_that_is_no_text_does_not_stop_the_others(tmp_path: Path, dataset: str, place: str) -> None:
    write_wfdb(tmp_path / place, "A0001", smooth_signal(0))
    path = os.fsencode(tmp_path / place) + b"/\xff.hea"
    with open(path, "w"):
        pass
    (records,) = list_records(dataset, tmp_path).pieces()
    assert records["record"].to_pylist() == records["patient"].to_pylist() == ["A0001", "\\udcff"]
    assert records["path"].to_pylist()[1] == path


def test_a_part_of_code15_whose_name_is_no_text(tmp_path: Path) -> None:
    write_code15(tmp_path)
    with open(os.fsencode(tmp_path) + b"/exams_part\xff.hdf5", "wb") as file:
        file.write(b"no HDF5")
    for _ in ("with", "without"):
        (records,) = list_records("code15", tmp_path).pieces()
        assert "exams_part\\udcff" in records["record"].to_pylist()
        (tmp_path / "exams.csv").unlink(missing_ok=True)


def test_exams_are_not_lost_for_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    write_code15(tmp_path)
    monkeypatch.setattr("h5py.File", fail)
    with pytest.raises(DatasetError, match=r"exams_part0.hdf5: .*Input/output error; its exams cannot be listed now"):
        list_records("code15", tmp_path)


def test_errors_say_what_was_looked_for(tmp_path: Path) -> None:
    for dataset in ("ptbxl", "shaoxing", "code15", "cpsc", "folder"):
        with pytest.raises(DatasetError, match=str(tmp_path)):
            list_records(dataset, tmp_path)  # an empty folder
        with pytest.raises(DatasetError, match="no folder"):
            list_records(dataset, tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="expected one of ptbxl"):
        list_records("ptb", tmp_path)
    write_ptbxl(tmp_path / "a", records=0, absent=3)
    with pytest.raises(DatasetError, match="none of the 3 records"):
        list_records("ptbxl", tmp_path / "a")
    (tmp_path / "a" / "ptbxl_database.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DatasetError, match="lacks the columns"):
        list_records("ptbxl", tmp_path / "a")


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_trailing_slash_makes_no_difference(tmp_path: Path, slash: str) -> None:
    write_wfdb(tmp_path / "g1", "A0001", smooth_signal(0))
    assert len(list_records("cpsc", f"{tmp_path}{slash}").records) == 1


def test_header_notes() -> None:
    notes = read_header_notes(["Age: 53", " Sex: F", "Dx: 284470004,89792004,,284470004", "Rx: Unknown"])
    assert (notes.age, notes.sex, notes.codes) == (53.0, "female", ("284470004", "89792004"))
    empty = read_header_notes(["#Age: NaN", "Sex: Unknown", "#Dx: "])
    assert (empty.age, empty.sex, empty.codes) == (None, None, ())
    assert read_header_notes([]).codes == ()
    assert cpsc2018_labels(("164889003", "1")) == ["AF"]
    assert cpsc2018_labels(()) is None


def test_challenge_of_2020() -> None:
    assert len(CHALLENGE2020_CLASSES) == 27
    assert len(set(CHALLENGE2020_CLASSES.values())) == 24

    def labels(*codes: str) -> list[str] | None:
        return challenge2020_labels(HeaderNotes(None, None, codes))

    assert labels("713427006") == labels("59118001") == ["RBBB"]
    assert labels("284470004") == labels("63593006", "284470004") == ["PAC"]
    assert labels("427172004", "17338001", "426783006") == ["NSR", "PVC"]
    assert labels("428750005") == []  # a code, and none of the scored
    assert labels() is None


@pytest.mark.real_data
def test_real_challenge_folders(real_data_dir: Path, tmp_path: Path) -> None:
    store = prepare("folder", real_data_dir / "challenge2020", tmp_path / "s", workers=1, progress=False)
    records = store.records.set_index("record")
    assert len(records) == 32
    assert set(store.info["levels"]) == {"snomed", "challenge2020"}
    assert set(store.info["levels"]["challenge2020"]) <= set(CHALLENGE2020_CLASSES.values())
    assert records.loc["cpsc_extra/Q0077", "labels_challenge2020"] == ["Brady", "IRBBB", "RBBB"]
    assert records.loc["georgia/E00001", "labels_challenge2020"] is None  # an empty Dx
    ptb = records.loc["ptb/S0001"]  # 38 s at 1,000 Hz, 2,000,000 steps per mV
    assert (ptb["age"], ptb["sex"], ptb["labels_snomed"]) == (81, "female", None)


@pytest.mark.real_data
def test_real_code15_tells_sex_and_age(real_data_dir: Path) -> None:
    records = list_records("code15", real_data_dir / "code15").records.set_index("record")
    assert records.loc["438277", ["sex", "age"]].tolist() == ["male", 46]
    assert records["age"].notna().sum() == records["sex"].notna().sum() == 10


@pytest.mark.real_data
def test_ptbxl_levels_have_the_published_sizes(real_data_dir: Path) -> None:
    listing = list_records("ptbxl", real_data_dir / "ptbxl")
    sizes = {level: len(names or []) for level, names in listing.levels.items()}
    assert sizes == {
        "all": 71, "diagnostic": 44, "subdiagnostic": 23, "superdiagnostic": 5, "form": 19, "rhythm": 12
    }  # fmt: skip
    present = listing.records[listing.records["path"].notna()]
    assert len(listing.records) == 21_837
    assert len(present) == 400
    counts = present["labels_superdiagnostic"].dropna().explode().value_counts().to_dict()
    assert counts == {"NORM": 184, "MI": 103, "STTC": 94, "CD": 77, "HYP": 53}
    assert listing.records["device"].notna().all()
    assert listing.records["device"].nunique() == 11
    assert (listing.records["site"] == "0").sum() == 8940
    assert listing.records["site"].isna().sum() == 18
