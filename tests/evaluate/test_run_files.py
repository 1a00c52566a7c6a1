"""A broken file of a run folder is an error that names it, and the report that was there stays."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecgjepa.evaluate.report import write_report
from ecgjepa.evaluate.run_files import ReportError
from tests.evaluate.run_folders import PROBE, write_finished_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_finished_run(tmp_path)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def drop_column(file: Path) -> None:
    table = pd.read_parquet(file)
    table.drop(columns=table.columns[-1]).to_parquet(file)


@pytest.mark.parametrize(
    ("name", "breaks", "said"),
    [
        ("run.json", cut_in_half, "Invalid JSON"),
        ("run.json", Path.unlink, "is not a run folder: no run.json"),
        ("metrics.csv", lambda file: file.write_text("step,loss\n1,2\n"), "epoch"),
        ("metrics.csv", lambda file: file.write_text("step,epoch,loss,lr,momentum\n1,2,x,3,4\n"), "'x'"),
        ("evaluations.csv", lambda file: file.write_text("epoch\n1\n"), "no column 'step'"),
        ("evaluations.csv", lambda file: file.write_text("step,probe_auc\n1,0.5\n1,0.6\n"), "stands there twice"),
        ("evaluations.csv", lambda file: file.write_text("step,probe_auc\n1,high\n"), "'high'"),
        (f"probes/{PROBE}/result.json", cut_in_half, "Invalid JSON"),
        (f"probes/{PROBE}/result.json", lambda file: file.write_text("{}"), "dataset: Field required"),
        (f"probes/{PROBE}/predictions.parquet", cut_in_half, "is not a Parquet file"),
        (f"probes/{PROBE}/predictions.parquet", drop_column, "no column 'random:NORM'"),
        (f"probes/{PROBE}/embeddings.parquet", drop_column, "no column 'pretrained'"),
    ],
)
def test_a_broken_file_is_an_error_that_names_it(run_dir: Path, name: str, breaks: Any, said: str) -> None:
    (run_dir / "report.html").write_text("of yesterday")
    breaks(run_dir / name)
    with pytest.raises(ReportError) as error:
        write_report(run_dir)
    assert said in str(error.value)
    assert str(run_dir / name) in str(error.value) or name == "run.json"
    assert (run_dir / "report.html").read_text() == "of yesterday"
    assert not list(run_dir.glob(".report*"))


@pytest.mark.parametrize("kind", ["pretrained", "label"])
def test_numbers_that_are_not_finite_are_an_error(run_dir: Path, kind: str) -> None:
    file = run_dir / "probes" / PROBE / "predictions.parquet"
    table = pd.read_parquet(file).astype({f"{kind}:CD": float})
    table.loc[3, f"{kind}:CD"] = np.nan
    table.to_parquet(file)
    with pytest.raises(ReportError, match=re.escape(str(file))):
        write_report(run_dir)
