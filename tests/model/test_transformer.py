"""Operations that are left out or done twice change no number."""

import pytest
import torch
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import attend_factorised
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.inference import accelerate
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import take_patches
from ecgjepa.model.transformer import Block, Stack, drop_path_scales
from ecgjepa.signal import SignalContract

VISIBLE, HIDDEN = torch.tensor([[0, 3, 4, 8]]), torch.tensor([[1, 2, 5, 6, 7, 9, 10, 11]])


@pytest.fixture
def jepa(config: ModelConfig, contract: SignalContract, generator: torch.Generator) -> JEPA:
    jepa = JEPA(config, contract, generator=generator)
    for weights in jepa.parameters():
        weights.data.normal_(std=0.3, generator=generator)  # initial weights are too small to tell
    return jepa


@pytest.fixture
def path_scale(config: ModelConfig, generator: torch.Generator) -> Tensor:
    return drop_path_scales(0.5, config.depth, 5, generator)


def masks_per_record(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    patches = torch.stack([torch.randperm(12, generator=generator) for _ in range(5)])
    return patches[:, :4], patches[:, 4:]


def loss_and_gradients(jepa: JEPA, *given: Tensor) -> list[Tensor]:
    loss = jepa(*given)
    return [loss, *torch.autograd.grad(loss, [weights for weights in jepa.parameters() if weights.requires_grad])]


@pytest.mark.parametrize("attention", ["factorised", "dense"])
@pytest.mark.parametrize("rows", [1, 5])
def test_kept_patches_are_those_of_all(
    config: ModelConfig,
    contract: SignalContract,
    generator: torch.Generator,
    signal_mv_BLS: Tensor,
    path_scale: Tensor,
    attention: AttentionForm,
    rows: int,
) -> None:
    encoder = Encoder(config, contract, generator=generator, attention=attention)
    kept = HIDDEN if rows == 1 else masks_per_record(generator)[1]
    everywhere = encoder.forward_features(signal_mv_BLS, path_scale=path_scale)
    found = encoder.forward_features(signal_mv_BLS, path_scale=path_scale, kept_patches=kept)
    torch.testing.assert_close(found, take_patches(everywhere, kept), rtol=0, atol=1e-6)
    after_two = encoder.forward_features(signal_mv_BLS, layer=2)
    found = encoder.forward_features(signal_mv_BLS, layer=2, kept_patches=kept)
    torch.testing.assert_close(found, take_patches(after_two, kept), rtol=0, atol=1e-6)


def test_kept_patches_of_an_accelerated_encoder(
    config: ModelConfig, contract: SignalContract, generator: torch.Generator, signal_mv_BLS: Tensor
) -> None:
    fast = accelerate(Encoder(config, contract, generator=generator))
    kept = masks_per_record(generator)[1]
    everywhere = fast.forward_features(signal_mv_BLS)
    found = fast.forward_features(signal_mv_BLS, kept_patches=kept)
    torch.testing.assert_close(found, take_patches(everywhere, kept), rtol=0, atol=1e-5)


def test_kept_patches_have_the_gradients_of_all(config: ModelConfig, generator: torch.Generator) -> None:
    predictor = Predictor(config, 12, generator=generator)
    for weights in predictor.parameters():
        weights.data.normal_(std=0.3, generator=generator)
    features_BLVD = torch.randn(5, 8, 4, config.width, generator=generator).requires_grad_()
    wanted = [features_BLVD, *predictor.parameters()]
    outputs = [
        predictor(features_BLVD, VISIBLE, HIDDEN),
        predictor.project(predictor.forward_features(features_BLVD, VISIBLE, HIDDEN)[:, :, 4:]),
    ]
    gradients = [torch.autograd.grad(output.square().mean(), wanted) for output in outputs]
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-5, atol=1e-6)
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_last_block_computes_no_mlp_for_others(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    shapes = []
    for stack in (jepa.teacher.blocks, jepa.predictor.blocks):
        for block in stack:
            assert isinstance(block, Block)
            block.mlp.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape[2]))
    jepa(signal_mv_BLS, VISIBLE, HIDDEN)
    assert shapes == [12, 12, 8, 12, 8]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_checkpointing_gives_the_same_gradients(
    jepa: JEPA, signal_mv_BLS: Tensor, path_scale: Tensor, generator: torch.Generator, precision: torch.dtype
) -> None:
    given = (signal_mv_BLS, *masks_per_record(generator), path_scale)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        expected = loss_and_gradients(jepa, *given)
        for stack in (module for module in jepa.modules() if isinstance(module, Stack)):
            stack.checkpointing = True
        found = loss_and_gradients(jepa, *given)
    assert all(map(torch.equal, found, expected))


def test_checkpointing_keeps_less_and_computes_again(generator: torch.Generator) -> None:
    stack = Stack(8, 3, 2, mlp_ratio=4.0)
    for weights in stack.parameters():
        weights.data.normal_(generator=generator)
    calls = []
    for block in stack:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    tokens = torch.randn(2, 3, 4, 8, generator=generator)

    def kept_and_calls() -> tuple[int, int]:
        calls.clear()
        saved: list[int] = []

        def pack(kept: Tensor) -> Tensor:
            saved.append(kept.numel())
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
            output = stack(tokens, torch.zeros(1, 1, 4, 8), attend_factorised)
        output.sum().backward()
        return sum(saved), len(calls)

    kept, called = kept_and_calls()
    stack.checkpointing = True
    kept_less, called_more = kept_and_calls()
    assert (called, called_more) == (3, 6)
    assert kept_less < kept / 4
    with torch.no_grad():
        calls.clear()
        stack(tokens, torch.zeros(1, 1, 4, 8), attend_factorised)
    assert len(calls) == 3


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("attention", "checkpointing"), [("factorised", True), ("dense", False)])
def test_compiles_in_one_graph_with_masks_per_record(
    config: ModelConfig,
    contract: SignalContract,
    signal_mv_BLS: Tensor,
    generator: torch.Generator,
    path_scale: Tensor,
    attention: AttentionForm,
    checkpointing: bool,
) -> None:
    torch._dynamo.reset()
    config = config.model_copy(update={"depth": 1, "predictor_depth": 1})
    jepa = JEPA(config, contract, generator=generator, attention=attention)
    for stack in (module for module in jepa.modules() if isinstance(module, Stack)):
        stack.checkpointing = checkpointing
    given = (signal_mv_BLS, *masks_per_record(generator), path_scale[:1])
    expected = loss_and_gradients(jepa, *given)
    jepa.compile(backend="eager", fullgraph=True)
    for found, wanted in zip(loss_and_gradients(jepa, *given), expected, strict=True):
        torch.testing.assert_close(found, wanted)
