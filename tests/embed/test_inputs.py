"""What a user can point at: files, folders, globs, stores, tables; and what leads nowhere is an error."""

import os
from pathlib import Path

import pandas as pd
import pytest

from ecgjepa.data.formats.hints import Hints
from ecgjepa.embed.entries import InputError
from ecgjepa.embed.inputs import list_inputs, split_leads
from tests.data.archives import smooth_signal, write_code15, write_wfdb
from tests.data.stores import write_store
from tests.embed.conftest import BROKEN, GOOD


def names(*paths: Path | str, hints: Hints | None = None) -> list[str]:
    return [entry.record for entry in list_inputs(paths, hints or Hints()).entries]


def test_a_folder_is_searched_and_nothing_is_passed_over_in_silence(archive: Path) -> None:
    inputs = list_inputs([archive])
    assert sorted(entry.record for entry in inputs.entries) == sorted([*GOOD, *BROKEN])
    assert inputs.ignored == {".txt": 1}
    assert names(f"{archive}/") == names(archive)
    assert next(entry.path for entry in inputs.entries if entry.record == "b/lost") == str(archive / "b/lost.dat")


def test_links_in_circles_do_not_hang(archive: Path) -> None:
    (archive / "a" / "loop").symlink_to(archive, target_is_directory=True)
    assert len(names(archive)) == len(GOOD) + len(BROKEN)


def test_globs_and_files(archive: Path) -> None:
    assert names(f"{archive}/a/good[12].hea") == ["good1", "good2"]
    assert names(f"{archive}/**/good*.hea") == [f"good{k}" for k in range(5)]
    assert names(archive / "a/good3.hea") == ["good3"]


def test_same_name_twice_is_called_by_its_path(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_wfdb(tmp_path / folder, "r", smooth_signal(0))
    assert names(tmp_path / "x", tmp_path / "y") == [str(tmp_path / "x/r.hea"), str(tmp_path / "y/r.hea")]
    with pytest.raises(InputError, match="named twice among the inputs"):
        names(tmp_path / "x", tmp_path / "x/r.hea")


def test_files_that_hold_many(tmp_path: Path) -> None:
    file = write_code15(tmp_path) / "exams_part0.hdf5"
    assert names(file) == [f"exams_part0[{row}]" for row in range(5)]
    (tmp_path / "cut.hdf5").write_bytes(file.read_bytes()[:3000])
    assert names(tmp_path / "cut.hdf5") == ["cut"]


def test_a_store(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    entries = list_inputs([tmp_path / "store"]).entries
    assert [entry.record for entry in entries] == store.records["record"].tolist()
    assert [entry.row for entry in entries] == list(range(len(store)))


def test_other_columns_of_a_table_may_be_anything(archive: Path) -> None:
    rows = {"path": ["a/good0.hea"], "labels": [["AF", "MI"]], "leads": [["I", "II"]], "record": [7]}
    pd.DataFrame(rows).to_parquet(archive / "t.parquet")
    (entry,) = list_inputs([archive / "t.parquet"]).entries
    assert (entry.record, entry.hints) == ("7", Hints(leads=("I", "II")))


def test_names_that_a_table_gives_twice_are_refused(archive: Path) -> None:
    pd.DataFrame({"path": ["a/good0.hea", "a/good1.hea"], "record": ["p", "p"]}).to_csv(archive / "t.csv")
    with pytest.raises(InputError, match="line 3, column record: record 'p' is there twice"):
        list_inputs([archive / "t.csv"])


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_says_where_and_how(archive: Path, suffix: str) -> None:
    table = pd.DataFrame(
        {
            "path": ["a/good0.hea", "a/good1.hea"],
            "record": ["first", None],
            "sampling_rate_hz": [400.0, None],
            "leads": [None, "I, II,V1"],
            "unit": ["uV", None],
            "label": ["AF", "NORM"],
        }
    )
    file = archive / f"table{suffix}"
    table.to_csv(file, index=False) if suffix == ".csv" else table.to_parquet(file)
    first, second = list_inputs([file], Hints(sampling_rate_hz=250.0)).entries
    assert (first.record, first.path, first.hints) == ("first", str(archive / "a/good0.hea"), Hints(400.0, None, "uV"))
    assert (second.record, second.hints) == ("a/good1", Hints(250.0, ("I", "II", "V1")))


def test_what_leads_nowhere_is_an_error(tmp_path: Path, archive: Path) -> None:
    for path, message in (
        (tmp_path / "none", "no such file or folder"),
        (f"{archive}/*.edf", "no file matches it"),
        (tmp_path / "empty", "no ECG in"),
    ):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=message):
            list_inputs([path])
    pd.DataFrame({"path": ["a/good0.hea", None]}).to_csv(archive / "t.csv", index=False)
    with pytest.raises(InputError, match=r"t.csv, line 3, column path: empty"):
        list_inputs([archive / "t.csv"])
    pd.DataFrame({"path": ["a/good0.hea"], "sampling_rate_hz": ["fast"]}).to_csv(archive / "t.csv", index=False)
    with pytest.raises(InputError, match=r"line 2, column sampling_rate_hz: found 'fast', expected a number"):
        list_inputs([archive / "t.csv"])
    pd.DataFrame({"file": ["a/good0.hea"]}).to_parquet(archive / "t.parquet")
    for cells, message in (
        ({"row": ["-1"]}, "found -1, expected a whole number"),
        ({"row": ["1.7"]}, "found 1.7, expected a whole number"),
        ({"row": ["inf"]}, "found 'inf', expected a number"),
        ({"unit": ["kg"]}, "unit must be one of"),
        ({"leads": ["I I"]}, "leads must be distinct"),
    ):
        pd.DataFrame({"path": ["a/good0.hea"], **cells}).to_csv(archive / "t.csv", index=False)
        with pytest.raises(InputError, match=f"t.csv, line 2, column .*{message}"):
            list_inputs([archive / "t.csv"])
    with pytest.raises(InputError, match="expected one named path"):
        list_inputs([archive / "t.parquet"])


def test_leads_as_people_type_them() -> None:
    assert split_leads("I,II, V1") == split_leads("I II V1") == ("I", "II", "V1")


def test_links_are_followed_once(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "here").symlink_to(archive / "a", target_is_directory=True)
    assert names(tmp_path / "linked") == [f"here/good{k}" for k in range(5)]


def test_a_record_by_its_name_and_a_pipe_that_is_none(archive: Path) -> None:
    assert names(archive / "a" / "good1") == ["good1"]
    os.mkfifo(archive / "pipe.csv")
    assert names(archive / "pipe.csv") == ["pipe"]  # and does not wait for ever
    pd.DataFrame({"path": ["a/good0.hea"], "record": ["NA"]}).to_csv(archive / "t.csv", index=False)
    assert names(archive / "t.csv") == ["NA"]
