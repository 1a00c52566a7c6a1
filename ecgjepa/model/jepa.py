"""JEPA: a student that sees some patches learns to predict what its own slow average, the teacher, makes of the others.

Axes: B records, L leads, S samples, V visible patches, H hidden patches, D width, M mask rows: 1 for all records, B, or
K * B, mask by mask, for K masks of every record.
"""

import copy

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import take_patches
from ecgjepa.signal import SignalContract

# Of the mean square: bfloat16's rounding of features that are the same in all records is not to be learned.
EPS = 1e-5


class JEPA(nn.Module):
    """Student, teacher and predictor (arXiv:2410.08559, section 3).

    The teacher starts as a copy of the student, has no gradients, and drops no path unless it is told to. It looks at a
    record once, however many masks the record has.

    Args:
        centred: take from every target what is common to all records at its lead and patch, so that knowing the
            position is worth nothing; see `Centre`. As published where False.
    """

    def __init__(
        self,
        config: ModelConfig,
        contract: SignalContract,
        *,
        generator: torch.Generator | None = None,
        attention: AttentionForm = "factorised",
        centred: bool = False,
    ) -> None:
        super().__init__()
        self.student = Encoder(config, contract, generator=generator, attention=attention)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = Predictor(config, self.student.patches, generator=generator)
        self.centre = Centre(len(contract.leads), self.student.patches, config.width) if centred else None

    @property
    def encoder(self) -> Encoder:
        """The network whose features are used."""
        return self.teacher

    def extra_inputs(self, generator: Generator) -> dict[str, Tensor]:
        """Further arguments of `forward` that are chance: none."""
        return {}

    def forward(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        visible_patches: Int[Tensor, "m v"],
        hidden_patches: Int[Tensor, "m h"],
        path_scale: Float[Tensor, "depth 2 students"] | None = None,
        teacher_path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, ""]:
        """Mean smooth L1 distance (beta 1, as released; the paper says L1) between prediction and target.

        Args:
            signal_mv_BLS: (B, L, S) in mV.
            visible_patches: (M, V).
            hidden_patches: (M, H).
            path_scale: factors of the student's branches, from `drop_path_scales`, for every mask of every record.
            teacher_path_scale: those of the teacher's, as in the released code; no path is dropped where None.
        """
        target_BLHD = self.target(signal_mv_BLS, hidden_patches, teacher_path_scale)
        context_BLVD = self.student.forward_features(
            for_every_mask(signal_mv_BLS, visible_patches), visible_patches=visible_patches, path_scale=path_scale
        )
        predicted_BLHD = self.predictor(context_BLVD, visible_patches, hidden_patches)
        return F.smooth_l1_loss(predicted_BLHD.float(), target_BLHD)

    @torch.no_grad()
    def target(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        hidden_patches: Int[Tensor, "m h"],
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, "b_out l h d"]:
        """What the teacher, who sees everything, makes of the hidden patches; normalised, float32."""
        if self.centre is not None:
            features_BLPD = self.teacher.forward_features(signal_mv_BLS, path_scale=path_scale)
            target_BLPD = self.centre(F.layer_norm(features_BLPD.float(), features_BLPD.shape[-1:]))
            return take_patches(for_every_mask(target_BLPD, hidden_patches), hidden_patches)
        if len(hidden_patches) <= len(signal_mv_BLS):
            hidden_BLHD = self.teacher.forward_features(
                signal_mv_BLS, path_scale=path_scale, kept_patches=hidden_patches
            )
        else:  # the masks of a record overlap, so that all of its patches are fewer
            features_BLPD = self.teacher.forward_features(signal_mv_BLS, path_scale=path_scale)
            hidden_BLHD = take_patches(for_every_mask(features_BLPD, hidden_patches), hidden_patches)
        return F.layer_norm(hidden_BLHD.float(), hidden_BLHD.shape[-1:])

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: momentum * teacher + (1 - momentum) * student; and the centre, after all of a batch."""
        torch._foreach_lerp_(_local(self.teacher), _local(self.student), 1 - momentum)
        if self.centre is not None:
            self.centre.update()


class Centre(nn.Module):
    """What the teacher's features are at each lead and patch whatever the record, as a running mean over batches.

    Features less this mean, over the root of their mean square, hold nothing of the position alone. Without it a
    student can learn positions only, which are most of what the published target holds in a short run
    (`docs/results.md`). The running mean of DINO's targets (arXiv:2104.14294, section 3) is one for all positions.

    It moves once per optimizer step by the mean over all processes, so it does not depend on how a batch is divided.
    """

    KEPT = 0.9  # of the mean at every step

    mean_LPD: Tensor
    square: Tensor
    steps: Tensor
    sum_LPD: Tensor
    square_sum: Tensor
    records: Tensor

    def __init__(self, leads: int, patches: int, width: int) -> None:
        super().__init__()
        self.register_buffer("mean_LPD", torch.zeros(leads, patches, width))
        self.register_buffer("square", torch.ones(()))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("sum_LPD", torch.zeros(leads, patches, width), persistent=False)
        self.register_buffer("square_sum", torch.zeros(()), persistent=False)
        self.register_buffer("records", torch.zeros(()), persistent=False)

    @torch.no_grad()
    def forward(self, features_BLPD: Float[Tensor, "b l p d"]) -> Float[Tensor, "b l p d"]:
        """Centred and scaled features; notes them for `update`."""
        centred_BLPD = features_BLPD - self.mean_LPD
        self.sum_LPD += features_BLPD.sum(dim=0)
        self.square_sum += centred_BLPD.square().mean(dim=(1, 2, 3)).sum()
        self.records += len(features_BLPD)
        return centred_BLPD * (self.square + EPS).rsqrt()

    @torch.no_grad()
    def update(self) -> None:
        """Move by what was seen since the last call, in the first steps as their plain mean."""
        noted = [self.sum_LPD, self.square_sum, self.records]
        if dist.is_available() and dist.is_initialized():
            for each in noted:
                dist.all_reduce(each)
        self.steps += 1
        self.mean_LPD.lerp_(self.sum_LPD / self.records, torch.clamp(1 / self.steps, min=1 - self.KEPT))
        # Of the first batch nothing is known, for it was not centred yet.
        weight = torch.where(self.steps > 1, torch.clamp(1 / (self.steps - 1), 1 - self.KEPT, 1), 0)
        self.square.lerp_(self.square_sum / self.records, weight)
        for each in noted:
            each.zero_()


def for_every_mask(records_B: Float[Tensor, "b ..."], patches: Int[Tensor, "m v"]) -> Float[Tensor, "students ..."]:
    """The records once for each of their masks, mask by mask."""
    masks = len(patches) // len(records_B)
    return records_B.repeat(masks, *[1] * (records_B.ndim - 1)) if masks > 1 else records_B


def _local(network: nn.Module) -> list[Tensor]:
    """The weights that lie in this process, all of them unless they are sharded."""
    return [weight.to_local() if hasattr(weight, "to_local") else weight for weight in network.parameters()]
