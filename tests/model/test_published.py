"""Published state dicts that are not what they should be are refused by name."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ecgjepa.model.published import infer_model_config, published_to_ours

State = dict[str, Tensor]


@pytest.fixture
def encoder_state(parity_dir: Path) -> State:
    return torch.load(parity_dir / "encoder_tiny.pth", weights_only=True)["encoder"]


@pytest.fixture
def jepa_state(parity_dir: Path) -> State:
    return torch.load(parity_dir / "jepa_tiny.pth", weights_only=True)


def test_sizes_are_inferred(encoder_state: State, jepa_state: State) -> None:
    config = infer_model_config(encoder_state, heads=4)
    assert (config.width, config.depth, config.heads, config.mlp_ratio, config.patch_samples) == (64, 3, 4, 4, 50)
    config = infer_model_config(jepa_state, heads=4, predictor_heads=2)
    assert (config.width, config.depth, config.heads) == (64, 3, 4)
    assert (config.predictor_width, config.predictor_depth, config.predictor_heads) == (32, 2, 2)


def test_heads_that_do_not_divide_the_width(encoder_state: State) -> None:
    with pytest.raises(ValueError, match="64 is not a multiple of 7"):
        infer_model_config(encoder_state, heads=7)


def test_missing_unexpected_and_misshapen_keys_are_all_named(encoder_state: State) -> None:
    del encoder_state["encoder_blocks.blocks.1.attn.qkv.weight"]
    encoder_state["cls_token"] = torch.zeros(1)
    encoder_state["norm.bias"] = torch.zeros(65)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        published_to_ours(encoder_state)
    message = str(error.value)
    assert "missing encoder_blocks.blocks.1.attn.qkv.weight" in message
    assert "unexpected cls_token" in message
    assert "norm.bias: expected shape (64,), found (65,)" in message


def test_a_whole_model_without_its_teacher(jepa_state: State) -> None:
    state = {name: value for name, value in jepa_state.items() if not name.startswith("target_encoder.")}
    with pytest.raises(ValueError, match=r"missing target_encoder\..* more"):
        published_to_ours(state)


@pytest.mark.parametrize("name", ["encoder.pos_embed", "target_encoder.pos_embed", "predictor.pos_embed"])
def test_another_position_table_is_refused(jepa_state: State, name: str) -> None:
    jepa_state[name] = jepa_state[name].roll(1, 0)
    with pytest.raises(ValueError, match=f"{name} is not the published position table, off by [12]"):
        published_to_ours(jepa_state)


def test_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a matrix W_P.weight, found keys fc.weight, fc.bias"):
        published_to_ours(dict(torch.nn.ModuleDict({"fc": torch.nn.Linear(2, 2)}).state_dict()))
    with pytest.raises(ValueError, match=r"expected a matrix W_P.weight, found keys none"):
        published_to_ours({})
