"""A server with an encoder of a few weights, a head, and an archive of synthetic ECGs."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from ecgjepa.checkpoint import generator_of, save_model
from ecgjepa.config import ModelConfig
from ecgjepa.data.prepare import prepare
from ecgjepa.data.synthetic import write_ptbxl_archive
from ecgjepa.embed.pipeline import embed_files
from ecgjepa.evaluate.head import HEAD, Head, describe_encoder
from ecgjepa.model.encoder import Encoder
from ecgjepa.search import build_index
from ecgjepa.serve.app import create_app
from ecgjepa.serve.limits import Limits
from ecgjepa.serve.served import Served
from ecgjepa.serve.server import make_server
from ecgjepa.signal import SignalContract

RECORDS = 40
CLASSES = ("NORM", "MI", "CD")
SMALL = ModelConfig(width=16, depth=1, heads=2, patch_samples=50, patch_norm=True)


@dataclass(frozen=True)
class Material:
    """What a server is started with.

    Attributes:
        ckpt, head: a model folder, and a head that reads it.
        files: a folder of WFDB files of 12 leads, 500 Hz and 10 s.
        store, embeddings, index: the same ECGs.
    """

    ckpt: Path
    head: Path
    files: Path
    store: Path
    embeddings: Path
    index: Path

    @property
    def headers(self) -> list[Path]:
        """The ECGs, in order."""
        return sorted(self.files.rglob("*.hea"))


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("serve")
    encoder = Encoder(SMALL, SignalContract(), generator=generator_of(0))
    save_model(folder / "model", {"model": encoder})
    chance = np.random.default_rng(0)
    shape = (len(CLASSES), SMALL.width)
    about = describe_encoder(encoder, "model", "model")
    head = Head(2 * chance.standard_normal(shape), np.zeros(len(CLASSES)), CLASSES, "multilabel",
                np.array([0.3, 0.5, 0.6]), about)  # fmt: skip
    (folder / "probe").mkdir()
    head.save(folder / "probe" / HEAD)
    write_ptbxl_archive(folder / "files", RECORDS, seed=0)
    store = prepare("ptbxl", folder / "files", folder / "store", workers=1, progress=False)
    embed_files(encoder, store.path, folder / "e.parquet", progress=False)
    build_index(folder / "e.parquet", folder / "index", progress=False)
    return Material(
        folder / "model", folder / "probe", folder / "files", store.path, folder / "e.parquet", folder / "index"
    )


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits(readers=1)


@pytest.fixture(scope="session")
def served(material: Material) -> Served:
    return Served.load(material.ckpt, material.head, material.index, device="cpu", batch_size=8)


@pytest.fixture(scope="session")
def app(served: Served, limits: Limits) -> FastAPI:
    """An app that does not run yet; its state is of one run, so each of those that run it makes its own."""
    return create_app(served, limits, hosts=["testserver"])


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """In this process, with readers of its own."""
    with TestClient(app) as client:
        yield client


@pytest.fixture(scope="session")
def live_server(served: Served, limits: Limits) -> Iterator[str]:
    """The address of a server at a real port, as http://127.0.0.1:PORT."""
    server = make_server(create_app(served, limits), "127.0.0.1", 0, limits, tell=lambda line: None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "it ended before it began"
            threading.Event().wait(0.02)
        yield server.address
    finally:
        server.should_exit = True
        thread.join(30)
