"""The encoder: a signal of any of its leads -> a feature per patch, and their mean.

Axes: B records, L leads given, S samples, P patches of a lead, V patches taken, D width.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import Attend, attend_dense, attend_factorised, grid_pattern, linear
from ecgjepa.model.tokens import patchify, position_table, take_patches
from ecgjepa.model.transformer import Stack, initialise
from ecgjepa.signal import SignalContract

AttentionForm = Literal["factorised", "dense"]


class Encoder(nn.Module):
    """Vision transformer with cross-pattern attention over the patches of an ECG (arXiv:2410.08559, section 3.2).

    Behaves the same in training and evaluation: chance comes in as `path_scale` only.

    Args:
        config: sizes.
        contract: leads, sampling rate and duration of the signals it takes.
        generator: source of the initial weights; torch's own where None.
        attention: how cross-pattern attention is computed; both give the same numbers.

    Raises:
        ValueError: the duration is not a whole number of patches.
    """

    position_LPD: Tensor
    pattern_NN: Tensor

    def __init__(
        self,
        config: ModelConfig,
        contract: SignalContract,
        *,
        generator: torch.Generator | None = None,
        attention: AttentionForm = "factorised",
    ) -> None:
        super().__init__()
        if contract.samples % config.patch_samples:
            raise ValueError(
                f"encoder: expected a whole number of patches of {config.patch_samples} samples, "
                f"found {contract.samples} samples"
            )
        self.config, self.contract, self.attention = config, contract, attention
        leads, self.patches = len(contract.leads), contract.samples // config.patch_samples
        self.patch_embed = linear(config.patch_samples, config.width)
        self.blocks = Stack(config.width, config.depth, config.heads, config.mlp_ratio)
        self.norm = nn.LayerNorm(config.width)
        self.register_buffer("position_LPD", position_table(leads, self.patches, config.width), persistent=False)
        if attention == "dense":
            self.register_buffer("pattern_NN", grid_pattern(leads, self.patches), persistent=False)
        self.initialise(generator)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Give every weight its initial value."""
        initialise(self, generator)

    def forward(
        self, signal_mv_BLS: Float[Tensor, "b l samples"], leads: Sequence[str] | None = None
    ) -> Float[Tensor, "b d"]:
        """Representation of each record: the mean of the features of all its patches."""
        return self.pool(self.forward_features(signal_mv_BLS, leads))

    def forward_features(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        leads: Sequence[str] | None = None,
        visible_patches: Int[Tensor, "#b v"] | None = None,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, "b l v d"]:
        """Features of the patches that are there.

        Args:
            signal_mv_BLS: (B, L, S) in mV, S as the contract says.
            leads: names of the L leads; all of the contract where None. Those left out do not exist for the others.
            visible_patches: (1, V) or (B, V) distinct patches to look at, the same in every lead; all where None.
            path_scale: factors from `drop_path_scales`; no branch is dropped where None.

        Returns:
            (B, L, V, D), patches in the order of `visible_patches`.

        Raises:
            ValueError: the shape of the signal is not that of the leads and the contract, or a lead is unknown.
        """
        position_BLPD = self._positions(leads)[None]
        self._check(signal_mv_BLS, position_BLPD.shape[1])
        patches_BLPS = patchify(signal_mv_BLS, self.config.patch_samples)
        if visible_patches is not None:
            patches_BLPS = take_patches(patches_BLPS, visible_patches)
            position_BLPD = take_patches(position_BLPD, visible_patches)
        tokens_BLVD = self.patch_embed(patches_BLPS)
        if self.config.patch_norm:
            tokens_BLVD = F.layer_norm(tokens_BLVD, tokens_BLVD.shape[-1:])
        attend = self._attend(*tokens_BLVD.shape[1:3])
        return self.norm(self.blocks(tokens_BLVD, position_BLPD, attend, path_scale))

    def pool(self, features_BLVD: Float[Tensor, "b l v d"]) -> Float[Tensor, "b d"]:
        """The mean over leads and patches."""
        return features_BLVD.mean(dim=(1, 2))

    def _positions(self, leads: Sequence[str] | None) -> Float[Tensor, "l p d"]:
        if leads is None:
            return self.position_LPD
        unknown = [lead for lead in leads if lead not in self.contract.leads]
        if unknown or not leads or len(set(leads)) != len(leads):
            raise ValueError(f"leads: expected distinct ones of {self.contract.leads}, found {tuple(leads)}")
        return self.position_LPD[[self.contract.leads.index(lead) for lead in leads]]

    def _check(self, signal_mv_BLS: Tensor, leads: int) -> None:
        expected = (leads, self.contract.samples)
        if signal_mv_BLS.ndim != 3 or tuple(signal_mv_BLS.shape[1:]) != expected:
            raise ValueError(
                f"signal: expected shape (records, {expected[0]} leads, {expected[1]} samples), "
                f"found {tuple(signal_mv_BLS.shape)}"
            )

    def _attend(self, leads: int, patches: int) -> Attend:
        if self.attention == "factorised":
            return attend_factorised
        # The rule asks only for equal leads and equal patches, so any L x V corner of the grid has the pattern.
        pattern_LPLP = self.pattern_NN.view(2 * (len(self.contract.leads), self.patches))
        corner_NN = pattern_LPLP[:leads, :patches, :leads, :patches].reshape(2 * (leads * patches,))
        return partial(attend_dense, pattern_NN=corner_NN)
