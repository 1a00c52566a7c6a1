"""What a user names on the command line -> an encoder of any origin: a model of ours, an ONNX file, own Python code.

Axes: B records, L leads, S samples, T tokens of a record, D width.
"""

import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ecgjepa.checkpoint import PUBLISHED_HEADS, LoadedModel, Which, load_model
from ecgjepa.evaluate.frozen import (
    FrozenEncoder,
    TorchEncoder,
    fingerprint_of,
    gives_tokens,
    random_twin_of,
    running,
)
from ecgjepa.evaluate.frozen_onnx import OnnxEncoder
from ecgjepa.signal import SignalContract

__all__ = [
    "FrozenEncoder",
    "NamedEncoder",
    "OnnxEncoder",
    "TorchEncoder",
    "check_encoder",
    "fingerprint_of",
    "from_factory",
    "gives_tokens",
    "open_encoder",
    "random_twin_of",
    "read_contract",
    "running",
]

_FACTORY = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder and where it comes from.

    Attributes:
        name: short, for tables: the name of the folder or file, or of the function.
        encoder: ready to use.
        network: `teacher`, `student` or `model` of ours, `onnx`, or `factory`.
        source: what was asked for.
        loaded: what our files say of it; None for others.
    """

    name: str
    encoder: FrozenEncoder
    network: str
    source: str
    loaded: LoadedModel | None = None

    @property
    def fingerprint(self) -> str | None:
        """See `fingerprint_of`."""
        return fingerprint_of(self.encoder)


def open_encoder(
    source: Path | str,
    which: Which | None = None,
    heads: int = PUBLISHED_HEADS,
    contract: SignalContract | Path | str | None = None,
) -> NamedEncoder:
    """Open what a user calls an encoder.

    Args:
        source: what `load_model` takes, an `.onnx` file, or `package.module:function`, see `from_factory`.
        which, heads: as of `load_model`.
        contract: of an ONNX file from elsewhere, or the JSON file that holds it.

    Raises:
        ValueError: it cannot be opened, or a contract was given for what has its own.
        FileNotFoundError: no such file.
    """
    text = str(source)
    if isinstance(contract, (str, Path)):
        contract = read_contract(contract)
    if text.endswith(".onnx"):
        return NamedEncoder(Path(text).stem, OnnxEncoder(text, contract), "onnx", text)
    if contract is not None:
        raise ValueError(f"{text}: a contract is given for an ONNX file only; this encoder has its own")
    if _FACTORY.fullmatch(text) and not Path(text).exists():
        return NamedEncoder(text.replace(":", "."), from_factory(text), "factory", text)
    loaded = load_model(source, which, heads=heads)
    return NamedEncoder(_name_of(loaded), loaded.encoder, loaded.network, text, loaded)


def _name_of(loaded: LoadedModel) -> str:
    """The run or model folder; a published file by itself."""
    if loaded.folder == loaded.file.parent and loaded.file.suffix in (".pth", ".pt"):
        return loaded.file.stem
    folder = loaded.folder.resolve()
    return folder.parent.name if folder.name == "model" else folder.name


def from_factory(name: str) -> FrozenEncoder:
    """Import a module and call one of its functions, without arguments, for a frozen encoder.

    This runs the code of that module, with all the rights of the user: name only what you trust. It is looked for in
    the current folder first, then where Python finds packages.

    Args:
        name: `package.module:function`.

    Raises:
        ValueError: no such module or function, or what it gives is no frozen encoder; see `check_encoder`.
    """
    found = _FACTORY.fullmatch(name)
    if found is None:
        raise ValueError(f"encoder {name!r}: expected package.module:function")
    with _current_folder_first():
        try:
            module = importlib.import_module(found["module"])
        except ModuleNotFoundError as error:
            if error.name is None or not f"{found['module']}.".startswith(f"{error.name}."):
                raise  # a package that the module itself needs
            raise ValueError(
                f"encoder {name!r}: no module {error.name}, looked for in {Path.cwd()} and among installed packages"
            ) from error
        function = getattr(module, found["function"], None)
        if not callable(function):
            raise ValueError(f"encoder {name!r}: no function {found['function']} in {module.__file__}")
        encoder = function()
    check_encoder(encoder, name)
    return encoder


def check_encoder(encoder: Any, name: str) -> None:
    """Try an encoder on two made-up signals.

    Raises:
        ValueError: it lacks a part of `FrozenEncoder`, or its features or tokens are of another shape or not finite.
    """
    if not isinstance(encoder, FrozenEncoder) or not isinstance(encoder.contract, SignalContract):
        lacking = [part for part in ("contract", "width", "__call__", "to") if not hasattr(encoder, part)]
        raise ValueError(
            f"encoder {name!r}: found {type(encoder).__name__} without {' and '.join(lacking) or 'a SignalContract'}, "
            "expected a FrozenEncoder: contract, width, call and to(device)"
        )
    shape = (2, len(encoder.contract.leads), encoder.contract.samples)
    signal_mv_BLS = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with running(encoder, "cpu") as run:
        outputs = {"features": run(signal_mv_BLS)}
        if gives_tokens(run):
            outputs["tokens"] = run.tokens(signal_mv_BLS)  # type: ignore[attr-defined]
    for part, output in outputs.items():
        expected = f"(2, {encoder.width})" if part == "features" else f"(2, tokens, {encoder.width})"
        if not isinstance(output, torch.Tensor):
            raise ValueError(f"encoder {name!r}: {part} are {type(output).__name__}, expected a tensor {expected}")
        found = tuple(output.shape)
        if len(found) != (2 if part == "features" else 3) or (found[0], found[-1]) != (2, encoder.width):
            raise ValueError(f"encoder {name!r}: {part} of shape {found}, expected {expected}")
        if not output.isfinite().all():
            raise ValueError(f"encoder {name!r}: {part} that are not finite")


def read_contract(file: Path | str) -> SignalContract:
    """The contract in a JSON file: `{"leads": [...], "sampling_rate_hz": 500, "seconds": 10}`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not JSON, or no contract.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"no contract at {file}")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError(f"expected an object, found {type(values).__name__}")
        return SignalContract.from_dict(values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


@contextmanager
def _current_folder_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
