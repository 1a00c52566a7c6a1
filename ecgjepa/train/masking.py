"""Masks as pure functions of a Generator: which patches in time are hidden, in every lead alike.

One mask for all records of a batch, as published, or one for each record. Either way all masks of a batch hide the
same number of patches, so that records run together. Blocks lie on a circle: one that passes the end of the record goes
on at its begin, so that every patch is hidden equally often.

Axes: K masks of a record, B records (1: the mask is that of all), P patches in time, V visible ones, H hidden ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Generator, Tensor

from ecgjepa.config import MaskConfig


@dataclass(frozen=True)
class Masks:
    """Indices of the visible and of the hidden patches, each ascending, together all of them; at least one of each."""

    visible_KBV: Int64[Tensor, "k b v"]
    hidden_KBH: Int64[Tensor, "k b h"]


def draw_masks(
    config: MaskConfig, patches: int, records: int, generator: Generator, *, reference: bool = False
) -> Masks:
    """Draw the masks of a batch over (P,) patches.

    Args:
        config: type, share, scope, and number of masks of a record.
        records: of the batch.
        reference: blocks as the released code draws them.

    Raises:
        ValueError: fewer than two patches, of which one is to be hidden and one to be seen.
    """
    if patches < 2:
        raise ValueError(f"a mask needs at least 2 patches, found {patches}")
    rows = config.masks_per_record * (records if config.scope == "record" else 1)
    if config.type == "random":
        hidden_RP = _random(config, patches, rows, generator)
    elif reference:
        hidden_RP = _released_blocks(config, patches, generator)
    else:
        hidden_RP = _blocks(config, patches, rows, generator)
    hidden_KBP = hidden_RP.view(config.masks_per_record, -1, patches)
    return Masks(_places(~hidden_KBP), _places(hidden_KBP))


def mask_coverage(config: MaskConfig, patches: int, *, reference: bool = False, draws: int = 2000) -> list[float]:
    """How often each patch is hidden, as a share of many masks."""
    generator, total_P = Generator().manual_seed(0), torch.zeros(patches)
    for _ in range(draws):
        masks = draw_masks(config.model_copy(update={"scope": "batch"}), patches, 1, generator, reference=reference)
        total_P.index_add_(0, masks.hidden_KBH.flatten(), torch.ones(masks.hidden_KBH.numel()))
    return (total_P / (draws * config.masks_per_record)).tolist()


def _random(config: MaskConfig, patches: int, rows: int, generator: Generator) -> Bool[Tensor, "r p"]:
    """floor(P * ratio) single patches in every row, ratio uniform in the share."""
    count = _hide(int(patches * _uniform(config.share, (), generator)), patches)
    return _lowest(torch.rand(rows, patches, generator=generator), count)


def _blocks(config: MaskConfig, patches: int, rows: int, generator: Generator) -> Bool[Tensor, "r p"]:
    """Blocks of floor(P * ratio) neighbours on a circle, which may overlap; their number hidden is that of the first.

    A row with more gives up patches at the rims of its blocks, one with fewer takes those beside them.
    """
    lengths_RN1 = (patches * _uniform(config.share, (rows, config.blocks, 1), generator)).long()
    starts_RN1 = torch.randint(patches, (rows, config.blocks, 1), generator=generator)
    hidden_RP = ((torch.arange(patches) - starts_RN1) % patches < lengths_RN1).any(dim=1)
    place_P = torch.arange(patches)
    apart_PP = (place_P[:, None] - place_P).abs()
    apart_PP = torch.minimum(apart_PP, patches - apart_PP)
    outside_RP = apart_PP.where(hidden_RP[:, None], patches).amin(dim=-1)
    inside_RP = apart_PP.where(~hidden_RP[:, None], patches).amin(dim=-1)
    ties_RP = torch.rand(rows, patches, generator=generator)
    return _lowest(outside_RP - inside_RP + ties_RP, _hide(int(hidden_RP[0].sum()), patches))


def _released_blocks(config: MaskConfig, patches: int, generator: Generator) -> Bool[Tensor, "1 p"]:
    """Blocks as in the released code: starts of 0 to P - n - 1, so that the last patch is never hidden."""
    hidden_1P = torch.zeros(1, patches, dtype=torch.bool)
    for _ in range(config.blocks):
        length = max(1, int(patches * _uniform(config.share, (), generator)))
        start = int(torch.randint(patches - length, (), generator=generator))
        hidden_1P[0, start : start + length] = True
    return hidden_1P


def _hide(count: int, patches: int) -> int:
    return min(max(count, 1), patches - 1)


def _lowest(values_RP: Tensor, count: int) -> Bool[Tensor, "r p"]:
    lowest_RH = values_RP.argsort(dim=1)[:, :count]
    return torch.zeros(values_RP.shape, dtype=torch.bool).scatter_(1, lowest_RH, True)


def _places(chosen_KBP: Tensor) -> Int64[Tensor, "k b chosen"]:
    """Indices of what is True, as many in every row."""
    return chosen_KBP.nonzero()[:, -1].view(*chosen_KBP.shape[:2], -1)


def _uniform(bounds: tuple[float, float], shape: tuple[int, ...], generator: Generator) -> Tensor:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator)
