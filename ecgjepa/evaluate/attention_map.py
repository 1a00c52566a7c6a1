"""Which tokens of a record the others look at: attention received, of one layer or rolled out over all of them.

Attention says where an encoder takes its values from, not what a decision rests on; that is what `occlusion` asks.

Axes: L leads, S samples, P patches of a lead, N = L * P tokens (n = lead * P + patch), H heads, E width of a head.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from numpy import ndarray
from torch import Tensor

from ecgjepa.model.attention import grid_pattern
from ecgjepa.model.encoder import Encoder
from ecgjepa.patches import present_patches

Layer = int | Literal["rollout"]


def attention_received(
    encoder: Encoder,
    signal_mv_LS: Float32[ndarray, "l s"],
    leads: Sequence[str] | None = None,
    layer: Layer | None = None,
) -> Float32[ndarray, "l p"]:
    """How much of their attention the other tokens give to each token, (L, P).

    Mean over the heads and over the other tokens as queries, divided by its sum, so that it sums to 1 over the tokens
    that are there; what a token gives to itself does not count.

    Args:
        signal_mv_LS: (L, S) in mV, S a whole number of patches; a patch with a NaN is no token, and NaN in the result.
        leads: names of the L leads; all of the contract where None.
        layer: block 1 to depth, the last where None; or `rollout`, see `rollout`.

    Raises:
        ValueError: no such layer, a signal of the wrong shape, or fewer than two tokens.
    """
    depth = encoder.config.depth
    if layer is not None and layer != "rollout" and not 1 <= layer <= depth:
        raise ValueError(f"attention: layer {layer}, expected 1 to {depth} or 'rollout'")
    present_LP = present_patches(signal_mv_LS, encoder.config.patch_samples)
    if present_LP.sum() < 2:
        raise ValueError(f"attention: {present_LP.sum()} tokens, expected two at least")
    layers = range(1, depth + 1) if layer == "rollout" else [layer or depth]
    maps = attention_maps(encoder, signal_mv_LS, leads, layers)
    map_NN = rollout([each.mean(dim=0) for each in maps]) if layer == "rollout" else maps[0].mean(dim=0)
    there_N = torch.from_numpy(present_LP.ravel()).to(map_NN.device)
    received_N = map_NN.masked_fill(~there_N[:, None], 0).fill_diagonal_(0).sum(dim=0)
    received_N = (received_N / received_N.sum()).masked_fill(~there_N, torch.nan)
    return received_N.float().cpu().numpy().reshape(present_LP.shape)


def attention_maps(
    encoder: Encoder, signal_mv_LS: Float32[ndarray, "l s"], leads: Sequence[str] | None, layers: Iterable[int]
) -> list[Float[Tensor, "h n n"]]:
    """The attention of every head in some blocks (1 to depth): row = query, column = key, rows sum to 1.

    Computed densely from the queries and keys that the encoder itself computes; see `attention_weights`.
    """
    present_LP = present_patches(signal_mv_LS, encoder.config.patch_samples)
    found: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Any, Any, Tensor], None]:
        def hook(_module: Any, _inputs: Any, qkv_BLPX: Tensor) -> None:
            found[layer] = attention_weights(qkv_BLPX[0], encoder.config.heads, torch.from_numpy(present_LP))

        return hook

    device = encoder.position_LPD.device
    signal = torch.from_numpy(np.nan_to_num(signal_mv_LS))[None].to(device)
    present_BLP = None if present_LP.all() else torch.from_numpy(present_LP)[None].to(device)
    wanted = list(layers)
    with ExitStack() as hooks, torch.inference_mode():
        for layer in wanted:
            block: Any = encoder.blocks[layer - 1]
            hooks.callback(block.attn.qkv.register_forward_hook(keep(layer)).remove)
        encoder.forward_features(signal, leads, present_BLP=present_BLP)
    return [found[layer] for layer in wanted]


def attention_weights(
    qkv_LPX: Float[Tensor, "l p x"], heads: int, present_LP: Bool[Tensor, "l p"]
) -> Float[Tensor, "{heads} n n"]:
    """Softmax of the scaled scores over the cross pattern, at least in float32; `present_LP` as in `attend_dense`."""
    leads, patches = qkv_LPX.shape[:2]
    query_HNE, key_HNE, _ = qkv_LPX.flatten(0, 1).unflatten(-1, (3, heads, -1)).permute(1, 2, 0, 3)
    pattern_NN = grid_pattern(leads, patches) & present_LP.flatten()
    pattern_NN |= torch.eye(len(pattern_NN), dtype=torch.bool)
    score_HNN = (query_HNE * query_HNE.shape[-1] ** -0.5) @ key_HNE.mT
    score_HNN = score_HNN.masked_fill(~pattern_NN.to(score_HNN.device), -torch.inf)
    return score_HNN.softmax(dim=-1, dtype=torch.promote_types(score_HNN.dtype, torch.float32))


def rollout(map_NN: Iterable[Float[Tensor, "n n"]]) -> Float[Tensor, "n n"]:
    """Attention of the blocks multiplied, first to last, each with its residual path as half (Abnar and Zuidema, 2020).

    Row = token of the output, column = token of the input; rows sum to 1.
    """
    rolled_NN: Tensor | None = None
    for each_NN in map_NN:
        mixed_NN = (each_NN + torch.eye(len(each_NN), device=each_NN.device)) / 2
        rolled_NN = mixed_NN if rolled_NN is None else mixed_NN @ rolled_NN
    assert rolled_NN is not None, "a rollout needs a layer"
    return rolled_NN
