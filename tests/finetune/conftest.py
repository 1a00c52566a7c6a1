"""A store, an encoder, and one finished run, for the tests of fine-tuning."""

from pathlib import Path

import pytest

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.data.store import Store
from ecgjepa.finetune.finetune import Outcome
from tests.finetune.runs import make_model, make_store, run, tiny


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("stores") / "sines", 160)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return make_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="session")
def finished(store: Store, model: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """A strict run that learns the classes."""
    return run(store, model, tiny(epochs=12, lr=2e-2, batch_size=8), tmp_path_factory.mktemp("runs") / "strict")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a run may go."""
    return tmp_path / "run"
