"""The plain form of the released scripts, and what the benchmarks of the model share.

Dense attention scores are masked in every block, with a mask that Python loops build anew on every forward pass; all
tokens go through all blocks of teacher and predictor and through the last projection; blocks, optimizer and teacher
update are written as a textbook has them. Weights are those of our modules, nothing else of them is used but the layers
themselves.
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
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.tokens import patchify, take_patches
from ecgjepa.model.transformer import Stack

SIZES = {
    "published": ModelConfig(),
    "small": ModelConfig(width=192, depth=6, heads=4, predictor_width=96, predictor_depth=3, predictor_heads=3),
}
Attend = Callable[..., Tensor]  # queries, keys, values (B, H, N, E) and which keys a query sees (N, N), None for all


def python_pattern(leads: int, patches: int) -> Tensor:
    tokens = [(lead, patch) for lead in range(leads) for patch in range(patches)]
    return torch.tensor([[lead == other or patch == moment for other, moment in tokens] for lead, patch in tokens])


def attend_masked(query: Tensor, key: Tensor, value: Tensor, pattern_NN: Tensor | None) -> Tensor:
    scores_BHNN = (query @ key.mT) * query.shape[-1] ** -0.5
    if pattern_NN is not None:
        scores_BHNN = scores_BHNN.masked_fill(~pattern_NN, -math.inf)
    return scores_BHNN.softmax(dim=-1) @ value


def attend_sdpa(query: Tensor, key: Tensor, value: Tensor, pattern_NN: Tensor | None) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value, attn_mask=pattern_NN)


PLAIN_ATTENTION: dict[str, Attend] = {"masked": attend_masked, "sdpa": attend_sdpa}


def plain_blocks(
    blocks: Stack, tokens_BND: Tensor, position_1ND: Tensor, attend: Attend, path_scale: Tensor | None = None
) -> Tensor:
    batch, tokens, width = tokens_BND.shape
    for i, block in enumerate(blocks):
        tokens_BND = tokens_BND + position_1ND
        qkv = block.attn.qkv(block.norm1(tokens_BND)).reshape(batch, tokens, 3, block.attn.heads, -1)
        attended_BHNE = attend(*qkv.permute(2, 0, 3, 1, 4))
        attended_BND = block.attn.proj(attended_BHNE.transpose(1, 2).reshape(batch, tokens, width))
        if path_scale is not None:
            attended_BND = attended_BND * path_scale[i, 0, :, None, None]
        tokens_BND = tokens_BND + attended_BND
        mixed_BND = block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(tokens_BND))))
        if path_scale is not None:
            mixed_BND = mixed_BND * path_scale[i, 1, :, None, None]
        tokens_BND = tokens_BND + mixed_BND
    return tokens_BND


def plain_features(
    encoder: Encoder, attend: Attend, signal: Tensor, visible: Tensor, path_scale: Tensor | None
) -> Tensor:
    """(B, L, V, D) of the patches `visible`, one mask (1, V) for all records."""
    patches = take_patches(patchify(signal, encoder.config.patch_samples), visible)
    position = take_patches(encoder.position_LPD[None], visible)
    pattern = python_pattern(patches.shape[1], patches.shape[2]).to(signal.device)
    tokens = encoder.patch_embed(patches.flatten(1, 2))
    if encoder.config.patch_norm:
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
    tokens = plain_blocks(
        encoder.blocks, tokens, position.flatten(1, 2), partial(attend, pattern_NN=pattern), path_scale
    )
    return encoder.norm(tokens).unflatten(1, patches.shape[1:3])


def plain_loss(
    jepa: JEPA, attend: Attend, signal: Tensor, visible: Tensor, hidden: Tensor, path_scale: Tensor
) -> Tensor:
    with torch.no_grad():
        every_patch = torch.arange(jepa.student.patches, device=signal.device)[None]
        target = plain_features(jepa.teacher, attend, signal, every_patch, None)
        target = F.layer_norm(target.float(), target.shape[-1:])[:, :, hidden[0]]
    context = plain_features(jepa.student, attend, signal, visible, path_scale)
    predictor = jepa.predictor
    context = predictor.embed(context).flatten(0, 1)  # each lead alone
    tokens = torch.cat([context, predictor.mask_token.to(context.dtype).expand(len(context), hidden.shape[1], -1)], 1)
    position = predictor.position_1PW[:, torch.cat([visible[0], hidden[0]])]
    tokens = plain_blocks(predictor.blocks, tokens, position, partial(attend, pattern_NN=None))
    predicted = predictor.project(predictor.norm(tokens))[:, visible.shape[1] :]
    return F.smooth_l1_loss(predicted.float(), target.flatten(0, 1))


@torch.no_grad()
def plain_update_teacher(jepa: JEPA, momentum: float) -> None:
    for ours, students in zip(jepa.teacher.parameters(), jepa.student.parameters(), strict=True):
        ours.data.mul_(momentum).add_((1 - momentum) * students.detach().data)


def timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds by the clock, and seconds of all cores."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock, cores = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - clock, time.process_time() - cores
