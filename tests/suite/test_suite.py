"""A suite from the command line: every cell, its tables and its page, and how it goes on."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import roc_auc_score

from ecgjepa.checkpoint import save_model
from ecgjepa.cli import main
from ecgjepa.data.store import Store
from ecgjepa.model.encoder import Encoder
from ecgjepa.suite.overview import lines_of, overview, to_latex
from ecgjepa.suite.results import long_table, read_suite
from tests.data.stores import write_store
from tests.evaluate.run_folders import Page
from tests.finetune.runs import CLASSES, CONTRACT, MODEL, make_model, make_store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which two leads tell the classes, and two encoders."""
    folder = tmp_path_factory.mktemp("suite")
    make_store(folder / "mine", 200)
    for seed, name in enumerate(("one", "two")):
        make_model(folder / name, seed)
    return folder


def run(place: Path, *options: str) -> Result:
    arguments = ["evaluate", "--store", str(place / "mine"), "--resamples", "50", "--device", "cpu", *options]
    return CliRunner().invoke(main, arguments)


@pytest.fixture(scope="module")
def suite(place: Path) -> Path:
    out = place / "suite"
    found = run(
        place, "--ckpt", str(place / "one"), "--ckpt", f"other={place / 'two'}", "--out", str(out),
        "--readout", "linear", "--readout", "knn", "--fraction", "0.5", "--fraction-seeds", "2",
        "--leads", "II", "--snr-db", "0", "--seeds", "2", "--min-positives", "3",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    return out


def test_every_cell_has_a_result_and_stands_in_the_table(suite: Path) -> None:
    read = read_suite(suite)
    assert not read.failed
    cells = [each.cell for each in read.results]
    assert len(cells) == len(set(cells)) == 2 * (2 + 1 + 2 + 1 + 1)
    table = pd.read_csv(suite / "table.csv")
    assert set(table["encoder"]) == {"one", "other"}
    assert set(table["weights"]) == {"pretrained", "random"}
    assert {"auc", "auprc", "f1", "ece"} <= set(table["metric"])
    pd.testing.assert_frame_equal(table, pd.read_csv(suite / "table.csv"))
    assert len(table) == len(long_table(read))


def test_the_scores_are_those_of_the_saved_predictions(suite: Path) -> None:
    for each in read_suite(suite).results:
        table = pd.read_parquet(each.folder / "predictions.parquet")
        for model, scores in each.summary["models"].items():
            auc = np.mean([roc_auc_score(table[f"label:{name}"], table[f"{model}:{name}"]) for name in CLASSES])
            assert scores["macro"]["auc"]["value"] == pytest.approx(auc)


def test_conditions_change_what_is_read(suite: Path) -> None:
    of_one = [each for each in read_suite(suite).results if each.cell.encoder == "one"]
    value = {each.cell: each.summary["models"]["pretrained"]["macro"]["auc"]["value"] for each in of_one}
    plain = [auc for cell, auc in value.items() if cell.is_plain and cell.readout == "linear"]
    assert plain[0] == plain[1]
    noisy = [auc for cell, auc in value.items() if cell.snr_db is not None]
    assert noisy[0] != plain[0]
    counts = {cell.label_fraction: each.summary["records"]["train"] for cell, each in zip(value, of_one, strict=True)}
    assert counts[0.5] == pytest.approx(counts[1.0] / 2, abs=1)
    only = next(each for each in of_one if each.cell.leads is not None)
    assert only.summary["leads"] == ["II"]
    assert not (only.folder / "head.safetensors").exists()


def test_two_seeds_are_two_random_twins(suite: Path) -> None:
    read = read_suite(suite)
    plain = [each for each in read.results if each.cell.is_plain and each.cell.readout == "linear"]
    random = {each.summary["models"]["random"]["macro"]["auc"]["value"] for each in plain if each.cell.encoder == "one"}
    assert len(random) == 2
    header, rows = overview(read)
    assert header[1].startswith("mine kind, multilabel, AUC")
    text = {row[0]: row[1] for row in rows}
    assert "(2 seeds)" in text["one with random weights, linear"]
    assert "[" in text["one, linear"]
    assert [line.encoder for line in lines_of(plain)] == ["one", "one", "other", "other"]


def test_the_page_stands_alone_and_says_everything(suite: Path) -> None:
    page = Page(suite / "report.html")
    html = page.html
    assert not [tag for tag, _ in page.elements if tag in ("script", "iframe", "object")]
    assert all((about.get("src") or "data:").startswith("data:") for _, about in page.elements)
    for text in ("Overview", "Paired differences", "Subgroups", "The surest errors", "share of the training labels"):
        assert text in html, text
    assert "other − one, linear" in html


def test_it_goes_on_and_grows(place: Path, suite: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in suite.glob("results/*/*/*/result.json")}
    found = run(
        place, "--ckpt", str(place / "one"), "--ckpt", f"other={place / 'two'}", "--out", str(suite),
        "--readout", "nearest-mean", "--min-positives", "3",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    after = {file: file.stat().st_mtime_ns for file in suite.glob("results/*/*/*/result.json")}
    assert {file: after[file] for file in before} == before
    assert len(after) == len(before) + 2
    assert {each.cell.readout for each in read_suite(suite).results} == {"linear", "knn", "nearest-mean"}


def test_another_suite_is_refused(place: Path, suite: Path) -> None:
    found = run(place, "--ckpt", str(place / "one"), "--out", str(suite))
    assert found.exit_code == 1
    assert "a suite of other encoders" in found.output
    (place / "full").mkdir()
    (place / "full" / "letter.txt").write_text("mine")
    assert (
        "letter.txt, which is no part of a suite"
        in run(place, "--ckpt", str(place / "one"), "--out", str(place / "full")).output
    )
    twice = run(place, *(["--ckpt", str(place / "one")] * 2), "--out", str(place / "twice"))
    assert "two encoders are called 'one'" in twice.output
    unknown = run(place, "--ckpt", str(place / "one"), "--out", str(place / "no"), "--task", "rhythm")
    assert "no task 'rhythm', found mine/kind/multilabel" in unknown.output
    assert (
        "--suite cpsc" in run(place, "--ckpt", str(place / "one"), "--out", str(place / "no"), "--suite", "cpsc").output
    )


def test_what_cannot_be_evaluated_is_named_and_the_rest_goes_on(place: Path) -> None:
    other = Encoder(MODEL, replace(CONTRACT, leads=("II", "I", "V1")))
    save_model(place / "foreign", {"model": other})
    found = run(
        place, "--ckpt", str(place / "foreign"), "--ckpt", str(place / "one"), "--out", str(place / "partly"),
        "--readout", "linear", "--min-positives", "3",
    )  # fmt: skip
    assert found.exit_code == 3
    read = read_suite(place / "partly")
    assert [cell.encoder for cell, _ in read.failed] == ["foreign"]
    assert "contract: the store has leads" in read.failed[0][1]
    assert "contract: the store has leads" in (place / "partly" / "report.html").read_text()


def test_fine_tuned_and_from_scratch_stand_beside(place: Path) -> None:
    found = run(
        place, "--ckpt", str(place / "one"), "--out", str(place / "tuned"), "--readout", "linear", "--finetune",
        "--epochs", "2", "--min-positives", "3",
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    read = read_suite(place / "tuned")
    assert {each.cell.readout for each in read.results} == {"linear", "finetuned", "scratch"}
    folder = next(each.folder for each in read.results if each.cell.readout == "finetuned")
    assert (folder / "best" / "head.safetensors").is_file()
    assert not (folder / "checkpoints").exists()
    assert "one, fine-tuned" in {row[0] for row in overview(read)[1]}


def test_latex_escapes_what_it_must() -> None:
    text = to_latex(["", "50 % & more"], [["a_b", "0.5 ± 0.1"], ["published: X", "–"]])
    assert r"50 \% \& more" in text
    assert r"a\_b & 0.5 $\pm$ 0.1 \\" in text
    assert text.count(r"\midrule") == 2


def test_a_store_without_splits_is_divided_by_patient(place: Path, tmp_path: Path) -> None:
    from ecgjepa.evaluate.questions import Question, read_question

    store = write_store(tmp_path / "whole", 60, contract=CONTRACT)
    table = pd.read_parquet(store.path / "records.parquet").assign(split=None)
    table.to_parquet(store.path / "records.parquet", index=False)
    targets = read_question(Store.open(store.path), Question("kind"))
    assert set(targets.split_N) == {"train", "validation", "test"}
    assert "divided into train, validation and test 8 : 1 : 1" in targets.warnings[-1]
    again = read_question(Store.open(store.path), Question("kind"))
    assert (again.split_N == targets.split_N).all()
    assert json.dumps(targets.counts())
