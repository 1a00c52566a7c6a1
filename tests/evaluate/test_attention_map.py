"""The attention that is drawn is the attention that the encoder computes."""

import numpy as np
import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.evaluate.attention_map import attention_maps, attention_received, attention_weights, rollout
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=2)
MODEL = ModelConfig(width=16, depth=3, heads=4, patch_samples=25, predictor_width=8, predictor_heads=2)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    encoder = Encoder(MODEL, CONTRACT, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.qkv.weight *= 40  # attention that is far from even
    return encoder


@pytest.fixture
def signal_mv() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 200)).astype(np.float32)


def test_weights_of_two_leads_and_two_patches_are_those_by_hand() -> None:
    # One head of width 1: query, key, value. Only the first token asks for anything.
    qkv = torch.zeros(2, 2, 3)
    qkv[0, 0, 0] = 1.0
    qkv[..., 1] = torch.log(torch.tensor([[1.0, 2.0], [5.0, 100.0]]))
    everything = torch.ones(2, 2, dtype=torch.bool)
    # Token 0 sees itself, its lead (1) and its moment (2); the far corner (3) it does not see.
    third = 1 / 3
    expected = [[1 / 8, 2 / 8, 5 / 8, 0], [third, third, 0, third], [third, 0, third, third], [0, third, third, third]]
    torch.testing.assert_close(attention_weights(qkv, 1, everything)[0], torch.tensor(expected))
    without_2 = everything.clone()
    without_2[1, 0] = False
    expected = [[1 / 3, 2 / 3, 0, 0], [third, third, 0, third], [third, 0, third, third], [0, 1 / 2, 0, 1 / 2]]
    torch.testing.assert_close(attention_weights(qkv, 1, without_2)[0], torch.tensor(expected))


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("leads", [None, ("V1", "I"), ("II",)])
def test_maps_times_values_are_what_the_encoder_attends_to(encoder, signal_mv, leads, gap) -> None:
    signal_mv = signal_mv[: 3 if leads is None else len(leads)]
    if gap:
        signal_mv[0, 60:90] = np.nan
    present = ~np.isnan(signal_mv).reshape(len(signal_mv), 8, 25).any(axis=-1)
    inputs, outputs = [], []
    hooks = [block.attn.qkv.register_forward_hook(lambda *io: inputs.append(io[2][0])) for block in encoder.blocks]
    hooks += [
        block.attn.proj.register_forward_pre_hook(lambda _, x: outputs.append(x[0][0])) for block in encoder.blocks
    ]
    try:
        maps = attention_maps(encoder, signal_mv, leads, [1, 2, 3])
    finally:
        for hook in hooks:
            hook.remove()
    for map_HNN, qkv, attended in zip(maps, inputs, outputs, strict=True):
        torch.testing.assert_close(map_HNN.sum(dim=-1), torch.ones(map_HNN.shape[:2]))
        value = qkv.flatten(0, 1).unflatten(-1, (3, 4, 4))[:, 2].transpose(0, 1)
        found = (map_HNN @ value).transpose(0, 1).flatten(1)
        there = torch.from_numpy(present.ravel())
        torch.testing.assert_close(found[there], attended.flatten(0, 1)[there])
    assert maps[2].std() > 0.05


def test_received_is_the_mean_over_heads_and_other_queries(encoder, signal_mv) -> None:
    received = attention_received(encoder, signal_mv, layer=2)
    (map_HNN,) = attention_maps(encoder, signal_mv, None, [2])
    expected = [
        np.mean([map_HNN[h, query, key] for h in range(4) for query in range(24) if query != key]) for key in range(24)
    ]
    np.testing.assert_allclose(received.ravel(), expected / np.sum(expected), rtol=1e-5)
    assert received.shape == (3, 8)
    assert received.sum() == pytest.approx(1)
    np.testing.assert_array_equal(
        attention_received(encoder, signal_mv), attention_received(encoder, signal_mv, layer=3)
    )
    assert not np.allclose(attention_received(encoder, signal_mv), received)


def test_a_patch_with_a_gap_receives_and_gives_nothing(encoder, signal_mv) -> None:
    received = {}
    for junk in (0.0, 9.0):
        signal_mv[1, 50:75] = junk
        signal_mv[1, 60] = np.nan
        for layer in (3, "rollout"):
            received[junk, layer] = attention_received(encoder, signal_mv, layer=layer)
            assert np.isnan(received[junk, layer]).sum() == 1
            assert np.isnan(received[junk, layer][1, 2])
            assert np.nansum(received[junk, layer]) == pytest.approx(1)
    np.testing.assert_array_equal(received[0.0, 3], received[9.0, 3])
    np.testing.assert_array_equal(received[0.0, "rollout"], received[9.0, "rollout"])


def test_even_attention_is_even(signal_mv) -> None:
    encoder = Encoder(MODEL, CONTRACT)
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.qkv.weight.zero_()
    for layer in (1, "rollout"):
        np.testing.assert_allclose(attention_received(encoder, signal_mv, layer=layer), 1 / 24, rtol=1e-5)


def test_rollout_is_the_product_with_the_residual_path() -> None:
    first = torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    second = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    # (second + 1) / 2 @ (first + 1) / 2
    torch.testing.assert_close(rollout([first, second]), torch.tensor([[0.375, 0.625], [0.375, 0.625]]))


def test_hooks_are_gone_afterwards_and_wrong_layers_are_refused(encoder, signal_mv) -> None:
    attention_received(encoder, signal_mv, layer="rollout")
    assert not any(block.attn.qkv._forward_hooks for block in encoder.blocks)
    with pytest.raises(ValueError, match="leads: expected distinct ones"):
        attention_received(encoder, signal_mv, ("I", "II", "aVR"))
    assert not any(block.attn.qkv._forward_hooks for block in encoder.blocks)
    for layer in (0, 4):
        with pytest.raises(ValueError, match=f"layer {layer}, expected 1 to 3 or 'rollout'"):
            attention_received(encoder, signal_mv, layer=layer)
    with pytest.raises(ValueError, match="1 tokens, expected two"):
        attention_received(encoder, signal_mv[:1, :25], ("I",))
