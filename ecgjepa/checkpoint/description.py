"""`config.json`: what is needed to build an encoder again, read strictly.

format      1
model       sizes, `ModelConfig`
contract    what the encoder expects of its signals, `SignalContract`
...         notes: seed, steps, `provenance`, `training`
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.tokens import position_table
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract

FORMAT = 1
CONFIG = "config.json"
# Without them a default would step in silently, and no shape of the weights shows that it is wrong.
SIZES = ("width", "depth", "heads", "mlp_ratio", "patch_samples")
TYPES: dict[str, Any] = {
    "leads": list,
    "sampling_rate_hz": int,
    "seconds": (int, float),
    "unit": str,
    "resampling": str,
}


class CheckpointError(ValueError):
    """A file, folder or repository that is not the model it should be; the message says what was found and expected."""


def describe_model(encoder: Encoder) -> dict[str, Any]:
    """Format, sizes and signal contract: what is needed to build the encoder again."""
    return {"format": FORMAT, "model": encoder.config.model_dump(), "contract": encoder.contract.to_dict()}


def read_description(file: Path) -> dict[str, Any]:
    """What a `config.json` says, its notes too; sizes and contract are checked by `build_encoder`.

    Raises:
        CheckpointError: no JSON object, or of another format.
    """
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is not the description of a model: {error}") from error
    if not isinstance(values, dict) or "format" not in values:
        raise CheckpointError(f"{file} is not the description of a model of ecgjepa: expected format, model, contract")
    if values["format"] != FORMAT or isinstance(values["format"], bool):
        raise CheckpointError(f"{file}: model format {values['format']!r}, expected {FORMAT}")
    return values


def check_description(values: Mapping[str, Any], source: Path | str) -> tuple[ModelConfig, SignalContract]:
    """Sizes and contract of a description.

    Raises:
        CheckpointError: a key is missing or unknown, or a value is of another type or out of range.
    """
    try:
        return _read_sizes(values.get("model")), _read_contract(values.get("contract"))
    except ValidationError as error:
        raise CheckpointError(f"{source}: {explain(error)}") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"{source}: {error}") from error


def build_encoder(values: Mapping[str, Any], state: Mapping[str, Tensor], source: Path | str) -> Encoder:
    """The encoder of a description with the given weights, float32 on the CPU.

    Args:
        values: a description.
        state: weights by name.
        source: what to call it in messages.

    Raises:
        CheckpointError: the description is unusable, or the weights are not those of an encoder of that size.
    """
    config, contract = check_description(values, source)
    found = {name: tuple(value.shape) for name, value in state.items()}
    if config.depth > len(found):
        raise CheckpointError(
            f"{source} is of another size than its description: {len(found)} tensors, expected {config.depth} blocks"
        )
    try:
        with torch.device("meta"):  # drawing weights that are replaced at once takes 5 s at the published size
            encoder = Encoder(config, contract)
    except (ValueError, OverflowError, RuntimeError, MemoryError) as error:
        raise CheckpointError(f"{source}: {error}") from error
    expected = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    if found != expected:
        raise CheckpointError(f"{source} is of another size than its description: {_difference(found, expected)}")
    if wrong := [name for name, value in state.items() if not value.is_floating_point()]:
        raise CheckpointError(f"{source}: {wrong[0]} is {state[wrong[0]].dtype}, expected floating-point numbers")
    # A copy, because the tensors of a safetensors file are views of the file.
    own = {name: value.detach().to("cpu", torch.float32, copy=True).contiguous() for name, value in state.items()}
    encoder.load_state_dict(own, assign=True)
    assert [name for name, _ in encoder.named_buffers()] == ["position_LPD"]
    encoder.position_LPD = position_table(len(contract.leads), encoder.patches, config.width)
    return encoder.eval()


def explain(error: ValidationError) -> str:
    """The first thing that is wrong with the sizes of a model, in one line."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in ("model", *first["loc"]))
    found = f", found {first['input']!r}" if first["loc"] and first["type"] != "extra_forbidden" else ""
    return f"{key}: {first['msg'].removeprefix('Value error, ')}{found}"


def _read_sizes(values: Any) -> ModelConfig:
    if not isinstance(values, dict):
        raise ValueError(f"model: expected its sizes, found {values!r}")
    config = ModelConfig(**values)
    if missing := [name for name in SIZES if name not in values]:
        raise ValueError(f"model: {', '.join(missing)} missing, expected {', '.join(SIZES)}")
    return config


def _read_contract(values: Any) -> SignalContract:
    if not isinstance(values, dict):
        raise ValueError(f"contract: expected {', '.join(TYPES)}, found {values!r}")
    if unknown := sorted(set(values) - set(asdict(DEFAULT_CONTRACT))):
        raise ValueError(f"contract: unknown keys {unknown}, expected {', '.join(TYPES)}")
    if missing := [name for name in TYPES if name not in values]:
        raise ValueError(f"contract: {', '.join(missing)} missing, expected {', '.join(TYPES)}")
    for name, kind in TYPES.items():
        if not isinstance(values[name], kind) or isinstance(values[name], bool):
            kinds = {list: "a list of names", int: "a whole number", str: "a word"}.get(kind, "a number")
            raise ValueError(f"contract: {name} must be {kinds}, found {values[name]!r}")
    if not all(isinstance(lead, str) for lead in values["leads"]) or not math.isfinite(values["seconds"]):
        raise ValueError(f"contract: expected names of leads and a finite time, found {values}")
    return SignalContract.from_dict({**values, "seconds": float(values["seconds"])})


def _difference(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> str:
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    first = wrong[0]
    return (
        f"{len(wrong)} tensors differ, {first} is {found.get(first, 'missing')}, "
        f"expected {expected.get(first, 'none of that name')}"
    )
