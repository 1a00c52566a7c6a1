"""Models on disk: safetensors beside a `config.json` that holds sizes and signal contract. Nothing is ever unpickled
blindly.

model/teacher.safetensors   the teacher, which is what `load_encoder` gives by default
      student.safetensors   the student, which is what the authors of the method published
      config.json           format, model, contract, seed, steps
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.files import atomic_path, write_json
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.published import infer_model_config, published_to_ours
from ecgjepa.signal import PUBLISHED_CONTRACT, SignalContract

FORMAT = 1
PUBLISHED_HEADS = 16
Which = Literal["teacher", "student"]


class CheckpointError(ValueError):
    """A file or folder that is not the model it should be; the message says what was found and what was expected."""


def save_model(directory: Path, encoders: Mapping[str, Encoder], **notes: Any) -> None:
    """Write encoders of one size as `NAME.safetensors`, and `config.json` with sizes, contract and the notes.

    Args:
        directory: made if absent; the files in it are replaced.
        encoders: `teacher` and `student`.
        notes: further JSON values for `config.json`, such as `seed` and `steps`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, encoder in encoders.items():
        with atomic_path(directory / f"{name}.safetensors") as file:
            save_file({key: value.contiguous().cpu() for key, value in encoder.state_dict().items()}, file)
    write_json(directory / "config.json", describe_model(next(iter(encoders.values()))) | notes)


def describe_model(encoder: Encoder) -> dict[str, Any]:
    """Format, sizes and signal contract: what is needed to build the encoder again."""
    return {"format": FORMAT, "model": encoder.config.model_dump(), "contract": encoder.contract.to_dict()}


def load_encoder(path: Path | str, which: Which = "teacher", *, heads: int = PUBLISHED_HEADS) -> Encoder:
    """Load an encoder in float32 on the CPU, ready to use.

    Args:
        path: a run folder (finished or not), a model folder, or a published `.pth` file.
        which: teacher or student of a run; a published file holds the student alone.
        heads: attention heads of a published file, which does not state them.

    Raises:
        CheckpointError: nothing of that kind is there, or it does not fit.
    """
    path = Path(path)
    if path.is_file():
        return _load_published(path, heads)
    for directory in (path / "model", path):
        if (directory / "config.json").is_file():
            return _load_safetensors(directory, which)
    if (path / "checkpoints" / "last.pt").is_file():
        return _load_unfinished(path / "checkpoints" / "last.pt", which)
    expected = "expected a run folder, a folder with config.json and .safetensors, or a published .pth file"
    raise CheckpointError(f"no model at {path}: {expected}" + ("" if path.exists() else " (it does not exist)"))


def read_notes(path: Path | str) -> dict[str, Any]:
    """What was noted when a model was saved, its `seed` among it; empty for a published file."""
    for directory in (Path(path) / "model", Path(path)):
        if (directory / "config.json").is_file():
            return _read_config(directory / "config.json")
    unfinished = Path(path) / "checkpoints" / "last.pt"
    return dict(load_pickle(unfinished)["description"]) if unfinished.is_file() else {}


def random_twin(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same size and contract with fresh weights: those with which a run of that seed starts."""
    return Encoder(encoder.config, encoder.contract, generator=generator_of(seed))


def generator_of(*key: int) -> Generator:
    """A CPU generator that is a function of whole numbers, such as (seed, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA if there is any, else the CPU; raises ValueError for a device that is not there."""
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError("expected auto, cpu or cuda")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not available: {str(error).partition(chr(10))[0]}") from error
    return device


def load_pickle(path: Path) -> Any:
    """Tensors and plain values from a `.pth`/`.pt` file; code in it is never run (`weights_only=True`)."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a foreign file makes it run into
        raise CheckpointError(
            f"{path} is not a checkpoint: it is cut, or no pickle, or holds more than tensors"
        ) from error


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        found = config["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file} is not the description of a model: {error!r}") from error
    if found != FORMAT:
        raise CheckpointError(f"{file}: model format {found}, expected {FORMAT}")
    return config


def _build(config: dict[str, Any], state: Mapping[str, Tensor], source: Path) -> Encoder:
    try:
        encoder = Encoder(ModelConfig(**config["model"]), SignalContract.from_dict(config["contract"]))
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{source}: unusable sizes or contract: {error}") from error
    expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found != expected:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        first = wrong[0]
        raise CheckpointError(
            f"{source} is of another size than its description: {len(wrong)} tensors differ, "
            f"{first} is {found.get(first, 'missing')}, expected {expected.get(first, 'none of that name')}"
        )
    encoder.load_state_dict(dict(state))
    return encoder.eval()


def _load_safetensors(directory: Path, which: Which) -> Encoder:
    file = directory / f"{which}.safetensors"
    if not file.is_file():
        raise CheckpointError(f"no {file.name} in {directory}")
    try:
        state = load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is not a safetensors file, or is cut: {error}") from error
    return _build(_read_config(directory / "config.json"), state, file)


def _load_unfinished(file: Path, which: Which) -> Encoder:
    checkpoint = load_pickle(file)
    prefix = f"{which}."
    try:
        state = {name.removeprefix(prefix): t for name, t in checkpoint["model"].items() if name.startswith(prefix)}
        return _build(checkpoint["description"], state, file)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is not a checkpoint of ecgjepa: no {error}") from error


def _load_published(file: Path, heads: int) -> Encoder:
    checkpoint = load_pickle(file)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("encoder"), dict):
        raise CheckpointError(f"{file} is not in the published form: expected {{'encoder': weights, 'epoch': number}}")
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in checkpoint["encoder"].items()):
        raise CheckpointError(f"{file}: the encoder's weights must be tensors by name")
    try:
        config = infer_model_config(checkpoint["encoder"], heads)
        state = published_to_ours(checkpoint["encoder"])
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    return _build({"model": config.model_dump(), "contract": PUBLISHED_CONTRACT.to_dict()}, state, file)
