"""Tiny runs of `pretrain`, and what two of them are compared by."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ecgjepa.config import Config, load_config
from ecgjepa.data.store import DESCRIPTION, RECORDS, Store, sha256_of
from ecgjepa.files import write_json
from ecgjepa.train.pretrain import Outcome, pretrain
from tests.data.stores import write_store

TINY = {
    "model.width": 16, "model.depth": 2, "model.heads": 2, "model.patch_norm": True,
    "model.predictor_width": 8, "model.predictor_depth": 1, "model.predictor_heads": 2,
    "training.batch_size": 4, "training.lr": 1e-3, "training.warmup_epochs": 1, "training.precision": "fp32",
    "run.log_every": 1, "run.evaluate_epochs": 0, "run.device": "cpu",
}  # fmt: skip

# Of metrics.csv, what does not depend on how fast the machine is.
COLUMNS = ["step", "epoch", "loss", "lr", "momentum"]


def config_for(store: Store, **changes: Any) -> Config:
    """Tiny settings with changes by dotted key."""
    return load_config(overrides={**TINY, "data.stores": [str(store.path)], **changes})


def quiet(config: Config, out: Path, **options: Any) -> Outcome:
    """`pretrain` without a bar."""
    return pretrain(config, out, progress=False, **options)


@contextmanager
def bare_runs() -> Iterator[None]:
    """No `report.html` and no coverage of masks, which take most of the time of a tiny run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("ecgjepa.train.pretrain", "ecgjepa.train.evaluation"):
            patch.setattr(f"{name}.renew_report", lambda path: None)
        patch.setattr("ecgjepa.train.pretrain.mask_coverage", lambda *arguments, **options: [])
        yield


def model_weights(run: Path) -> dict[str, torch.Tensor]:
    """All weights of the model folder of a finished run."""
    return {
        f"{file.stem}.{key}": value
        for file in sorted((run / "model").glob("*.safetensors"))
        for key, value in load_file(file).items()
    }


def metrics_of(run: Path) -> pd.DataFrame:
    """The columns of `metrics.csv` that do not depend on the time."""
    return pd.read_csv(run / "metrics.csv")[COLUMNS]


def info_of(run: Path) -> dict[str, Any]:
    """`run.json`."""
    return dict(json.loads((run / "run.json").read_text(encoding="utf-8")))


def assert_same_run(one: Path, other: Path) -> None:
    """Weights and rows of two finished runs are equal to the bit, in both forms of the rows."""
    expected, found = model_weights(one), model_weights(other)
    assert expected.keys() == found.keys()
    assert expected
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    pd.testing.assert_frame_equal(metrics_of(one), metrics_of(other))
    lines = [json.loads(line) for line in (other / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines] == metrics_of(one)["step"].tolist()
    assert [run["status"] for run in (info_of(one), info_of(other))] == ["finished", "finished"]


def write_labelled_store(folder: Path, records: int, seed: int = 0) -> Store:
    """A store whose labels are of both kinds among its validation records, too."""
    write_store(folder, records, seed)
    table = pd.read_parquet(folder / RECORDS)
    table["labels_kind"] = [["a"] if k // 8 % 2 else ["b"] for k in range(records)]
    table.to_parquet(folder / RECORDS, index=False)
    description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    description["checksums"][RECORDS] = sha256_of(folder / RECORDS)
    write_json(folder / DESCRIPTION, description)
    return Store.open(folder)
