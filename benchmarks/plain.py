"""The plain form of the released scripts, and what the benchmarks of the model share.

The plain form masks dense attention scores with a mask that Python loops build anew on every forward pass.
"""

import math
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.tokens import patchify, take_patches

SIZES = {
    "published": ModelConfig(),
    "small": ModelConfig(width=192, depth=6, heads=4, predictor_width=96, predictor_depth=3, predictor_heads=3),
}


def python_pattern(leads: int, patches: int) -> Tensor:
    tokens = [(lead, patch) for lead in range(leads) for patch in range(patches)]
    return torch.tensor([[lead == other or patch == moment for other, moment in tokens] for lead, patch in tokens])


def attend_masked(query: Tensor, key: Tensor, value: Tensor, pattern_NN: Tensor) -> Tensor:
    query_N, key_N, value_N = (grid.flatten(2, 3) for grid in (query, key, value))
    scores_BHNN = (query_N @ key_N.mT) * query.shape[-1] ** -0.5
    weights_BHNN = scores_BHNN.masked_fill(~pattern_NN, -math.inf).softmax(dim=-1)
    return (weights_BHNN @ value_N).view_as(query)


def attend_sdpa(query: Tensor, key: Tensor, value: Tensor, pattern_NN: Tensor) -> Tensor:
    query_N, key_N, value_N = (grid.flatten(2, 3) for grid in (query, key, value))
    return F.scaled_dot_product_attention(query_N, key_N, value_N, attn_mask=pattern_NN).view_as(query)


PLAIN_ATTENTION = {"masked": attend_masked, "sdpa": attend_sdpa}


def plain_features(
    encoder: Encoder, attend: Callable, signal: Tensor, visible: Tensor, path_scale: Tensor | None
) -> Tensor:
    patches = take_patches(patchify(signal, encoder.config.patch_samples), visible)
    position = take_patches(encoder.position_LPD[None], visible)
    pattern = python_pattern(patches.shape[1], patches.shape[2]).to(signal.device)
    tokens = encoder.patch_embed(patches)
    if encoder.config.patch_norm:
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
    return encoder.norm(encoder.blocks(tokens, position, partial(attend, pattern_NN=pattern), path_scale))


def timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds by the clock, and seconds of all cores."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock, cores = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - cores
