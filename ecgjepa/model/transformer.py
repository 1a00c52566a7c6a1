"""Pre-norm transformer blocks on a grid of tokens, their initial weights, and stochastic depth from outside.

Axes: B records, L leads, V patches, K patches kept, D width, I blocks.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ecgjepa.model.attention import Attend, Attention, linear
from ecgjepa.model.tokens import take_patches

INITIAL_STD = 0.02


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = linear(width, hidden)
        self.fc2 = linear(hidden, width)

    def forward(self, tokens_BLVD: Float[Tensor, "b l v d"]) -> Float[Tensor, "b l v d"]:
        return self.fc2(F.gelu(self.fc1(tokens_BLVD)))


class Block(nn.Module):
    """Attention, then an MLP, each behind a LayerNorm and added to what came in."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, round(width * mlp_ratio))

    def forward(
        self,
        tokens_BLVD: Float[Tensor, "b l v d"],
        attend: Attend,
        path_scale: Float[Tensor, "2 b"] | None = None,
        kept_patches: Int[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b l kept d"]:
        """Tokens of all patches, or of the kept ones, which still see all."""
        attended_BLKD = self.attn(self.norm1(tokens_BLVD), attend, kept_patches)
        if path_scale is not None:
            attended_BLKD = attended_BLKD * path_scale[0, :, None, None, None]
        kept_BLKD = tokens_BLVD if kept_patches is None else take_patches(tokens_BLVD, kept_patches)
        kept_BLKD = kept_BLKD + attended_BLKD
        mixed_BLKD = self.mlp(self.norm2(kept_BLKD))
        if path_scale is not None:
            mixed_BLKD = mixed_BLKD * path_scale[1, :, None, None, None]
        return kept_BLKD + mixed_BLKD


class Stack(nn.ModuleList):
    """Blocks in a row; the position is added again before every one (released code of arXiv:2410.08559).

    Attributes:
        checkpointing: keep only what enters each block, and compute the rest again in the backward pass: the same
            gradients from less memory, for a third more operations.
    """

    checkpointing: bool = False

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float) -> None:
        super().__init__(Block(width, heads, mlp_ratio) for _ in range(depth))

    def forward(
        self,
        tokens_BLVD: Float[Tensor, "b l v d"],
        position_BLVD: Float[Tensor, "#b #l v d"],
        attend: Attend,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
        blocks: int | None = None,
        kept_patches: Int[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b l kept d"]:
        """The tokens after the first `blocks` blocks, after all of them where None.

        Those of the kept patches alone are computed to the end: in the last block the others are only seen.
        """
        last = len(self) if blocks is None else min(blocks, len(self))
        for i, block in enumerate(itertools.islice(self, last)):
            scale_2B = None if path_scale is None else path_scale[i]
            given = (tokens_BLVD + position_BLVD, attend, scale_2B, kept_patches if i + 1 == last else None)
            if self.checkpointing and torch.is_grad_enabled():
                tokens_BLVD = checkpoint(block, *given, use_reentrant=False, preserve_rng_state=False)
            else:
                tokens_BLVD = block(*given)
        return tokens_BLVD


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Published initial weights, drawn from `generator`, else from torch's own.

    Truncated normal of std 0.02 cut at +-2, biases 0; the last layer of each branch of block i over sqrt(2 * (i + 1)).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=INITIAL_STD, a=-2, b=2, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.LayerNorm):
            layer.reset_parameters()
    for stack in (layer for layer in module.modules() if isinstance(layer, Stack)):
        for i, block in enumerate(stack):
            assert isinstance(block, Block)
            block.attn.proj.weight.div_(math.sqrt(2 * (i + 1)))
            block.mlp.fc2.weight.div_(math.sqrt(2 * (i + 1)))


def drop_path_scales(
    rate: float, depth: int, batch: int, generator: torch.Generator
) -> Float[Tensor, "{depth} 2 {batch}"]:
    """Stochastic depth: what each branch (attention, MLP) of each block is multiplied with, per record.

    0 with a probability that rises linearly from 0 in the first block to `rate` in the last, else one over the
    probability of staying, so that the mean is 1. On the generator's device.
    """
    keep_I11 = 1 - torch.linspace(0, rate, depth, device=generator.device)[:, None, None]
    drawn = torch.rand(depth, 2, batch, generator=generator, device=generator.device)
    return (drawn < keep_I11) / keep_I11
