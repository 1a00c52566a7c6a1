"""Masks as pure functions of a Generator: which patches in time are hidden, in every lead alike.

Axes: P patches in time, V visible ones, H hidden ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Generator, Tensor

from ecgjepa.config import MaskConfig


@dataclass(frozen=True)
class Mask:
    """Indices of the visible and of the hidden patches, each ascending, together all of them; at least one of each.

    The first axis is 1: one mask for the whole batch (arXiv:2410.08559 and its released code).
    """

    visible: Int64[Tensor, "1 v"]
    hidden: Int64[Tensor, "1 h"]

    def to(self, device: torch.device) -> "Mask":
        """The same mask on a device."""
        return Mask(self.visible.to(device), self.hidden.to(device))


def draw_mask(config: MaskConfig, patches: int, generator: Generator) -> Mask:
    """Draw one mask of the configured type over (P,) patches.

    Raises:
        ValueError: fewer than two patches, of which one is to be hidden and one to be seen.
    """
    if patches < 2:
        raise ValueError(f"a mask needs at least 2 patches, found {patches}")
    draw = random_mask if config.type == "random" else block_mask
    hidden_P = draw(config, patches, generator)
    if hidden_P.all():
        hidden_P[_randint(patches, generator)] = False
    if not hidden_P.any():
        hidden_P[_randint(patches, generator)] = True
    return Mask(visible=(~hidden_P).nonzero().T.contiguous(), hidden=hidden_P.nonzero().T.contiguous())


def random_mask(config: MaskConfig, patches: int, generator: Generator) -> Tensor:
    """floor(P * ratio) single patches, ratio uniform in the scale; (P,) bool, True = hidden."""
    count = int(patches * _uniform(config.share, generator))
    hidden_P = torch.zeros(patches, dtype=torch.bool)
    hidden_P[torch.randperm(patches, generator=generator)[:count]] = True
    return hidden_P


def block_mask(config: MaskConfig, patches: int, generator: Generator) -> Tensor:
    """Blocks of floor(P * ratio) neighbours, which may overlap; (P,) bool, True = hidden.

    The start is uniform over all places at which the block fits, so that the last patch is hidden as well (the
    released code leaves it out).
    """
    hidden_P = torch.zeros(patches, dtype=torch.bool)
    for _ in range(config.blocks):
        length = int(patches * _uniform(config.share, generator))
        start = _randint(patches - length + 1, generator)
        hidden_P[start : start + length] = True
    return hidden_P


def _uniform(bounds: tuple[float, float], generator: Generator) -> float:
    low, high = bounds
    return low + (high - low) * torch.rand((), generator=generator).item()


def _randint(end: int, generator: Generator) -> int:
    return int(torch.randint(end, (), generator=generator))
