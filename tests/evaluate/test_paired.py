"""`ecgjepa compare A B`: what two results say of each other, and what cannot be compared."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import f1_score, roc_auc_score

from ecgjepa.cli import main
from ecgjepa.evaluate.paired import compare_predictions
from ecgjepa.evaluate.paired_files import ComparisonError, read_predictions
from ecgjepa.evaluate.scoring import Scored, score_models
from ecgjepa.evaluate.targets import Targets
from tests.evaluate.run_folders import result
from tests.evaluate.test_compare import write_pretraining

CLASSES = ["CD", "MI: old", "NORM"]
THRESHOLDS = dict(zip(CLASSES, [0.4, 0.5, 0.6], strict=True))
OTHER = dict(zip(CLASSES, [0.3, 0.2, 0.1], strict=True))


def predictions(models: dict[str, float], seed: int = 0, records: int = 120) -> pd.DataFrame:
    """Two records a patient; the better a model the larger its number. The labels are the same for every seed."""
    labels = np.random.default_rng(99).random((records, 3)) < [0.06, 0.3, 0.5]
    chance = np.random.default_rng(seed)
    table: dict[str, Any] = {"record": [f"r{n:03}" for n in range(records)], "split": "test"}
    table["patient"] = [f"p{n // 2}" for n in range(records)]
    for k, name in enumerate(CLASSES):
        table[f"label:{name}"] = labels[:, k].astype(np.int8)
        for model, quality in models.items():
            table[f"{model}:{name}"] = (chance.random(records) + quality * labels[:, k]) / (1 + quality)
    return pd.DataFrame(table)


def write_result(folder: Path, table: pd.DataFrame, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    said = result(classes=CLASSES, thresholds=THRESHOLDS) | changes
    said["models"] = {"pretrained": {}, "random": {"thresholds": OTHER}} | changes.get("models", {})
    (folder / "result.json").write_text(json.dumps(said))
    table.to_parquet(folder / "predictions.parquet", index=False)
    return folder


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """B is better; its records come in another order, its columns too."""
    a = write_result(tmp_path / "a", predictions({"pretrained": 0.2, "random": 0.1}))
    table = predictions({"pretrained": 0.8}, seed=1).sample(frac=1, random_state=0)
    return a, write_result(tmp_path / "b", table[["split", *table.columns[::-1].drop("split")]])


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, args)])


def said(found: Result) -> str:
    return " ".join(found.output.split())


def test_numbers_are_those_of_score_models_on_the_same_records(pair: tuple[Path, Path]) -> None:
    a, b = (read_predictions(path) for path in pair)
    assert (a.model, b.model, a.thresholds) == ("pretrained", "pretrained", THRESHOLDS)
    found = compare_predictions(a, b, resamples=30, seed=2)
    table, other = (pd.read_parquet(path / "predictions.parquet").sort_values("record") for path in pair)
    labels = table[[f"label:{name}" for name in CLASSES]].to_numpy() == 1
    probabilities = [each[[f"pretrained:{name}" for name in CLASSES]].to_numpy() for each in (table, other)]
    thresholds = list(THRESHOLDS.values())
    models = {name: Scored(each, each >= thresholds) for name, each in zip("ab", probabilities, strict=True)}
    patients = table["patient"].to_numpy(dtype=object)
    test = Targets(tuple(CLASSES), np.arange(120), labels, patients, table["split"].to_numpy(dtype=object), {})
    expected = score_models(test, models, task="multilabel", resamples=30, seed=2, reference="a")
    for metric, three in found["macro"].items():
        assert three["a"] == pytest.approx(expected["models"]["a"]["macro"][metric])
        assert three["difference"] == pytest.approx(expected["differences"]["b"][metric], abs=1e-12)
    expected = expected["differences_frequent"]["b"]["auc"]
    assert found["macro_frequent"]["auc"]["difference"] == pytest.approx(expected)
    of_class = found["classes"]["MI: old"]
    values = [roc_auc_score(labels[:, 1], each[:, 1]) for each in probabilities]
    assert (of_class["auc"]["a"]["value"], of_class["auc"]["b"]["value"]) == pytest.approx(values)
    assert of_class["auc"]["difference"]["value"] == pytest.approx(values[1] - values[0])
    assert found["classes"]["CD"]["rare"] is True
    assert found["warnings"] == []


def test_the_same_predictions_in_another_order_do_not_differ(pair: tuple[Path, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(pair[1] / "predictions.parquet").sample(frac=1, random_state=3)
    same = write_result(tmp_path / "same", table[[*table.columns[::-1]]])
    found = compare_predictions(read_predictions(pair[1]), read_predictions(same), resamples=25)
    nothing = {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}
    assert [three["difference"] for three in found["macro"].values()] == [nothing] * 6


def test_every_model_is_called_at_its_own_thresholds(pair: tuple[Path, Path]) -> None:
    table = pd.read_parquet(pair[0] / "predictions.parquet")
    chosen = read_predictions(pair[0], "random")
    assert chosen.thresholds == OTHER
    found = compare_predictions(chosen, read_predictions(pair[0]), resamples=2)
    for side, model, thresholds in (("a", "random", OTHER), ("b", "pretrained", THRESHOLDS)):
        expected = [f1_score(table[f"label:{c}"], table[f"{model}:{c}"] >= thresholds[c]) for c in CLASSES]
        assert found["macro"]["f1"][side]["value"] == pytest.approx(np.mean(expected))


def test_the_command_prints_and_writes(pair: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = call(*pair, "--resamples", 50, "--out", out)
    assert found.exit_code == 0, found.output
    for text in ("ptbxl, superdiagnostic, strict protocol", "120 test records of 60 patients", "50 resamples"):
        assert text in said(found)
    lines = found.output.splitlines()
    [auc] = [line for line in lines if line.startswith("AUROC ") and "+0." in line and "[" in line][:1]
    numbers = json.loads((out / "comparison.json").read_text())
    assert f"{numbers['macro']['auc']['difference']['value']:+.3f}" in auc
    assert auc.rstrip().endswith(f"{2 / 51:.3f}")
    assert any(line.startswith("CD *") for line in lines)
    assert "mean without 1 rare classes" in found.output
    assert numbers["records"] == 120
    assert numbers["a"]["model"] == "pretrained"
    rows = pd.read_csv(out / "comparison.csv", keep_default_na=False)
    assert rows["scope"].value_counts().to_dict() == {"class": 18, "macro": 6, "macro_frequent": 6}
    row = rows[(rows["class"] == "MI: old") & (rows["metric"] == "auc")].iloc[0]
    assert float(row["difference_low"]) == pytest.approx(numbers["classes"]["MI: old"]["auc"]["difference"]["low"])
    again = call(*pair, "--out", out)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert call(*pair, "--out", out, "--resamples", 2, "--overwrite").exit_code == 0


def test_runs_that_hold_one_result_and_tables_alone_can_be_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "probes").mkdir(parents=True)
    (run / "run.json").write_text("{}")
    pair[0].rename(run / "probes" / "only")
    expected = call(run / "probes" / "only", pair[1], "--resamples", 5).output
    for way in (run, run / "probes" / "only" / "result.json"):
        found = call(way, pair[1], "--resamples", 5)
        assert found.exit_code == 0, found.output
        assert found.output == expected
    alone = call(pair[1] / "predictions.parquet", run, "--resamples", 5)
    assert "a table alone does not say its data set" in said(alone)
    assert "no thresholds are known, F1 is at probability 0.5" in said(alone)
    tables = [folder / "predictions.parquet" for folder in (pair[1], run / "probes" / "only")]
    assert "two tables do not say it, expected --task" in said(call(*tables))
    assert call(*tables, "--task", "multilabel", "--resamples", 5).exit_code == 0
    write_result(run / "probes" / "other", predictions({"pretrained": 0.1}))
    assert "holds 2 results, name one" in said(call(run, pair[1]))


def test_models_are_named_once_or_twice(pair: tuple[Path, Path]) -> None:
    a, b = pair
    found = call(a, a, "--model", "random", "--model", "pretrained", "--resamples", 5)
    assert f"A {a}, random" in said(found)
    assert f"B {a}, pretrained" in said(found)
    assert f"A {a}, pretrained" in said(call(a, b, "--model", "pretrained", "--resamples", 5))
    assert "no model 'random', found pretrained" in said(call(a, b, "--model", "random"))
    assert "expected 2 and at most 2" in said(call(a, b, *["--model", "x"] * 3))


def test_pretraining_runs_are_compared_as_such_unless_asked_otherwise(tmp_path: Path) -> None:
    runs = [write_pretraining(tmp_path / name, [0.5] * 5, seed=seed) for seed, name in enumerate("ab")]
    for seed, run in enumerate(runs):
        write_result(run / "probes" / "one", predictions({"pretrained": 0.3}, seed=seed))
    assert "--out is needed to compare pretraining runs" in said(call(*runs))
    assert "--common is of no use here: pretraining runs are compared" in said(call(*runs, "--common"))
    paired = call(*runs, "--paired", "--resamples", 5)
    assert paired.exit_code == 0, paired.output
    assert "B - A" in paired.output
    assert "--reach is of no use here: results are compared" in said(call(*runs, "--paired", "--reach", "x"))
    assert "found 3 of them" in said(call(*runs, runs[0] / "probes" / "one"))


def test_multiclass_is_called_by_the_most_probable(tmp_path: Path) -> None:
    table = predictions({"finetuned": 0.5, "scratch": 0.1})
    columns = [f"label:{name}" for name in CLASSES]
    table[columns] = np.eye(3, dtype=np.int8)[np.random.default_rng(0).integers(3, size=120)]
    folder = write_result(tmp_path / "a", table, task="multiclass", thresholds={}, models={"finetuned": {}})
    found = compare_predictions(read_predictions(folder, "scratch"), read_predictions(folder), resamples=3)
    assert (found["a"]["model"], found["b"]["model"]) == ("scratch", "finetuned")
    called = table[[f"finetuned:{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    expected = (called == table[columns].to_numpy().argmax(axis=1)).mean()
    assert found["macro"]["accuracy"]["b"]["value"] == pytest.approx(expected)
    assert found["warnings"] == []
    assert call(folder, folder, "--resamples", 3).exit_code == 0


def test_values_are_compared_by_their_errors(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    table = predictions({}).loc[:, ["record", "patient", "split"]]
    table["value:age"] = chance.uniform(20, 90, 120)
    table["pretrained:age"] = table["value:age"] + chance.normal(0, 5, 120)
    table["random:age"] = 55.0
    about = {"task": "regression", "level": "age", "thresholds": {}}
    folder = write_result(tmp_path / "a", table, **about)
    found = call(
        folder, folder, "--model", "random", "--model", "pretrained", "--resamples", 20, "--out", tmp_path / "out"
    )
    assert found.exit_code == 0, found.output
    assert "mean absolute error" in found.output
    numbers = json.loads((tmp_path / "out" / "comparison.json").read_text())["classes"]["age"]
    expected = (table["pretrained:age"] - table["value:age"]).abs().mean()
    assert numbers["mae"]["b"]["value"] == pytest.approx(expected)
    assert numbers["mae"]["difference"]["p"] == pytest.approx(2 / 21)
    assert numbers["pearson_r"]["a"]["value"] is None


def test_common_records_only_if_asked_for(pair: tuple[Path, Path], tmp_path: Path) -> None:
    table = pd.read_parquet(pair[1] / "predictions.parquet").sort_values("record")
    fewer = write_result(tmp_path / "fewer", table.iloc[7:])
    refused = call(pair[0], fewer)
    assert refused.exit_code == 1
    assert "A has 120, B 113, in common 113; the first that differs is r000, in A alone; --common" in said(refused)
    found = call(pair[0], fewer, "--common", "--resamples", 5)
    assert "113 test records" in found.output
    assert "Only the test records in common were compared: A has 120, B 113" in said(found)
    more = compare_predictions(read_predictions(fewer), read_predictions(pair[0]), common=True, resamples=5)
    assert more["records"] == 113
    nobody = write_result(tmp_path / "nobody", table.assign(record=[f"x{n}" for n in range(120)]))
    with pytest.raises(ComparisonError, match=r"in common 0; the first that differs is r000, in A alone$"):
        compare_predictions(read_predictions(pair[0]), read_predictions(nobody), common=True)


def test_another_protocol_is_a_warning(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = write_result(tmp_path / "c", predictions({"pretrained": 0.3}), protocol="paper", label_fraction=0.1)
    found = compare_predictions(read_predictions(pair[0]), read_predictions(other), resamples=2)
    assert [warning.partition(";")[0] for warning in found["warnings"]] == [
        "Different protocols: A strict, B paper",
        "Different parts of the labels: A 1.0, B 0.1",
    ]


def flip(table: pd.DataFrame) -> pd.DataFrame:
    table.loc[5, "label:NORM"] = 1 - table.loc[5, "label:NORM"]
    return table


@pytest.mark.parametrize(
    ("changes", "edit", "message"),
    [
        ({"dataset": "cpsc"}, None, "another data set: "),
        ({"level": "rhythm"}, None, "'superdiagnostic'"),
        ({"task": "multiclass"}, None, "another task: "),
        ({"thresholds": {"CD": 0.5}}, None, "no threshold of class 'MI: old'"),
        ({}, flip, "other labels: 1 records, the first is r005, which has"),
        ({}, lambda table: table.assign(patient="p0"), "other patients: record r002 is of p1 in A, of p0 in B"),
        ({}, lambda table: table.drop(columns=["label:CD", "pretrained:CD"]), "'CD' is in"),
        ({}, lambda table: table.drop(columns="label:CD"), "column 'pretrained:CD', but no 'label:CD'"),
        ({}, lambda table: table.assign(record="r1"), "record r1 stands there twice"),
        ({}, lambda table: table.assign(split="train"), "no test record in it"),
        ({}, lambda table: table.drop(columns="patient"), "no column 'patient'"),
        ({}, lambda table: table.assign(patient=None), "row 0 has no record or no patient"),
        ({}, lambda table: table.assign(**{"pretrained:CD": np.nan}), "record r000 has nan as 'pretrained:CD'"),
        ({}, lambda table: table.assign(**{"pretrained:CD": "high"}), "high"),
        ({}, lambda table: table.assign(**{"pretrained:CD": 2.0}), "are not in [0, 1]"),
        ({"protocol": None}, None, "result.json: protocol"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_named(
    pair: tuple[Path, Path], tmp_path: Path, changes: dict[str, Any], edit: Any, message: str
) -> None:
    table = predictions({"pretrained": 0.3}, seed=5)
    other = write_result(tmp_path / "other", edit(table) if edit else table, **changes)
    found = call(pair[0], other, "--resamples", 2, "--out", tmp_path / "out")
    assert found.exit_code == 1, found.output
    assert message in said(found)
    assert not (tmp_path / "out").exists()


def test_what_is_no_result_is_named(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "holds no result: expected result.json" in said(call(pair[0], tmp_path / "absent"))
    (pair[1] / "predictions.parquet").write_text("no table")
    assert "is not a table of predictions" in said(call(*pair))
    (pair[1] / "predictions.parquet").unlink()
    assert "is not a table of predictions" in said(call(*pair))
    (pair[1] / "result.json").unlink()
    table = predictions({"one": 0.1, "two": 0.2})
    table.to_parquet(pair[1] / "predictions.parquet")
    assert "has no result.json; to compare its table alone, name" in said(call(*pair))
    assert "which model? Found one, two" in said(call(pair[0], pair[1] / "predictions.parquet"))
