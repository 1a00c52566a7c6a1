"""From a signal to a grid of patches, and the position of each.

Axes: B records, L leads, S samples (of a lead, or of a patch), P patches of a lead, V patches taken, D width.
"""

import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor


def patchify(signal_mv_BLS: Float[Tensor, "b l samples"], patch_samples: int) -> Float[Tensor, "b l p {patch_samples}"]:
    """Cut every lead into patches, (B, L, S) -> (B, L, P, patch_samples); S must be a multiple of patch_samples."""
    return signal_mv_BLS.unflatten(-1, (-1, patch_samples))


def take_patches(grid_BLPD: Float[Tensor, "#b l p d"], index_BV: Int[Tensor, "#b v"]) -> Float[Tensor, "b_out l v d"]:
    """The patches of every lead that `index_BV` names, (B, L, P, D) -> (B, L, V, D); B may be 1 in either, for all."""
    if index_BV.shape[0] == 1:
        return grid_BLPD.index_select(2, index_BV[0])
    return torch.take_along_dim(grid_BLPD, index_BV[:, None, :, None], dim=2)


def position_table(leads: int, patches: int, width: int) -> Float32[Tensor, "{leads} {patches} {width}"]:
    """Fixed positions: half of the width codes the patch, the other half the lead, each as sines, then cosines.

    Raises:
        ValueError: the width is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"position table: expected a width that is a multiple of 4, found {width}")
    patch_PE = _sines(patches, width // 2).expand(leads, -1, -1)
    lead_LE = _sines(leads, width // 2)[:, None].expand(-1, patches, -1)
    return torch.cat([patch_PE, lead_LE], dim=-1)


def _sines(count: int, width: int) -> Float32[Tensor, "{count} {width}"]:
    frequency_E = 10_000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angle_NE = torch.arange(count, dtype=torch.float64)[:, None] * frequency_E
    return torch.cat([angle_NE.sin(), angle_NE.cos()], dim=-1).float()
