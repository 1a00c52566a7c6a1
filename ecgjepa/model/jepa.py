"""JEPA: a student that sees some patches learns to predict what its own slow average, the teacher, makes of the others.

Axes: B records, L leads, S samples, V visible patches, M hidden patches, D width.
"""

import copy

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import take_patches
from ecgjepa.signal import SignalContract


class JEPA(nn.Module):
    """Student, teacher and predictor (arXiv:2410.08559, section 3).

    The teacher starts as a copy of the student, has no gradients and never drops a path.
    """

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
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = Predictor(config, self.student.patches, generator=generator)

    def loss(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        visible_patches: Int[Tensor, "#b v"],
        hidden_patches: Int[Tensor, "#b m"],
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean smooth L1 distance (beta 1, as released; the paper says L1) between prediction and target.

        Args:
            signal_mv_BLS: (B, L, S) in mV.
            visible_patches: (1, V) for all records, or (B, V) one row per record.
            hidden_patches: (1, M) or (B, M).
            path_scale: factors of the student's branches, from `drop_path_scales`.
        """
        target_BLMD = self.target(signal_mv_BLS, hidden_patches)
        context_BLVD = self.student.forward_features(
            signal_mv_BLS, visible_patches=visible_patches, path_scale=path_scale
        )
        predicted_BLMD = self.predictor(context_BLVD, visible_patches, hidden_patches)
        return F.smooth_l1_loss(predicted_BLMD.float(), target_BLMD)

    @torch.no_grad()
    def target(
        self, signal_mv_BLS: Float[Tensor, "b l samples"], hidden_patches: Int[Tensor, "#b m"]
    ) -> Float[Tensor, "b l m d"]:
        """What the teacher, who sees everything, makes of the hidden patches; normalised, float32."""
        hidden_BLMD = take_patches(self.teacher.forward_features(signal_mv_BLS), hidden_patches)
        return F.layer_norm(hidden_BLMD.float(), hidden_BLMD.shape[-1:])

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: momentum * teacher + (1 - momentum) * student."""
        torch._foreach_lerp_(list(self.teacher.parameters()), list(self.student.parameters()), 1 - momentum)
