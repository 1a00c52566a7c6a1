"""The encoder: a signal of any of its leads -> a feature per patch, and their mean.

Axes: B records, L leads given, S samples, P patches of a lead, V patches taken, D width.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Int, Shaped
from numpy import ndarray
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import Attend, attend_dense, attend_factorised, grid_pattern, linear
from ecgjepa.model.tokens import patchify, position_table, take_patches
from ecgjepa.model.transformer import Stack, initialise
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Which

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

    @property
    def width(self) -> int:
        """Length of the features."""
        return self.config.width

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
        present_BLP: Bool[Tensor, "b l p"] | None = None,
        layer: int | None = None,
        kept_patches: Int[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b l kept d"]:
        """Features of the patches that are there.

        Args:
            signal_mv_BLS: (B, L, S) in mV, finite; S samples are the first whole patches of what the contract says,
                or all of them.
            leads: names of the L leads; all of the contract where None. Those left out do not exist for the others.
            visible_patches: (1, V) or (B, V) distinct patches to look at, the same in every lead; all where None.
            path_scale: factors from `drop_path_scales`; no branch is dropped where None.
            present_BLP: False where a patch of one lead is missing: no other token sees it, and its own features
                mean nothing. None where all are there. Cheaper are leads and patches that are left out.
            layer: give the tokens after this block, 1 to depth, without the final LayerNorm; with it where None.
            kept_patches: (1, K) or (B, K) which of the V patches are computed to the end, 0 to V - 1; all where None.
                They see the others all the same.

        Returns:
            (B, L, V, D), patches in the order of `visible_patches`; (B, L, K, D) in the order of `kept_patches`.

        Raises:
            ValueError: the shape of the signal is not that of the leads and the contract; a lead or layer is unknown.
        """
        if layer is not None and not 1 <= layer <= self.config.depth:
            raise ValueError(f"layer: expected 1 to {self.config.depth}, found {layer}")
        position_LPD = self._positions(leads)
        self._check(signal_mv_BLS, len(position_LPD))
        patches_BLPS = patchify(signal_mv_BLS, self.config.patch_samples)
        position_BLPD = position_LPD[None, :, : patches_BLPS.shape[2]]
        if visible_patches is not None:
            patches_BLPS = take_patches(patches_BLPS, visible_patches)
            position_BLPD = take_patches(position_BLPD, visible_patches)
            if present_BLP is not None:
                present_BLP = take_patches(present_BLP[..., None].float(), visible_patches)[..., 0] > 0
        tokens_BLVD = self.patch_embed(patches_BLPS)
        if self.config.patch_norm:
            tokens_BLVD = F.layer_norm(tokens_BLVD, tokens_BLVD.shape[-1:])
        attend = self._attend(tokens_BLVD.shape[1], tokens_BLVD.shape[2], present_BLP)
        tokens_BLVD = self.blocks(tokens_BLVD, position_BLPD, attend, path_scale, layer, kept_patches)
        return self.norm(tokens_BLVD) if layer is None else tokens_BLVD

    def tokens(self, signal_mv_BLS: Float[Tensor, "b l samples"]) -> Float[Tensor, "b t d"]:
        """Features of all patches of the contract's leads in one row, lead by lead, (B, T, D)."""
        return self.forward_features(signal_mv_BLS).flatten(1, 2)

    def pool(
        self, features_BLVD: Float[Tensor, "b l v d"], present_BLV: Bool[Tensor, "b l v"] | None = None
    ) -> Float[Tensor, "b d"]:
        """The mean over leads and patches, over those that are present."""
        if present_BLV is None:
            return features_BLVD.mean(dim=(1, 2))
        weight_BLV1 = present_BLV[..., None].to(features_BLVD.dtype)
        return (features_BLVD * weight_BLV1).sum(dim=(1, 2)) / weight_BLV1.sum(dim=(1, 2))

    def embed(
        self,
        signal: Shaped[ndarray, "*batch leads samples"] | Float[Tensor, "*batch leads samples"],
        *,
        sampling_rate_hz: float,
        leads: Sequence[str] | None = None,
        unit: str = "mV",
        gain_per_mv: float | None = None,
        windows: Which | Literal["mean"] = "first",
        layer: int | None = None,
        tokens: bool = False,
        batch_size: int = 16,
    ) -> Float32[ndarray, "..."]:
        """Embed one ECG or several of any sampling rate, leads, unit and length.

        Leads are taken by name; I and II are derived from any two limb leads. Missing leads, missing seconds, and
        samples that are NaN are left out. One lead and one second are enough.

        Args:
            signal: (L, S), or (B, L, S), numbers in `unit`.
            sampling_rate_hz: samples per second, 50 to 20,000.
            leads: L names in the order of the rows. Where None, 12 rows are I, II, III, aVR, aVL, aVF, V1 to V6, and
                as many rows as the contract has leads are these.
            unit: `mV`, `uV`, `V`, `nV`, or `adc` for counts, with `gain_per_mv` counts per mV.
            windows: of what is longer than the contract's seconds: the `first` window, `all` of them, or their `mean`,
                weighted by tokens.
            layer: give the tokens after this block, 1 to depth, without the final LayerNorm; the output where None.
            tokens: give every token instead of their mean; not with `mean`.
            batch_size: windows that run at once.

        Returns:
            (D,) or (B, D) float32. With `all`, (W, D) or (B, W, D) for W windows. With `tokens`, D becomes (L, P, D)
            over all leads and patches of the contract, NaN where there is no token.

        Raises:
            RefusedRecordError: an ECG that cannot be brought to the contract, with the reason; of several ECGs it is
                `signal[3]`, say.
        """
        from ecgjepa.model.embedding import embed_signals

        return embed_signals(
            self,
            signal,
            sampling_rate_hz=sampling_rate_hz,
            leads=leads,
            unit=unit,
            gain_per_mv=gain_per_mv,
            windows=windows,
            layer=layer,
            tokens=tokens,
            batch_size=batch_size,
        )

    def weights_sha256(self) -> str:
        """SHA-256 over names, types and values of the weights, hexadecimal: which weights a result came from."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _positions(self, leads: Sequence[str] | None) -> Float[Tensor, "l p d"]:
        if leads is None:
            return self.position_LPD
        unknown = [lead for lead in leads if lead not in self.contract.leads]
        if unknown or not leads or len(set(leads)) != len(leads):
            raise ValueError(f"leads: expected distinct ones of {self.contract.leads}, found {tuple(leads)}")
        return self.position_LPD[[self.contract.leads.index(lead) for lead in leads]]

    def _check(self, signal_mv_BLS: Tensor, leads: int) -> None:
        shape, patch_samples = tuple(signal_mv_BLS.shape), self.config.patch_samples
        is_whole = len(shape) == 3 and 0 < shape[2] <= self.contract.samples and shape[2] % patch_samples == 0
        if not is_whole or shape[1] != leads:
            raise ValueError(
                f"signal: expected shape (records, {leads} leads, {self.contract.samples} samples, or fewer that are "
                f"whole patches of {patch_samples}), found {shape}"
            )

    def _attend(self, leads: int, patches: int, present_BLV: Tensor | None) -> Attend:
        if self.attention == "factorised":
            return attend_factorised if present_BLV is None else partial(attend_factorised, present_BLV=present_BLV)
        # The rule asks only for equal leads and equal patches, so any L x V corner of the grid has the pattern.
        pattern_LPLP = self.pattern_NN.view(2 * (len(self.contract.leads), self.patches))
        corner_NN = pattern_LPLP[:leads, :patches, :leads, :patches].reshape(2 * (leads * patches,))
        return partial(attend_dense, pattern_NN=corner_NN, present_BLV=present_BLV)
