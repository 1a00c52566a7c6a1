"""Shape annotations are checked, torch runs on one thread (several times faster here), real ECGs are found."""

import os
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import pytest
from jaxtyping import install_import_hook

import tests.shape_checks  # noqa: F401

install_import_hook("ecgjepa", "tests.shape_checks.checked")  # stays, since modules are loaded when they are first used

import torch  # noqa: E402

torch.set_num_threads(1)

SHARED = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path) -> Path | None:
    folder = Path(os.environ.get(variable, default))
    return folder if folder.is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = [("gpu", torch.cuda.is_available(), "no CUDA device")]
    skips += [("real_data", _folder("ECGJEPA_DATA", SHARED / "data") is not None, "no real ECGs: set ECGJEPA_DATA")]
    for item in items:
        for marker, available, reason in skips:
            if marker in item.keywords and not available:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """The folder with `ptbxl/`, `shaoxing/`, `code15/`, `cpsc2018/` and `challenge2020/`."""
    folder = _folder("ECGJEPA_DATA", SHARED / "data")
    if folder is None:
        pytest.skip("no real ECGs: set ECGJEPA_DATA")
    return folder


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder with the golden arrays of the published implementation."""
    folder = _folder("ECGJEPA_PARITY", SHARED / "parity")
    if folder is None:
        pytest.skip("no golden arrays: set ECGJEPA_PARITY")
    return folder


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Annotations are not checked: for wrong input that must be refused by name, stand-ins, and the compiler."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
