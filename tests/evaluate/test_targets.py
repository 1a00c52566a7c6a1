"""Labels and splits: who takes part, who is left out and counted, and what each protocol makes of the splits."""

import numpy as np
import pytest

from ecgjepa.evaluate.targets import arrange_splits, read_regression, read_targets, take_training_fraction

from .fakes import make_store, with_records

SMALL = {
    "labels_superdiagnostic": [["MI"], ["NORM", "CD"], None, [], ["NORM"], ["CD"]],
    "split": ["train", "train", "train", "validation", "test", None],
    "patient": ["a", "a", "b", "c", None, "d"],
}


def test_multilabel_takes_every_labelled_record():
    targets = read_targets(with_records(make_store(6), **SMALL), "superdiagnostic", "multilabel")
    assert targets.classes == ("CD", "MI", "NORM")
    np.testing.assert_array_equal(targets.rows_N, [0, 1, 3, 4])
    np.testing.assert_array_equal(targets.labels_NK, [[0, 1, 0], [1, 0, 1], [0, 0, 0], [0, 0, 1]])
    assert targets.left_out == {"no label": 1, "in no split": 1}
    assert targets.patients_N.tolist() == ["a", "a", "c", "record r0004"]


def test_multiclass_takes_records_with_exactly_one_label():
    targets = read_targets(with_records(make_store(6), **SMALL), "superdiagnostic", "multiclass")
    np.testing.assert_array_equal(targets.rows_N, [0, 4])
    assert targets.left_out == {"no label": 2, "more than one label": 1, "in no split": 1}


def test_counts_of_records_and_patients():
    targets = read_targets(with_records(make_store(6), **SMALL), "superdiagnostic", "multilabel")
    assert targets.counts() == {
        "records": {"train": 2, "validation": 1, "test": 1},
        "patients": {"train": 1, "validation": 1, "test": 1},
    }


def test_a_patient_on_both_sides_is_told():
    patients = ["a", "b", "c", "a", "a", "d"]
    targets = read_targets(
        with_records(make_store(6), **SMALL | {"patient": patients}), "superdiagnostic", "multilabel"
    )
    assert [warning.split(" have ")[1] for warning in targets.warnings] == [
        "records in the train split as well.",
        "records in the validation split as well.",
    ]


@pytest.mark.parametrize(
    ("info", "level", "message"),
    [
        ({}, "rhythm", r"level 'rhythm' is not in this store, expected one of \['superdiagnostic'\]"),
        ({"levels": {}}, "rhythm", "expected one of none"),
        ({"levels": {"superdiagnostic": []}}, "superdiagnostic", "level 'superdiagnostic' has no class"),
        (
            {"levels": {"superdiagnostic": ["CD"]}},
            "superdiagnostic",
            r"r\d+ has '(MI|NORM)' .* expected some of \['CD'\]",
        ),
    ],
)
def test_labels_that_are_not_there_are_an_error(info, level, message):
    with pytest.raises(ValueError, match=message):
        read_targets(make_store(20, **info), level, "multilabel")


def test_paper_trains_on_validation_too_and_strict_does_not():
    targets = read_targets(make_store(), "superdiagnostic", "multilabel")
    assert targets.counts()["records"] == {"train": 250, "validation": 50, "test": 100}
    assert arrange_splits(targets, "strict", 0).counts() == targets.counts()
    assert arrange_splits(targets, "paper", 0).counts()["records"] == {"train": 300, "validation": 0, "test": 100}


def test_without_validation_an_eighth_of_the_training_patients_is_held_out():
    store = make_store(4000)
    split = store.records["split"].replace("validation", "train")
    targets = read_targets(with_records(store, split=split), "superdiagnostic", "multilabel")
    arranged = arrange_splits(targets, "strict", 0)
    records = arranged.counts()["records"]
    assert records["validation"] == pytest.approx(3000 / 8, rel=0.15)
    assert records["train"] + records["validation"] == 3000
    patients = [set(arranged.patients_N[arranged.of(name)]) for name in ("train", "validation", "test")]
    assert not patients[0] & patients[1]
    (warning,) = arranged.warnings
    assert f"{records['validation']} of 3000 training records" in warning
    again, other = arrange_splits(targets, "strict", 0), arrange_splits(targets, "strict", 1)
    np.testing.assert_array_equal(again.split_N, arranged.split_N)
    assert (other.split_N != arranged.split_N).any()


@pytest.mark.parametrize(
    ("protocol", "splits", "message"),
    [
        ("strict", {"test": None}, "no labelled record in test"),
        ("paper", {"test": "train"}, "no labelled record in test"),
        ("paper", {"train": None, "validation": None}, "no labelled record in train"),
        (
            "strict",
            {"train": None},
            r"no labelled record in train, found \{'train': 0, 'validation': 50, 'test': 100\}",
        ),
    ],
)
def test_an_empty_split_is_an_error(protocol, splits, message):
    store = make_store()
    split = [splits.get(name, name) for name in store.records["split"]]
    with pytest.raises(ValueError, match=message):
        arrange_splits(read_targets(with_records(store, split=split), "superdiagnostic", "multilabel"), protocol, 0)


def test_label_fraction_takes_a_seeded_part_of_training_alone():
    targets = read_targets(make_store(), "superdiagnostic", "multilabel")
    part = take_training_fraction(targets, 0.1, seed=3)
    assert part.counts()["records"] == {"train": 25, "validation": 50, "test": 100}
    np.testing.assert_array_equal(part.rows_N, take_training_fraction(targets, 0.1, seed=3).rows_N)
    assert (part.rows_N != take_training_fraction(targets, 0.1, seed=4).rows_N).any()
    assert "25 of 250 training records" in part.warnings[-1]
    assert "50 validation records" in part.warnings[-1]
    assert take_training_fraction(targets, 1e-9, seed=3).counts()["records"]["train"] == 1
    assert take_training_fraction(targets, 1.0, seed=3) is targets
    for fraction in (0.0, 1.5, -1, float("nan")):
        with pytest.raises(ValueError, match="label fraction: expected a number above 0 and at most 1"):
            take_training_fraction(targets, fraction, seed=3)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_sex_is_a_level_of_every_store(task):
    sexes = ["male", None, "female", "female", "male", "male"]
    store = with_records(make_store(6), sex=sexes, **SMALL)
    targets = read_targets(store, "sex", task)
    assert targets.classes == ("female", "male")
    np.testing.assert_array_equal(targets.rows_N, [0, 2, 3, 4])
    np.testing.assert_array_equal(targets.labels_NK[:, 0], [False, True, True, False])
    assert targets.left_out["sex unknown"] == targets.left_out["in no split"] == 1
    own = with_records(make_store(6, levels={"sex": ["x"]}), labels_sex=[["x"]] * 6, **SMALL)
    assert read_targets(own, "sex", task).classes == ("x",)


def test_age_is_a_number_to_predict():
    ages = [50.0, np.nan, 90.0, 20.5, 90.0, 30.0]
    targets = read_regression(with_records(make_store(6), age=ages, **SMALL), "age")
    assert (targets.name, targets.unit, targets.rows_N.tolist()) == ("age", "years", [0, 2, 3, 4])
    assert targets.values_N.tolist() == [50, 90, 20.5, 90]
    assert targets.left_out == {"age unknown": 1, "in no split": 1}
    assert targets.warnings == ("2 ages of 90 stand for all above 89, which PTB-XL does not tell apart.",)
    arranged = arrange_splits(targets, "strict", 0)
    assert arranged.counts()["records"] == {"train": 2, "validation": 1, "test": 1}
    part = take_training_fraction(arranged, 0.5, 0)
    assert len(part.values_N) == len(part.rows_N) == 3
    with pytest.raises(ValueError, match="regression: 'height', expected age, heart_rate, or a table"):
        read_regression(make_store(6), "height")
