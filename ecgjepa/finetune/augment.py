"""Augmentations of a batch: which, where and how strongly is drawn per record; then all records run at once.

A draw is a function of a generator, `augment` one of signals and draws. Signals are (B, L, S) in mV on any device; all
leads of a record are treated alike, but for `erase-lead`. The operations of a record run in the order of
`AUGMENTATIONS`.

Axes: B records, P of them that an operation is applied to, L leads, S samples, O operations.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped
from torch import Generator, Tensor

from ecgjepa.finetune.settings import AUGMENTATIONS, Augmentation, AugmentationSettings


@dataclass(frozen=True)
class Draws:
    """What is to be done to each record of a batch.

    Attributes:
        rows: of each operation, by the order of `AUGMENTATIONS`, the records that it is applied to.
        shift_B: samples by which the record moves to the right; to the left if negative.
        start_BO, stop_BO: the part that `cutout`, `partial-sine` and `partial-noise` touch.
        kept_BS: False where `drop-samples` hides one.
        lead_B: which one `erase-lead` hides.
        phase_BO: of the two sines, in radians.
        noise_PLS: white, of unit variance, for the records of `partial-noise`.
        amplitude_mv: of sine and noise.
        period_samples: of the sine.
    """

    rows: tuple[Int64[Tensor, "_"], ...]
    shift_B: Int64[Tensor, "b"]
    start_BO: Int64[Tensor, "b o"]
    stop_BO: Int64[Tensor, "b o"]
    kept_BS: Bool[Tensor, "b s"]
    lead_B: Int64[Tensor, "b"]
    phase_BO: Float32[Tensor, "b o"]
    noise_PLS: Float32[Tensor, "p l s"]
    amplitude_mv: float
    period_samples: float

    def to(self, device: torch.device) -> "Draws":
        """The same on a device."""
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in tensors.items()}
        return replace(self, rows=tuple(each.to(device, non_blocking=True) for each in self.rows), **moved)

    def rows_of(self, name: Augmentation) -> Int64[Tensor, "_"]:
        """The records that an operation is applied to."""
        return self.rows[AUGMENTATIONS.index(name)]


def draw_augmentations(
    settings: AugmentationSettings, records: int, leads: int, samples: int, generator: Generator
) -> Draws:
    """Draw for every record: `per_record` different operations, each applied with `chance`; then places and strengths.

    Parts are 0 to `share` of the record long and lie anywhere in it, a shift goes up to `share` either way, and of
    `drop-samples` 0 to `share` of the samples are hidden. On the CPU.
    """
    operations = len(AUGMENTATIONS)
    allowed_O = torch.tensor([name in settings.operations for name in AUGMENTATIONS])
    order_BO = torch.rand(records, operations, generator=generator).masked_fill(~allowed_O, -1.0)
    rank_BO = order_BO.argsort(dim=1, descending=True).argsort(dim=1)
    chosen_BO = (rank_BO < settings.per_record) & allowed_O
    applied_BO = chosen_BO & (torch.rand(records, operations, generator=generator) < settings.chance)

    share_BO = settings.share * torch.rand(records, operations, generator=generator)
    length_BO = (share_BO * samples).round().long()
    place_BO = torch.rand(records, operations, generator=generator)
    start_BO = (place_BO * (samples - length_BO + 1)).long().minimum(samples - length_BO)
    to_right_B = torch.rand(records, generator=generator) < 0.5
    shift_B = length_BO[:, AUGMENTATIONS.index("shift")]
    dropped_B1 = share_BO[:, [AUGMENTATIONS.index("drop-samples")]]
    rows = tuple(applied_BO[:, k].nonzero()[:, 0] for k in range(operations))
    disturbed = len(rows[AUGMENTATIONS.index("partial-noise")])
    return Draws(
        rows,
        torch.where(to_right_B, shift_B, -shift_B),
        start_BO,
        start_BO + length_BO,
        torch.rand(records, samples, generator=generator) >= dropped_B1,
        torch.randint(leads, (records,), generator=generator),
        2 * math.pi * torch.rand(records, operations, generator=generator),
        torch.randn(disturbed, leads, samples, generator=generator),
        settings.amplitude_mv,
        settings.period * samples,
    )


def augment(signal_mv_BLS: Float[Tensor, "b l s"], draws: Draws) -> Float[Tensor, "b l s"]:
    """The signals with what was drawn done to them, (B, L, S); those given stay as they are.

    An operation touches only the records that it is applied to, an eighth of them by default.
    """
    place_S = torch.arange(signal_mv_BLS.shape[2], device=signal_mv_BLS.device)

    def part(name: Augmentation) -> Bool[Tensor, "p 1 s"]:
        k, rows = AUGMENTATIONS.index(name), draws.rows_of(name)
        inside_PS = (place_S >= draws.start_BO[rows, k, None]) & (place_S < draws.stop_BO[rows, k, None])
        return inside_PS[:, None]

    def sine(name: Augmentation) -> Float[Tensor, "p 1 s"]:
        phase_P1 = draws.phase_BO[draws.rows_of(name), AUGMENTATIONS.index(name), None]
        return draws.amplitude_mv * torch.sin(2 * math.pi * place_S / draws.period_samples + phase_P1)[:, None]

    signal_mv_BLS = shift(signal_mv_BLS, draws, 0.0)  # a copy, so that the rest can be done in place
    if len(rows := draws.rows_of("cutout")):
        signal_mv_BLS[rows] = signal_mv_BLS[rows].masked_fill(part("cutout"), 0.0)
    if len(rows := draws.rows_of("drop-samples")):
        signal_mv_BLS[rows] *= draws.kept_BS[rows, None]
    if len(rows := draws.rows_of("flip")):
        signal_mv_BLS[rows] *= -1
    if len(rows := draws.rows_of("erase-lead")):
        signal_mv_BLS[rows, draws.lead_B[rows]] = 0.0
    if len(rows := draws.rows_of("sine")):
        signal_mv_BLS[rows] += sine("sine")
    if len(rows := draws.rows_of("partial-sine")):
        signal_mv_BLS[rows] += sine("partial-sine") * part("partial-sine")
    if len(rows := draws.rows_of("partial-noise")):
        signal_mv_BLS[rows] += draws.amplitude_mv * draws.noise_PLS * part("partial-noise")
    return signal_mv_BLS


def shift(values_BLS: Shaped[Tensor, "b l s"], draws: Draws, outside: float) -> Shaped[Tensor, "b l s"]:
    """A copy of signals, or of masks of their samples, moved as was drawn; `outside` is what comes in."""
    moved_BLS, rows, samples = values_BLS.clone(), draws.rows_of("shift"), values_BLS.shape[2]
    if not len(rows):
        return moved_BLS
    from_PS = torch.arange(samples, device=values_BLS.device) - draws.shift_B[rows, None]
    beyond_P1S = ((from_PS < 0) | (from_PS >= samples))[:, None]
    chosen_PLS = values_BLS[rows]
    source_PLS = from_PS.clamp(0, samples - 1)[:, None].expand_as(chosen_PLS)
    moved_BLS[rows] = chosen_PLS.gather(2, source_PLS).masked_fill(beyond_P1S, outside)
    return moved_BLS
