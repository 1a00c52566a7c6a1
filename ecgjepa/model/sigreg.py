"""Latent prediction without a teacher: SIGReg keeps the student's features from collapsing.

Axes: B records, L leads, S samples, P patches of a lead, V visible, H hidden patches, K masks of a record, R = K * B
rows of masks, mask by mask, D width, Q positions (lead, patch) looked at, C random directions, T knots.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.jepa import for_every_mask
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import take_patches
from ecgjepa.signal import SignalContract

# Forward and backward of `sigreg` take 0.22 s on one core (EPYC) for 128 records of width 128, 0.24 s of width 768.
DIRECTIONS, POSITIONS = 256, 16
KNOTS, LAST_KNOT = 17, 3.0


class LatentSIGReg(nn.Module):
    """Student and predictor, after LeJEPA (Balestriero & LeCun 2025, arXiv:2511.08544) with masks in place of crops.

    The student sees all patches, and the visible ones alone; from the latter the predictor makes the former at the
    hidden patches, with gradients through both. `sigreg` keeps the tokens of all patches standard Gaussian over
    records, at each of `POSITIONS` places (lead, patch) drawn anew in every step: over all tokens together, tokens that
    say where they are and nothing of the record would do. The pooled feature is left free: tokens have about unit
    variance after the final LayerNorm, so their mean has it only where all tokens of a record are one.

    LeJEPA's projector, with batch norm, is left out. The final LayerNorm puts tokens near a sphere of radius sqrt(D),
    on which they can be Gaussian in every direction but one; so evaluation reads what was regularised.

    Loss and gradient belong to the records of one forward pass, with those of all processes where
    `torch.distributed` runs. They are not the mean over its parts: with micro-batches the records of each are compared
    with the Gaussian alone.

    Args:
        weight: share of SIGReg in the loss; LeJEPA's lambda.
    """

    teacher: None = None

    def __init__(
        self,
        config: ModelConfig,
        contract: SignalContract,
        *,
        weight: float = 0.05,
        generator: torch.Generator | None = None,
        attention: AttentionForm = "factorised",
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight of SIGReg: expected 0 to 1, found {weight}")
        self.weight = weight
        self.student = Encoder(config, contract, generator=generator, attention=attention)
        self.predictor = Predictor(config, self.student.patches, generator=generator)

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
        *,
        directions_DC: Float[Tensor, "d c"],
        positions_Q: Int[Tensor, "q"],
    ) -> Float[Tensor, ""]:
        """(1 - weight) * mean squared error of the prediction + weight * SIGReg, float32.

        Args:
            signal_mv_BLS: (B, L, S) in mV.
            visible_patches: (1, V) for all records, or (R, V), row k * B + b for mask k of record b.
            hidden_patches: (1, H) or (R, H).
            path_scale: (depth, 2, R) factors of the student's branches where it sees the visible patches only.
            directions_DC: (D, C) unit vectors, from `extra_inputs`.
            positions_Q: (Q,) places lead * P + patch, from `extra_inputs`.
        """
        tokens_BLPD = self.student.forward_features(signal_mv_BLS).float()
        context_RLVD = self.student.forward_features(
            for_every_mask(signal_mv_BLS, visible_patches), visible_patches=visible_patches, path_scale=path_scale
        )
        predicted_RLHD = self.predictor(context_RLVD, visible_patches, hidden_patches)
        target_RLHD = take_patches(for_every_mask(tokens_BLPD, hidden_patches), hidden_patches)
        prediction = F.mse_loss(predicted_RLHD.float(), target_RLHD)
        statistic = sigreg(tokens_BLPD.flatten(1, 2)[:, positions_Q], directions_DC)
        return (1 - self.weight) * prediction + self.weight * statistic

    def update_teacher(self, momentum: float) -> None:
        """There is none."""

    def extra_inputs(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Further arguments of `forward` that are chance: directions and positions, the same in all processes."""
        encoder, device = self.student, generator.device
        drawn_DC = torch.randn(encoder.config.width, DIRECTIONS, generator=generator, device=device)
        places = torch.randperm(encoder.position_LPD[..., 0].numel(), generator=generator, device=device)
        return {"directions_DC": F.normalize(drawn_DC, dim=0), "positions_Q": places[:POSITIONS]}


def sigreg(features_BQD: Float[Tensor, "b q d"], directions_DC: Float[Tensor, "d c"]) -> Float[Tensor, ""]:
    """Distance of the features, at each position over records, from the standard Gaussian (arXiv:2511.08544, 4.2-4.3).

    Epps and Pulley's statistic, B times the integral over t of |characteristic function - exp(-t^2 / 2)|^2 under the
    window exp(-t^2 / 2), by the trapezoid rule over [-3, 3], of which one half is computed; mean over directions and
    positions. Of Gaussian samples it has the expectation 1.06, whatever B; of B equal ones it grows with B.
    """
    with torch.autocast(features_BQD.device.type, enabled=False):
        along_BQC = features_BQD.float() @ directions_DC
        knot_T = torch.linspace(0, LAST_KNOT, KNOTS, device=along_BQC.device)
        gauss_T = (-knot_T.square() / 2).exp()
        weight_T = 2 * LAST_KNOT / (KNOTS - 1) * gauss_T
        weight_T[[0, -1]] /= 2
        angle_BQCT = along_BQC[..., None] * knot_T
        sums_2QCT = torch.stack([angle_BQCT.cos().sum(0), angle_BQCT.sin().sum(0)])
        processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if processes > 1:
            sums_2QCT = _SumOverProcesses.apply(sums_2QCT)
        records = len(features_BQD) * processes
        cos_QCT, sin_QCT = sums_2QCT / records
        distance_QCT = (cos_QCT - gauss_T).square() + sin_QCT.square()
        return records * (distance_QCT @ weight_T).mean()


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes, and of its gradient too.

    Let process r add s_r to the sum s, and let each of W processes compute the statistic f(s). Backward, each of them
    has f'(s); summed, W f'(s) goes on through s_r. DDP takes the mean over processes of what comes out for a weight w:
    1/W sum_r W f'(s) ds_r/dw = f'(s) ds/dw, the gradient of one process with all records. The prediction error is a
    mean over records, so its mean over processes with equally many is right as it is.
    """

    @staticmethod
    def forward(context: torch.autograd.function.FunctionCtx, sums: Tensor) -> Tensor:
        dist.all_reduce(total := sums.clone())
        return total

    @staticmethod
    def backward(context: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        dist.all_reduce(total := gradient.contiguous().clone())
        return total
