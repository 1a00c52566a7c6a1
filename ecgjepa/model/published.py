"""State dicts as the released ECG-JEPA code writes them -> ours (formats: arXiv:2410.08559, released weights).

Two forms are known: the encoder alone (`W_P.weight`, `encoder_blocks.blocks.0...`, `norm.weight`, `pos_embed`), and the
whole model, with the prefixes `encoder.` (student), `target_encoder.` (teacher) and `predictor.`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.tokens import position_table
from ecgjepa.signal import PUBLISHED_CONTRACT

_ENCODER = (("W_P.", "patch_embed."), ("encoder_blocks.blocks.", "blocks."))
_PREDICTOR = (
    ("predictor_embed.", "embed."),
    ("predictor_blocks.blocks.", "blocks."),
    ("predictor_norm.", "norm."),
    ("predictor_proj.", "project."),
)
# part in the file, part here, names in the file and here
_PARTS = (
    ("encoder.", "student.", _ENCODER),
    ("target_encoder.", "teacher.", _ENCODER),
    ("predictor.", "predictor.", _PREDICTOR),
)
_TABLE = "pos_embed"
_TABLE_TOLERANCE = 1e-5


def published_to_ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under our names: of an `Encoder`, or of a `JEPA` for a whole model.

    The stored position tables are compared with ours and left out.

    Raises:
        ValueError: keys that are missing, unexpected or of a wrong shape, by name; a position table that is not ours.
    """
    config = infer_model_config(state, heads=1, predictor_heads=1)  # no shape depends on the heads
    with torch.device("meta"):
        module = JEPA(config, PUBLISHED_CONTRACT) if _is_whole(state) else Encoder(config, PUBLISHED_CONTRACT)
    ours = {published_name(name): name for name in module.state_dict()}
    shapes = {published_name(name): value.shape for name, value in module.state_dict().items()}
    tables = _position_tables(config, whole=_is_whole(state))
    _compare(state, shapes | {name: table.shape for name, table in tables.items()})
    for name, table in tables.items():
        off = (state[name].float().cpu() - table).abs().max().item()
        if not off <= _TABLE_TOLERANCE:
            raise ValueError(f"published weights: {name} is not the published position table, off by {off:.2g}")
    return {ours[name]: value for name, value in state.items() if name in ours}


def infer_model_config(state: Mapping[str, Tensor], heads: int = 16, predictor_heads: int = 12) -> ModelConfig:
    """Sizes of the model that a published state dict belongs to; the numbers of heads are not in it.

    Raises:
        ValueError: the state dict lacks the keys that tell, or the width is not a multiple of the heads.
    """
    encoder = "encoder." if _is_whole(state) else ""
    width, patch_samples = _shape(state, f"{encoder}W_P.weight")
    hidden, _ = _shape(state, f"{encoder}encoder_blocks.blocks.0.mlp.fc1.weight")
    sizes: dict[str, Any] = {
        "width": width,
        "depth": _depth(state, f"{encoder}encoder_blocks.blocks."),
        "heads": heads,
        "mlp_ratio": hidden / width,
        "patch_samples": patch_samples,
        "predictor_heads": predictor_heads,
    }
    if _is_whole(state):
        sizes["predictor_width"], _ = _shape(state, "predictor.predictor_embed.weight")
        sizes["predictor_depth"] = _depth(state, "predictor.predictor_blocks.blocks.")
    return ModelConfig(**sizes)


def _is_whole(state: Iterable[str]) -> bool:
    return any(name.startswith(tuple(theirs for theirs, _, _ in _PARTS)) for name in state)


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    if name not in state or state[name].ndim != 2:
        found = f"shape {tuple(state[name].shape)}" if name in state else f"keys {_few(state)}"
        raise ValueError(f"published weights: expected a matrix {name}, found {found}")
    rows, columns = state[name].shape
    return rows, columns


def _depth(state: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in state if name.startswith(prefix)})


def published_name(name: str) -> str:
    """What the released code calls one of our weights, of an `Encoder` or (with its prefix) of a `JEPA`."""
    for theirs, ours, names in _PARTS:
        if name.startswith(ours):
            return theirs + _rename(name.removeprefix(ours), names)
    return _rename(name, _ENCODER)


def _rename(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for theirs, ours in names:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _position_tables(config: ModelConfig, whole: bool) -> dict[str, Tensor]:
    leads, patches = len(PUBLISHED_CONTRACT.leads), PUBLISHED_CONTRACT.samples // config.patch_samples
    encoder = position_table(leads, patches, config.width).flatten(0, 1)
    if not whole:
        return {_TABLE: encoder}
    predictor = position_table(1, patches, config.predictor_width)[0]
    return {
        f"encoder.{_TABLE}": encoder,
        f"target_encoder.{_TABLE}": encoder,
        f"predictor.{_TABLE}": predictor,
    }


def _compare(found: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    problems = []
    if missing := [name for name in expected if name not in found]:
        problems.append(f"missing {_few(missing)}")
    if unexpected := [name for name in found if name not in expected]:
        problems.append(f"unexpected {_few(unexpected)}")
    problems += [
        f"{name}: expected shape {tuple(expected[name])}, found {tuple(value.shape)}"
        for name, value in found.items()
        if name in expected and value.shape != expected[name]
    ]
    if problems:
        raise ValueError(f"published weights: {'; '.join(problems)}")


def _few(names: Iterable[str], limit: int = 12) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "none") + more
