"""The model computes what the released ECG-JEPA code computes (golden arrays: see the README beside them)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.published import infer_model_config, published_name, published_to_ours
from ecgjepa.model.tokens import position_table
from ecgjepa.signal import PUBLISHED_CONTRACT

ABSOLUTE = 1e-5
REDUCED_LEADS = {
    "II": ("II",),
    "II_V1": ("II", "V1"),
    "I_II": ("I", "II"),
    "V1_to_V6": ("V1", "V2", "V3", "V4", "V5", "V6"),
}
MASKS = ["random", "block"]


@pytest.fixture(scope="module", params=["factorised", "dense"])
def attention(request: pytest.FixtureRequest) -> AttentionForm:
    return request.param


@pytest.fixture(scope="module")
def encoder(parity_dir: Path, attention: AttentionForm) -> Encoder:
    state = torch.load(parity_dir / "encoder_tiny.pth", weights_only=True)["encoder"]
    encoder = Encoder(infer_model_config(state, heads=4), PUBLISHED_CONTRACT, attention=attention)
    encoder.load_state_dict(published_to_ours(state))
    return encoder


@pytest.fixture(scope="module")
def jepa(parity_dir: Path, attention: AttentionForm) -> JEPA:
    state = torch.load(parity_dir / "jepa_tiny.pth", weights_only=True)
    config = infer_model_config(state, heads=4, predictor_heads=2)
    jepa = JEPA(config, PUBLISHED_CONTRACT, attention=attention)
    jepa.load_state_dict(published_to_ours(state))
    return jepa


@pytest.fixture(scope="module")
def signal_mv_BLS(parity_dir: Path) -> Tensor:
    return torch.from_numpy(np.load(parity_dir / "input.npy"))


@pytest.fixture(scope="module")
def golden(parity_dir: Path) -> dict[str, Tensor]:
    with np.load(parity_dir / "outputs.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="module")
def expected(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "expected.json").read_text())


def visible_and_hidden(golden: dict[str, Tensor], mask: str) -> tuple[Tensor, Tensor]:
    hidden_P = golden[f"hidden_{mask}"]
    return (~hidden_P).nonzero().T, hidden_P.nonzero().T


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=ABSOLUTE)


def test_representation(encoder: Encoder, signal_mv_BLS: Tensor, golden: dict[str, Tensor]) -> None:
    assert_close(encoder(signal_mv_BLS), golden["representation"])


@pytest.mark.parametrize("name", REDUCED_LEADS)
def test_representation_of_some_leads(
    encoder: Encoder, signal_mv_BLS: Tensor, golden: dict[str, Tensor], name: str
) -> None:
    leads = REDUCED_LEADS[name]
    rows = [PUBLISHED_CONTRACT.leads.index(lead) for lead in leads]
    assert_close(encoder(signal_mv_BLS[:, rows], leads), golden[f"representation_{name}"])
    backwards = encoder(signal_mv_BLS[:, rows[::-1]], leads[::-1])
    assert_close(backwards, golden[f"representation_{name}"])


def test_tokens(jepa: JEPA, signal_mv_BLS: Tensor, golden: dict[str, Tensor]) -> None:
    assert_close(jepa.student.forward_features(signal_mv_BLS).flatten(1, 2), golden["tokens"])
    assert_close(jepa.teacher.forward_features(signal_mv_BLS).flatten(1, 2), golden["teacher_tokens"])


@pytest.mark.parametrize("mask", MASKS)
def test_context_and_prediction(jepa: JEPA, signal_mv_BLS: Tensor, golden: dict[str, Tensor], mask: str) -> None:
    visible, hidden = visible_and_hidden(golden, mask)
    context_BLVD = jepa.student.forward_features(signal_mv_BLS, visible_patches=visible)
    assert_close(context_BLVD.flatten(1, 2), golden[f"context_{mask}"])
    everywhere = jepa.predictor.project(jepa.predictor.forward_features(context_BLVD, visible, hidden))
    assert_close(everywhere.flatten(1, 2), golden[f"predicted_{mask}"])
    predicted_BLMD = jepa.predictor(context_BLVD, visible, hidden)
    assert_close(predicted_BLMD, everywhere[:, :, visible.shape[1] :])


@pytest.mark.parametrize("rows", [1, 4], ids=["one mask per batch", "one mask per record"])
@pytest.mark.parametrize("mask", MASKS)
def test_loss_and_gradients(
    jepa: JEPA,
    signal_mv_BLS: Tensor,
    golden: dict[str, Tensor],
    expected: dict[str, Any],
    mask: str,
    rows: int,
) -> None:
    visible, hidden = (patches.expand(rows, -1) for patches in visible_and_hidden(golden, mask))
    jepa.zero_grad()
    loss = jepa(signal_mv_BLS, visible, hidden)
    loss.backward()
    assert loss.item() == pytest.approx(expected["loss"][mask], abs=1e-6, rel=0)
    found = {
        published_name(name): parameter.grad.norm().item()
        for name, parameter in jepa.named_parameters()
        if parameter.grad is not None
    }
    assert found == pytest.approx(expected["gradient_norms"][mask], rel=1e-4)


def test_the_published_size_takes_the_published_keys_and_shapes(parity_dir: Path) -> None:
    shapes = json.loads((parity_dir / "published_encoder_shapes.json").read_text())
    with torch.device("meta"):
        state = {name: torch.zeros(shape) for name, shape in shapes.items()}
    state["pos_embed"] = position_table(8, 50, 768).flatten(0, 1)
    config = infer_model_config(state)
    assert (config.width, config.depth, config.heads, config.mlp_ratio) == (768, 12, 16, 4)
    with torch.device("meta"):
        encoder = Encoder(config, PUBLISHED_CONTRACT)
    encoder.load_state_dict(published_to_ours(state), assign=True)
    table = encoder.position_LPD.numel()
    assert sum(weights.numel() for weights in encoder.parameters()) + table == pytest.approx(85.4e6, rel=1e-3)
