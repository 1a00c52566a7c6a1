"""The command line as a user types it: published flag names, near names, raw folders, one line per error."""

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from ecgjepa import demo
from ecgjepa.cli import main
from ecgjepa.cli.train import DATASETS
from ecgjepa.data.listings import datasets
from ecgjepa.data.synthetic import write_code15_archive, write_ptbxl_archive
from tests.data.archives import smooth_signal, write_ptbxl, write_wfdb
from tests.data.stores import write_store

SMALL = (
    "--width 16 --depth 1 --heads 2 --predictor-width 8 --predictor-depth 1 --predictor-heads 2 --patch-norm".split()
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def failed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), "one line, no traceback"
    return result.output


def test_help_and_version() -> None:
    for command in ([], ["prepare"], ["pretrain"], ["probe"], ["report"], ["demo"]):
        assert run(*command, "--help").exit_code == 0
    assert run("--version").output.startswith("ecgjepa")
    assert set(DATASETS) == set(datasets.DATASETS)


def test_near_names_are_named() -> None:
    assert "Did you mean 'pretrain'?" in failed("pretrian")
    assert "--batch-size" in failed("pretrain", "--batch_siz", 3)
    assert "--data-dir" in failed("probe", "--data_dirr", "x")


def test_wrong_settings_are_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[training]\nlearningrate = 1\n")
    assert "unknown key 'training.learningrate'" in failed("pretrain", "--config", tmp_path / "a.toml")
    assert "least <= largest" in failed("pretrain", "--mask-scale", 0.7, 0.6)
    assert "give --store" in failed("pretrain", "--out", tmp_path / "run")
    assert "--resume needs --out" in failed("pretrain", "--resume")
    assert "give either --store" in failed("probe", "--ckpt", tmp_path)


def test_errors_are_one_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "no folder" in failed("prepare", "--dataset", "ptbxl", "--data-dir", tmp_path / "nowhere", "--out", out)
    assert "no ptbxl_database.csv" in failed("prepare", "--dataset", "ptbxl", "--data-dir", tmp_path, "--out", out)
    store = write_store(tmp_path / "ecgs").path
    assert "no model at" in failed("probe", "--ckpt", tmp_path / "nowhere", "--store", store)
    assert "not a run folder" in failed("report", tmp_path)
    assert "is not a store" in failed("pretrain", "--store", tmp_path, "--out", out)


def test_traceback_on_request(tmp_path: Path) -> None:
    result = run("--traceback", "report", tmp_path)
    assert not isinstance(result.exception, SystemExit)


def test_prepare_prints_the_account_and_overwrites_nothing(tmp_path: Path) -> None:
    write_ptbxl(tmp_path / "data", records=3, absent=2)
    command = (
        "prepare",
        "--dataset",
        "ptbxl",
        "--data_dir",
        f"{tmp_path}/data/",
        "--out",
        tmp_path / "store",
        "--workers",
        1,
    )
    result = run(*command)
    assert "3 of 5 records kept" in result.output
    assert "refused: file_absent 2" in result.output
    again = run(*command)
    assert "3 of 5 records kept" in again.output
    assert "--overwrite" in failed(*command, "--resampling", "fft")
    write_wfdb(tmp_path / "data/records500/00000", "00002_hr", smooth_signal(7))
    write_wfdb(tmp_path / "data/records500/00000", "00004_hr", smooth_signal(8))
    again = run(*command)
    assert "4 of 5 records kept" in again.output
    assert "since they were prepared: 1 files changed" in again.output
    assert "4 of 5 records kept" in run(*command, "--overwrite").output


@pytest.mark.slow
def test_the_main_job_with_the_published_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECGJEPA_CACHE", str(tmp_path / "cache"))
    write_ptbxl_archive("ptbxl", 90, seed=0)
    write_code15_archive("code15", 12, seed=1)
    published = "--mask_type random --mask_scale 0.6 0.7 --batch_size 16 --lr 1e-3 --epochs 2".split()
    raw = "--data_dir_ptbxl ptbxl --data_dir_code15 code15".split()
    result = run("pretrain", *published, *SMALL, *raw, "--out", "run")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2
    probe = "--dataset ptbxl --data_dir ptbxl --resamples 50".split()
    strict = run("linear_eval", "--ckpt_dir", "run", *probe, "--task", "multilabel")
    assert strict.exit_code == 0, strict.output
    assert "random" in strict.output
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 2  # found again, not prepared again
    assert run("probe", "--ckpt", "run", *probe, "--task", "multiclass", "--protocol", "paper").exit_code == 0
    assert "exists already" in failed("probe", "--ckpt", "run", *probe)
    folder = tmp_path / "run" / "probes" / "ptbxl-superdiagnostic-multilabel-strict-teacher"
    summary = json.loads((folder / "result.json").read_text())
    assert summary["protocol"] == "strict"
    assert summary["classes"] == ["CD", "MI", "NORM"]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert set(predictions["split"]) == {"test"}
    assert run("report", "run").exit_code == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<svg" in page
    again = run("pretrain", "--out", "run", "--resume")
    assert "steps done" in again.output, again.output


@pytest.mark.slow
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecgjepa.demo.LABELLED_RECORDS", 90)
    monkeypatch.setattr("ecgjepa.demo.UNLABELLED_RECORDS", 12)
    small = {"model.width": 16, "model.heads": 2, "model.depth": 1, "training.epochs": 1}
    monkeypatch.setattr("ecgjepa.demo.SETTINGS", {**demo.SETTINGS, **small})
    result = run("demo", "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "demo" / "report.html").stat().st_size > 100_000
    assert "exists already" in failed("demo", "--out", tmp_path / "demo")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("keep me")
    assert "holds no demo" in failed("demo", "--out", tmp_path / "mine", "--overwrite")
