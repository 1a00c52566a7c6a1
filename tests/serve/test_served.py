"""What may be served together, and how `ecgjepa serve` is told."""

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.checkpoint import load_encoder
from ecgjepa.cli import main
from ecgjepa.cli import serve as command
from ecgjepa.data.readers import read
from ecgjepa.data.store import Store
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.embed.table import read_embeddings
from ecgjepa.evaluate.head import Head
from ecgjepa.finetune.classifier_folder import save_classifier
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.patches import take_embeddable
from ecgjepa.predict.files import predict_files
from ecgjepa.search import SearchIndex
from ecgjepa.serve.analysing import Found, Taken, run_networks
from ecgjepa.serve.archive import Archive, read_row
from ecgjepa.serve.batching import ModelThread
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.metrics import Metrics
from ecgjepa.serve.occluding import Occluder
from ecgjepa.serve.reading.pool import ReaderPool
from ecgjepa.serve.served import Served
from ecgjepa.serve.shared import Serving
from tests.serve.conftest import SMALL, Material

LEADS = ("I", "V1")


@pytest.fixture
def attentive(material: Material, tmp_path: Path) -> Path:
    """A regression that looks at two leads through an attention pooling."""
    pool = AttentionPool(SMALL.width, 2)
    chance = torch.Generator().manual_seed(0)
    state = {name: torch.randn(value.shape, generator=chance).numpy() for name, value in pool.state_dict().items()}
    weight_KD = np.random.default_rng(0).standard_normal((1, SMALL.width))
    about = {"leads": list(LEADS), "unit": "years"}
    head = Head(weight_KD, np.array([50.0]), ("age",), "regression", None, about, state, 2)
    save_classifier(tmp_path / "classifier", load_encoder(material.ckpt), head)
    return tmp_path / "classifier"


def test_a_head_that_reads_something_else_gets_it(material: Material, attentive: Path, tmp_path: Path) -> None:
    served = Served.load(model=attentive, device="cpu")
    assert [contract.leads for contract in served.contracts] == [served.encoder.contract.leads, LEADS]
    assert not served.heads_read_embeddings
    model, limits = ModelThread(8, 0.0, 100), Limits()
    serving = Serving(served, limits, ReaderPool(1, limits), model, Occluder(served.classifier, model, 8), Metrics(),
                      False)  # fmt: skip
    header = material.headers[0]
    recording = read(header)
    windows = tuple(take_embeddable(recording, contract, SMALL.patch_samples, "first") for contract in served.contracts)
    model.start()
    try:
        found = asyncio.run(run_networks(serving, [Taken(header.stem, windows)]))[0]
    finally:
        model.close()
    assert isinstance(found, Found)
    assert found.outputs_K is not None
    how: dict[str, Any] = {"windows": "first", "progress": False}
    predict_files(attentive, header, tmp_path / "p.parquet", **how)
    embed_files(load_encoder(material.ckpt), header, tmp_path / "e.parquet", **how)
    np.testing.assert_allclose(found.outputs_K, pd.read_parquet(tmp_path / "p.parquet")["value:age"], rtol=1e-6)
    np.testing.assert_allclose(found.embedding_D, read_embeddings(tmp_path / "e.parquet")[1][0], atol=1e-6)


def test_a_table_of_embeddings_is_indexed_for_this_time(material: Material) -> None:
    told: list[str] = []
    served = Served.load(material.ckpt, index=material.embeddings, device="cpu", tell=told.append)
    assert served.temporary is not None
    folder = served.temporary.path
    assert folder.is_dir()
    assert served.index is not None
    assert len(served.index) == len(SearchIndex.open(material.index))
    assert "ecgjepa index" in told[0]
    served.close()
    assert not folder.exists()


def test_ecgs_of_the_archive_are_found_where_they_are(material: Material, tmp_path: Path) -> None:
    row = SearchIndex.open(material.index).records([2])[0]
    expected = Store.open(material.store).signals_mv([2])[0]
    contract = load_encoder(material.ckpt).contract
    moved = shutil.copytree(material.store, tmp_path / "moved")
    gone = replace(row, path=str(tmp_path / "gone"), store_row=None)
    of_file = replace(gone, path=str(material.headers[2]), window=None)
    for archive, wanted in ((Archive.open([]), row), (Archive.open([moved]), gone), (Archive.open([]), of_file)):
        entry = archive.locate(wanted)
        assert entry is not None
        window = read_row(entry, wanted, contract, SMALL.patch_samples)[0]
        np.testing.assert_allclose(window.signal_mv, expected, atol=1e-3)
    np.save(tmp_path / "many.npy", np.zeros((2, 2, 9)))
    of_many = replace(gone, record="called[0]", path=str(tmp_path / "many.npy"), file_row=1)
    found = Archive.open([]).locate(of_many)
    assert found is not None
    assert found.row == 1, "whatever it is called"
    assert Archive.open([]).locate(gone) is None
    assert Archive.open([moved, material.store]).locate(gone) is None, "two stores of one name have it"


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    assert command.read_token(None, "127.0.0.1", False) is None
    with pytest.raises(click.UsageError, match=r"can be reached from other machines.*--no-token"):
        command.read_token(None, "0.0.0.0", False)
    assert command.read_token(None, "0.0.0.0", True) is None
    (tmp_path / "token").write_text("correct-horse-battery\n")
    assert command.read_token(tmp_path / "token", "0.0.0.0", False) == "correct-horse-battery"
    monkeypatch.setenv(command.TOKEN_VARIABLE, "short")
    with pytest.raises(click.UsageError, match=f"{command.TOKEN_VARIABLE}: expected a token of 16"):
        command.read_token(None, "127.0.0.1", False)


def test_the_command_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 1
    assert "expected --ckpt" in result.output
    monkeypatch.setattr(command, "_NEEDED", ("fastapi", "no_such_package"))
    result = CliRunner().invoke(main, ["serve", "--ckpt", "x"])
    assert "no_such_package is not installed: pip install 'ecgjepa[serve]'" in result.output
