"""Weights in pickles: as the authors of the method published them, and as an unfinished run keeps them.

Code in a pickle is never run (`weights_only=True`).
"""

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ecgjepa.checkpoint.description import FORMAT, CheckpointError, explain
from ecgjepa.checkpoint.folder import Which
from ecgjepa.model.published import infer_model_config, published_to_ours
from ecgjepa.signal import PUBLISHED_CONTRACT

PUBLISHED_HEADS, PUBLISHED_PREDICTOR_HEADS = 16, 12  # not stated in the files

# A description, the weights, and which network they are.
Contents = tuple[dict[str, Any], dict[str, Tensor], str]


def load_pickle(path: Path) -> Any:
    """Tensors and plain values from a `.pth`/`.pt` file.

    Raises:
        CheckpointError: the file is cut, no pickle, or would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a foreign file makes it run into
        raise CheckpointError(
            f"{path} is not a checkpoint: it is cut, or no pickle, or holds more than tensors"
        ) from error


def is_of_run(file: Path) -> bool:
    """Whether a file lies where runs keep their checkpoints."""
    return file.suffix == ".pt" and file.resolve().parent.name == "checkpoints"


def read_unfinished(file: Path, which: Which | None) -> Contents:
    """The teacher of a run's checkpoint (the student where there is none), or the one that is asked for.

    Its description says the step.

    Raises:
        CheckpointError: it is not such a checkpoint, or has no such network.
    """
    checkpoint = load_pickle(file)
    try:
        weights, values = checkpoint["model"], {**checkpoint["description"], "steps": checkpoint["step"]}
        held = [network for network in ("teacher", "student") if any(n.startswith(f"{network}.") for n in weights)]
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is not a checkpoint of ecgjepa: no {error}") from error
    network = which or (held[0] if held else "teacher")
    if network not in held:
        raise CheckpointError(f"{file} holds no {network}: found {', '.join(held) or 'none'}")
    prefix = f"{network}."
    return values, {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}, network


def read_published(file: Path, which: Which | None, heads: int) -> Contents:
    """Weights in the published form: the student alone, `{"encoder": weights, "epoch": number}`, or the whole model.

    Args:
        file: `.pth` file.
        which: of the whole model, the teacher where None; of the student alone there is no choice.
        heads: attention heads of the encoder, which the file does not state.

    Raises:
        CheckpointError: it is in another form.
    """
    checkpoint = load_pickle(file)
    if _is_state(checkpoint) and any(name.startswith("target_encoder.") for name in checkpoint):
        network = which or "teacher"
        return *_to_ours(file, checkpoint, heads, prefix=f"{network}."), network
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("encoder"), dict):
        raise CheckpointError(f"{file} is not in the published form: expected {{'encoder': weights, 'epoch': number}}")
    if not _is_state(checkpoint["encoder"]):
        raise CheckpointError(f"{file}: the encoder's weights must be tensors by name")
    values, state = _to_ours(file, checkpoint["encoder"], heads)
    epoch = checkpoint.get("epoch")
    return values | ({"epoch": epoch} if isinstance(epoch, int) else {}), state, "student"


def _is_state(values: Any) -> bool:
    return isinstance(values, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in values.items()
    )


def _to_ours(
    file: Path, published: dict[str, Tensor], heads: int, prefix: str = ""
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        model = infer_model_config(published, heads, predictor_heads=1).model_dump()
        state = published_to_ours(published)
    except ValidationError as error:
        raise CheckpointError(f"{file}: {explain(error)}") from error
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    if model["predictor_width"] % PUBLISHED_PREDICTOR_HEADS == 0:
        model["predictor_heads"] = PUBLISHED_PREDICTOR_HEADS
    values = {"format": FORMAT, "model": model, "contract": PUBLISHED_CONTRACT.to_dict()}
    return values, {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
