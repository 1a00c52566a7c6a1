"""Tables of one's own labels: joined by name, everything that does not fit is counted or named."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgjepa.evaluate.label_table import read_label_table
from ecgjepa.evaluate.targets import RegressionTargets, Targets

from .fakes import make_store, with_records

STORE = with_records(make_store(6), split=["train", "train", "validation", "test", "test", None])


def write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, column: str | list[str], kind: str = "multilabel", **more: str) -> Targets | RegressionTargets:
    return read_label_table(path, STORE, column=column, kind=kind, **more)


NAMES = "record,finding\nr0000,AF;LBBB\nr0003, AF |PVC\nr0001,[]\nr0002,\nr0005,AF\nr9999,X\n"


def test_names_of_several_labels(tmp_path: Path) -> None:
    targets = read(write(tmp_path, NAMES), "finding")
    assert targets.classes == ("AF", "LBBB", "PVC")
    assert targets.rows_N.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(targets.labels_NK, [[1, 1, 0], [0, 0, 0], [1, 0, 1]])
    assert targets.split_N.tolist() == ["train", "train", "test"]
    assert targets.patients_N.tolist() == ["p0000", "p0000", "p0001"]
    assert targets.left_out == {"no row in the table": 1, "no label": 1, "in no split": 1}
    assert "1 rows of labels.csv are of records that the store does not have." in targets.warnings


def test_multiclass_takes_records_with_one_name(tmp_path: Path) -> None:
    text = "record\tfinding\nr0000\tAF;LBBB\nr0001\tAF\nr0003\tSR\nr0002\t[]\n"
    targets = read(write(tmp_path, text, "labels.tsv"), "finding", "multiclass")
    assert (targets.classes, targets.rows_N.tolist()) == (("AF", "LBBB", "SR"), [1, 3])
    assert targets.left_out == {"no row in the table": 2, "no label": 1, "more than one label": 1}


@pytest.mark.parametrize("yes_no", [("1", "0"), ("True", "False"), ("1.0", "0.0")])
def test_columns_of_flags(tmp_path: Path, yes_no: tuple[str, str]) -> None:
    yes, no = yes_no
    path = write(tmp_path, f"id,AF,LBBB\nr0000,{yes},{no}\nr0001,{no},{no}\nr0003,,{yes}\nr0004,{yes},{yes}\n")
    targets = read(path, ["LBBB", "AF"], record_column="id")
    assert targets.classes == ("LBBB", "AF")
    assert targets.rows_N.tolist() == [0, 1, 4]
    np.testing.assert_array_equal(targets.labels_NK, [[0, 1], [0, 0], [1, 1]])
    assert targets.left_out == {"no row in the table": 2, "no label": 1}
    alone = read(path, "AF", record_column="id")
    assert (alone.classes, alone.labels_NK[:, 0].tolist()) == (("AF",), [True, False, True])


def test_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, "record;qrs_ms\nr0000;91,5\nr0001;1e2\nr0003;\nr0004;120\n")
    targets = read(path, "qrs_ms", "regression", unit="ms")
    assert (targets.name, targets.unit, targets.rows_N.tolist()) == ("qrs_ms", "ms", [0, 1, 4])
    assert targets.values_N.tolist() == [91.5, 100, 120]
    assert targets.left_out == {"no row in the table": 2, "empty cell": 1}


def test_parquet(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"record": ["r0004", "r0000"], "kind": [["AF"], []], "qrs": [np.nan, 88.0], "AF": [True, False]}
    )
    table.to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", "kind").labels_NK.tolist() == [[False], [True]]
    assert read(tmp_path / "t.parquet", "qrs", "regression").values_N.tolist() == [88.0]
    assert read(tmp_path / "t.parquet", ["AF"]).labels_NK.tolist() == [[False], [True]]


@pytest.mark.parametrize(
    ("text", "column", "kind", "message"),
    [
        ("record,x\nr0000,1\nr0000,2\n", "x", "regression",
         r"labels.csv, line 3, column record: record r0000 is there twice, before in line 2"),
        ("record,x\nr0000,1\nr0001,ten\n", "x", "regression",
         "line 3, column x: record r0001: found 'ten', expected a number"),
        ("record,x\nr0000,inf\n", "x", "regression", "record r0000: found 'inf'"),
        ("record,x\nr0000,nan\n", "x", "multilabel", "record r0000: found 'nan', expected names"),
        ("record,x,y\nr0000,1,2\n", ["x", "y"], "multilabel", "column y: record r0000: found '2', expected 0 or 1"),
        ("record,x\n7,1\n8,2\n", "x", "regression",
         "no record of the store is in the column 'record', found 7, 8; the store has r0000, r0001, r0002"),
        ("record,x\n", "x", "regression", "no record of the store is in the column 'record', found no row"),
        ("record,x\n,1\n", "x", "regression", "line 2, column record: found None, expected the name of a record"),
        ("record,x\nr0000,1\n", "y", "regression", r"column 'y' is there 0 times, .*, found \['record', 'x'\]"),
        ("record,x,x\nr0000,1,2\n", "x", "regression", "column 'x' is there 2 times, expected once"),
        ("record,x\nr0000,\n", "x", "regression", "no record has a label and a split"),
        ("record,x\nr0000,[]\n", "x", "multilabel", "column x: no label in a row of the store's records"),
        ("record,x,y\nr0000,1,2\n", ["x", "y"], "multiclass", "2 columns for multiclass, expected one"),
        ("record,x\nr0000,1\n", "x", "segmentation", "waves are read from annotation files"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(tmp_path: Path, text: str, column: str, kind: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path, text), column, kind)


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table"):
        read(tmp_path / "nothing.csv", "x")
    with pytest.raises(ValueError, match=r"suffix '\.xlsx'"):
        read(write(tmp_path, "record,x\n", "a.xlsx"), "x")
