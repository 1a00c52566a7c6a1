"""Files -> a table: what it says is what the classifier says, whatever the files, interrupted or not."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from ecgjepa.data.readers import read
from ecgjepa.embed import embedder, pipeline
from ecgjepa.embed.pipeline import Outcome
from ecgjepa.embed.table import read_embeddings
from ecgjepa.finetune.classifier_folder import load_classifier, save_classifier
from ecgjepa.finetune.predicting import outputs_of_head, predict_rows, predict_windows
from ecgjepa.predict.api import predict_signals
from ecgjepa.predict.columns import CALLED, PROBABILITY, VALUE
from ecgjepa.predict.files import predict_files
from ecgjepa.predict.predictor import Predictor
from ecgjepa.windows import take_windows
from tests.data.stores import write_store
from tests.finetune.runs import CLASSES, CONTRACT
from tests.predict.conftest import BROKEN, GOOD, LEADS, Runs, signal_uv, write_npz

PROBABILITIES, DECISIONS = [f"{PROBABILITY}{name}" for name in CLASSES], [f"{CALLED}{name}" for name in CLASSES]


def quiet(classifier: Any, paths: Any, out: Path, **options: Any) -> Outcome:
    return predict_files(classifier, paths, out, **{"progress": False, "batch_size": 4, **options})


def test_a_fresh_process_says_of_files_what_the_run_said(runs: Runs, tmp_path: Path) -> None:
    out = tmp_path / "p.parquet"
    command = [sys.executable, "-m", "ecgjepa", "predict", runs.multilabel, runs.store.path, "--out", out]
    subprocess.run([*map(str, command), "--device", "cpu", "--threads", "1"], check=True, capture_output=True)
    said = pd.read_parquet(out).set_index("record")
    before = pd.read_parquet(runs.multilabel / "predictions.parquet").set_index("record")
    head = load_classifier(runs.multilabel).head
    assert len(said) == len(runs.store)
    assert len(before) > 10
    expected_NK = before[[f"finetuned:{name}" for name in CLASSES]].to_numpy()
    found_NK = said.loc[before.index, PROBABILITIES].to_numpy()
    np.testing.assert_allclose(found_NK, expected_NK, atol=1e-6)
    called_NK = said.loc[before.index, DECISIONS].to_numpy()
    np.testing.assert_array_equal(called_NK, found_NK >= head.thresholds_K)
    names = [";".join(np.array(CLASSES)[row]) for row in called_NK]
    assert said.loc[before.index, "called"].tolist() == names


@pytest.mark.parametrize("name", ["multilabel", "attention", "regression"])
def test_a_store_is_predicted_as_by_its_rows(runs: Runs, tmp_path: Path, name: str) -> None:
    classifier = load_classifier(getattr(runs, name))
    quiet(classifier, runs.store.path, tmp_path / "p.parquet")
    table = pd.read_parquet(tmp_path / "p.parquet")
    columns = [column for column in table if column.startswith((PROBABILITY, VALUE))]
    rows = np.arange(len(runs.store))
    found_NK, expected_NK = table[columns].to_numpy(), predict_rows(classifier, runs.store, rows, progress=False)
    np.testing.assert_allclose(found_NK, expected_NK, rtol=1e-6, atol=1e-6)
    signals = runs.store.signals_mv(rows[:3])
    said_NK = predict_signals(classifier, signals, sampling_rate_hz=100, leads=LEADS)
    np.testing.assert_allclose(said_NK, expected_NK[:3], rtol=1e-6, atol=1e-6)
    assert all(tuple(leads) == classifier.leads for leads in table["leads"])


def test_exclusive_classes_and_a_number(runs: Runs, tmp_path: Path) -> None:
    quiet(runs.attention, runs.store.path, tmp_path / "c.parquet")
    table = pd.read_parquet(tmp_path / "c.parquet")
    np.testing.assert_allclose(table[PROBABILITIES].sum(axis=1), 1)
    assert table["called"].tolist() == np.array(CLASSES)[table[PROBABILITIES].to_numpy().argmax(axis=1)].tolist()
    assert (table[DECISIONS].sum(axis=1) == 1).all()
    quiet(runs.regression, runs.store.path, tmp_path / "r.parquet")
    schema = pq.read_schema(tmp_path / "r.parquet")
    unit = load_classifier(runs.regression).head.about["unit"]
    assert schema.field("value:age").metadata[b"unit"].decode() == unit
    assert json.loads((tmp_path / "r.parquet.model.json").read_text())["classifier"]["units"] == {"age": unit}
    assert not [name for name in schema.names if name.startswith(("prob", "called"))]


@pytest.mark.parametrize("name", ["multilabel", "attention"])
def test_missing_leads_long_recordings_and_failures(runs: Runs, archive: Path, tmp_path: Path, name: str) -> None:
    classifier = load_classifier(getattr(runs, name))
    outcome = quiet(classifier, archive, tmp_path / "mean.parquet")
    mean = pd.read_parquet(tmp_path / "mean.parquet").set_index("record")
    assert set(mean.index) == GOOD
    assert {record: reason for record, _, _, reason, _ in outcome.failed} == BROKEN
    quiet(classifier, archive, tmp_path / "all.parquet", windows="all", embedding=True)
    rows, features_RD = read_embeddings(tmp_path / "all.parquet")
    np.testing.assert_allclose(rows[PROBABILITIES], outputs_of_head(classifier.head, features_RD), atol=1e-6)
    for record in GOOD:
        windows = take_windows(read(archive / f"{record}.npz"), classifier.encoder.contract, "all")
        expected_WK = predict_windows(classifier, windows)
        own = rows[rows["record"] == record]
        np.testing.assert_allclose(own[PROBABILITIES], expected_WK, atol=1e-6)
        tokens = [len(window.leads) * (window.signal_mv.shape[1] // 50) for window in windows]
        average_K = np.average(expected_WK, axis=0, weights=tokens)
        np.testing.assert_allclose(mean.loc[record, PROBABILITIES].astype(float), average_K, atol=1e-6)
    assert rows.loc[rows["record"] == "long", "seconds"].tolist() == [2, 2, 1]
    assert mean.loc["one_lead", "leads"].tolist() == ["V1"]
    quiet(classifier, archive, tmp_path / "first.parquet", windows="first")
    first = pd.read_parquet(tmp_path / "first.parquet").set_index("record")
    np.testing.assert_allclose(
        first.loc["long", PROBABILITIES].astype(float), rows.loc[rows["record"] == "long", PROBABILITIES].iloc[0],
        atol=1e-6,
    )  # fmt: skip


def test_an_ecg_without_any_lead_that_is_looked_at_is_named(runs: Runs, tmp_path: Path) -> None:
    write_npz(tmp_path / "two.npz", signal_uv(0, 2, 1), ("II",))
    outcome = quiet(runs.attention, tmp_path / "two.npz", tmp_path / "p.parquet")
    assert [(reason, detail) for *_, reason, detail in outcome.failed] == [
        ("missing_lead", "found II, expected at least one of I, V1")
    ]
    assert not (tmp_path / "p.parquet").exists()
    assert not (tmp_path / "p.parquet.model.json").exists()


def test_csv_reads_back_equal(runs: Runs, archive: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet"):
        quiet(runs.multilabel, archive, tmp_path / f"p.{suffix}", command="typed")
    table, csv = pd.read_parquet(tmp_path / "p.parquet"), pd.read_csv(tmp_path / "p.csv", keep_default_na=False)
    assert list(csv) == list(table)
    np.testing.assert_allclose(csv[PROBABILITIES], table[PROBABILITIES], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(csv[DECISIONS], table[DECISIONS])
    assert csv["called"].tolist() == table["called"].tolist()
    assert csv["leads"].tolist() == [";".join(leads) for leads in table["leads"]]
    said = json.loads((tmp_path / "p.csv.model.json").read_text(encoding="utf-8"))
    classifier = load_classifier(runs.multilabel)
    assert said["command"] == "typed"
    assert said["weights_sha256"] == classifier.encoder.weights_sha256()
    assert said["contract"] == CONTRACT.to_dict()
    assert said["classifier"]["thresholds"] == dict(zip(CLASSES, classifier.head.thresholds_K, strict=True))
    assert said["classifier"]["head"]["checkpoint"] == classifier.head.about["checkpoint"]
    assert (said["options"]["windows"], said["checkpoint"]) == ("mean", str(runs.multilabel))
    with pytest.raises(ValueError, match=r"embeddings are kept in a Parquet file only"):
        quiet(runs.multilabel, archive, tmp_path / "e.csv", embedding=True)


def test_an_interrupted_run_goes_on_and_gives_the_same_table(
    runs: Runs, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PART_ENTRIES", 2)
    monkeypatch.setattr(embedder, "FLUSH_BATCHES", 1)
    classifier, out = load_classifier(runs.multilabel), tmp_path / "p.csv"
    quiet(classifier, archive, tmp_path / "whole.csv", batch_size=2)
    flush, calls = Predictor.flush, []

    def stop(self, part):  # type: ignore[no-untyped-def]
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        flush(self, part)

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "flush", stop)
        with pytest.raises(KeyboardInterrupt):
            quiet(classifier, archive, out, batch_size=2)
    assert len(list((tmp_path / "p.csv.parts").glob("0*.parquet"))) == 2
    other = replace(classifier, head=replace(classifier.head, thresholds_K=np.full(3, 0.5)))
    with pytest.raises(FileExistsError, match="unfinished predictions, head_sha256 was"):
        quiet(other, archive, out, batch_size=2)
    calls.clear()
    monkeypatch.setattr(Predictor, "_embed", counted(calls))
    quiet(classifier, archive, out, batch_size=2)
    assert len(calls) == 4, "windows of the two files that were not done"
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert (tmp_path / "p.csv.failed.csv").read_bytes() == (tmp_path / "whole.csv.failed.csv").read_bytes()


def counted(calls: list[int]):  # type: ignore[no-untyped-def]
    original = Predictor._embed

    def wrapper(self, windows):  # type: ignore[no-untyped-def]
        calls.extend([1] * len(windows))
        return original(self, windows)

    return wrapper


def test_nothing_is_overwritten_without_being_told(runs: Runs, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.csv"
    quiet(runs.multilabel, archive, out)
    with pytest.raises(FileExistsError, match=r"p\.csv exists already"):
        quiet(runs.multilabel, archive, out)
    out.unlink()
    with pytest.raises(FileExistsError, match=r"p\.csv\.model\.json exists already, without its table"):
        quiet(runs.multilabel, archive, out)
    assert quiet(runs.multilabel, archive, out, overwrite=True).rows == len(GOOD)
    with pytest.raises(ValueError, match=r"ends in \.parquet or \.csv"):
        quiet(runs.multilabel, archive, tmp_path / "p.txt")


def test_other_processes_make_the_same_table(runs: Runs, archive: Path, tmp_path: Path) -> None:
    def engine(work, numbers, workers):  # type: ignore[no-untyped-def]
        for number in numbers:
            yield number, pickle.loads(pickle.dumps(work))(number)

    for name in ("multilabel", "attention"):
        here, there = (
            quiet(getattr(runs, name), archive, tmp_path / f"{name}{place}.parquet", embedding=True, engine=used)
            for place, used in (("here", None), ("there", engine))
        )
        assert here.out.read_bytes() == there.out.read_bytes()
        assert here.failed == there.failed


def test_a_store_that_is_filtered_is_not_filtered_again(runs: Runs, tmp_path: Path) -> None:
    filtered = write_store(tmp_path / "store", 4, contract=replace(CONTRACT, filter="butterworth"))
    classifier = load_classifier(runs.attention)
    quiet(classifier, filtered.path, tmp_path / "p.parquet")
    table = pd.read_parquet(tmp_path / "p.parquet")
    expected_NK = predict_rows(classifier, filtered, np.arange(4), progress=False)
    np.testing.assert_allclose(table[PROBABILITIES], expected_NK, atol=1e-6)
    outcome = quiet(runs.multilabel, filtered.path, tmp_path / "m.parquet")
    assert {reason for *_, reason, _ in outcome.failed} == {"filtered"}


@pytest.mark.parametrize("name", ["multilabel", "attention"])
def test_numbers_that_are_not_finite_are_no_prediction(runs: Runs, archive: Path, tmp_path: Path, name: str) -> None:
    classifier = load_classifier(getattr(runs, name))
    with torch.no_grad():
        classifier.encoder.norm.weight.fill_(torch.nan)
    head = replace(classifier.head, about={})
    save_classifier(tmp_path / "broken", classifier.encoder, head)
    outcome = quiet(tmp_path / "broken", archive / "a.npz", tmp_path / "p.parquet")
    assert [reason for *_, reason, _ in outcome.failed] == ["not_finite_embedding"]
    assert outcome.rows == 0
    signal = signal_uv(0, 2, 3) / 1000
    with pytest.raises(ValueError, match="not_finite_embedding"):
        predict_signals(load_classifier(tmp_path / "broken"), signal, sampling_rate_hz=200, leads=LEADS)
