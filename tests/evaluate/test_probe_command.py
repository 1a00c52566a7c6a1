"""`ecgjepa probe` with every way to ask and to read; the numbers are those of the saved predictions."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from sklearn.metrics import mean_absolute_error, roc_auc_score

from ecgjepa.cli import main
from ecgjepa.data.store import Store
from ecgjepa.evaluate.head import Head
from tests.finetune.runs import CLASSES, make_model, make_store


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("probe")
    make_store(folder / "store", 120)
    make_model(folder / "model")
    return folder


def probe(place: Path, *options: str) -> Result:
    common = ["--ckpt", str(place / "model"), "--store", str(place / "store"), "--resamples", "20", "--device", "cpu"]
    return CliRunner().invoke(main, ["probe", *common, *options])


def read(folder: Path) -> tuple[dict, pd.DataFrame]:
    return json.loads((folder / "result.json").read_text()), pd.read_parquet(folder / "predictions.parquet")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("knn", ["--readout", "knn"]),
        ("means", ["--readout", "nearest-mean", "--pooling", "mean_std"]),
        ("attention", ["--readout", "attention"]),
        ("leads", ["--leads", "II"]),
        ("noise", ["--snr-db", "5"]),
    ],
)
def test_every_way_to_read_gives_the_score_of_its_predictions(place: Path, name: str, options: list[str]) -> None:
    found = probe(place, "--out", str(place / name), *options)
    assert found.exit_code == 0, found.output
    summary, table = read(place / name)
    for model in ("pretrained", "random"):
        auc = np.mean([roc_auc_score(table[f"label:{each}"], table[f"{model}:{each}"]) for each in CLASSES])
        assert summary["models"][model]["macro"]["auc"]["value"] == pytest.approx(auc)
    assert (place / name / "head.safetensors").exists() == (name == "noise")
    assert "p" in summary["difference"]["auc"]


def test_a_number_is_read_off_and_its_head_gives_the_same(place: Path) -> None:
    found = probe(place, "--level", "age", "--out", str(place / "age"))
    assert found.exit_code == 0, found.output
    assert "age, years" in found.output
    summary, table = read(place / "age")
    error = mean_absolute_error(table["value:age"], table["pretrained:age"])
    assert summary["models"]["pretrained"]["macro"]["mae"]["value"] == pytest.approx(error)
    head = Head.load(place / "age")
    features = np.stack(pd.read_parquet(place / "age" / "embeddings.parquet")["pretrained"])
    np.testing.assert_allclose(head.predict(features)[:, 0], table["pretrained:age"], rtol=1e-6)


def test_labels_of_ones_own(place: Path) -> None:
    store = Store.open(place / "store")
    records = store.records["record"].tolist()
    own = ["tall" if "A" in labels else "small" for labels in store.records["labels_kind"]]
    table = pd.DataFrame({"record": records[:-3], "size": own[:-3]})
    table.to_csv(place / "own.csv", index=False)
    options = ("--labels", str(place / "own.csv"), "--level", "size", "--task", "multiclass")
    found = probe(place, *options, "--out", str(place / "own"))
    assert found.exit_code == 0, found.output
    assert read(place / "own")[0]["left_out"]["no row in the table"] == 3 or "3 " in found.output
    unknown = probe(place, "--labels", str(place / "own.csv"), "--level", "weight", "--out", str(place / "no"))
    assert unknown.exit_code == 1
    assert "weight" in unknown.output


def test_what_does_not_go_together_is_refused_by_name(place: Path) -> None:
    for options, message in (
        (["--protocol", "paper", "--readout", "knn"], "published is the linear one alone"),
        (["--protocol", "paper", "--level", "age"], "no regression is published"),
        (["--level", "age", "--readout", "nearest-mean"], "expected one of linear, knn"),
        (["--readout", "attention", "--snr-db", "3"], "without noise"),
        (["--leads", "V6"], "expected distinct ones of"),
    ):
        found = probe(place, "--out", str(place / "refused"), *options)
        assert found.exit_code == 1, options
        assert message in found.output
        assert not (place / "refused").exists()
