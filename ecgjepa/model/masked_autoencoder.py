"""Masked autoencoder: the encoder sees some patches, a narrow decoder draws the waveform of the others.

Axes: B records, L leads, S samples (of a lead, or of a patch), P patches of a lead, V visible, H hidden patches,
K masks of a record, R = K * B rows of masks, mask by mask, D width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.jepa import for_every_mask
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import patchify, take_patches
from ecgjepa.signal import SignalContract

FLAT_MV = 0.02  # a quarter of PTB-XL's patches of 0.2 s have a smaller standard deviation


class MaskedAutoencoder(nn.Module):
    """Student and decoder (He et al. 2022, arXiv:2111.06377; on ECGs MaeFE, Zhang et al. 2022, and ST-MEM, Na et al.
    2024, arXiv:2402.09450).

    As in ST-MEM the decoder sees each lead alone and the error is that of hidden patches only. As in MaeFE's MTAE a
    patch is hidden in all leads at once.
    """

    teacher: None = None

    def __init__(
        self,
        config: ModelConfig,
        contract: SignalContract,
        *,
        generator: torch.Generator | None = None,
        attention: AttentionForm = "factorised",
    ) -> None:
        super().__init__()
        self.student = Encoder(config, contract, generator=generator, attention=attention)
        self.decoder = Predictor(config, self.student.patches, outputs=config.patch_samples, generator=generator)

    @property
    def encoder(self) -> Encoder:
        """What evaluation reads."""
        return self.student

    def forward(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        visible_patches: Int[Tensor, "rows v"],
        hidden_patches: Int[Tensor, "rows h"],
        path_scale: Float[Tensor, "depth 2 r"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean squared error at the hidden patches, of targets made by `target`; float32.

        Args:
            signal_mv_BLS: (B, L, S) in mV.
            visible_patches: (1, V) for all records, or (R, V), row k * B + b for mask k of record b.
            hidden_patches: (1, H) or (R, H).
            path_scale: (depth, 2, R) factors of the student's branches, from `drop_path_scales`.
        """
        signal_mv_RLS = for_every_mask(signal_mv_BLS, visible_patches)
        context_RLVD = self.student.forward_features(
            signal_mv_RLS, visible_patches=visible_patches, path_scale=path_scale
        )
        drawn_RLHS = self.decoder(context_RLVD, visible_patches, hidden_patches)
        return F.mse_loss(drawn_RLHS.float(), self.target(signal_mv_RLS, hidden_patches))

    def target(
        self, signal_mv_RLS: Float[Tensor, "r l samples"], hidden_patches: Int[Tensor, "#r h"]
    ) -> Float[Tensor, "r l h patch"]:
        """Hidden patches less their mean, over their standard deviation, (R, L, H, S), no unit.

        As in the configurations released with ST-MEM for itself and for MTAE (`norm_pix_loss`), which standardise the
        whole record before. Without it QRS complexes and sources of high gain are nearly all of the error. The variance
        has the floor `FLAT_MV` squared, so that steps of the converter in a flat patch are not blown up. What amplitude
        is lost to the target, the encoder still sees.
        """
        hidden_RLHS = take_patches(patchify(signal_mv_RLS.float(), self.student.config.patch_samples), hidden_patches)
        variance_RLH1, mean_RLH1 = torch.var_mean(hidden_RLHS, dim=-1, keepdim=True, correction=0)
        return (hidden_RLHS - mean_RLH1) / (variance_RLH1 + FLAT_MV**2).sqrt()

    def update_teacher(self, momentum: float) -> None:
        """There is none."""

    def extra_inputs(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Further arguments of `forward` that are chance: none."""
        return {}
