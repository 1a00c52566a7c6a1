"""What a step is given: signals, masks and stochastic depth, all functions of (seed, step).

They are drawn for the whole batch of all processes and then divided, so that the result does not depend on how many
processes there are, nor on how many records run at once.

Axes: B records of the batch, L leads, S samples, K masks of a record, M mask rows (1, or K * B mask by mask), I blocks.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from jaxtyping import Int64
from torch import Generator, Tensor

from ecgjepa.checkpoint import generator_of
from ecgjepa.config import Config
from ecgjepa.data.batches import Batches
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.train.masking import Masks, draw_masks

# Further arguments of an objective that are chance.
Extra = Callable[[Generator], dict[str, Tensor]]

_MASK, _DROP_PATH, _EXTRA = 1, 2, 3  # streams of chance of one seed


@dataclass(frozen=True)
class Inputs:
    """Arguments of an objective's `forward` for some records, and the share of this process's batch that they are."""

    arguments: dict[str, Tensor]
    share: float

    def to(self, device: torch.device) -> "Inputs":
        """The same on a device; from pinned memory the copy does not wait."""
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.arguments.items()}
        return Inputs(moved, self.share)

    def pinned(self) -> "Inputs":
        """The same in pinned memory."""
        return Inputs({name: tensor.pin_memory() for name, tensor in self.arguments.items()}, self.share)


@dataclass(frozen=True)
class Feed:
    """Hands out the inputs of any step, those of one process of several.

    Args:
        batches: of the records.
        config: all settings.
        patches: of a lead.
        extra: further chance of the objective, the same in all processes, from a generator.
        rank: of this process.
        processes: in all; the batch must be a multiple of them.
        pin: keep them in pinned memory, for a GPU.

    Raises:
        ValueError: the batch cannot be divided among the processes.
    """

    batches: Batches
    config: Config
    patches: int
    extra: Extra
    rank: int = 0
    processes: int = 1
    pin: bool = False
    _rows: slice = field(init=False)

    def __post_init__(self) -> None:
        size = self.batches.batch_size
        if size % self.processes:
            raise ValueError(f"a batch of {size} records cannot be divided among {self.processes} processes")
        share = size // self.processes
        object.__setattr__(self, "_rows", slice(self.rank * share, (self.rank + 1) * share))

    def masks(self, step: int) -> Masks:
        """The masks of the whole batch."""
        return masks_of_step(self.config, self.patches, step)

    def inputs(self, step: int) -> list[Inputs]:
        """The parts of a step that run one after the other, `run.micro_batch` records each."""
        recipe, model, records = self.config.training, self.config.model, self.batches.batch_size
        signal_mv_BLS = self.batches.batch(step, self._rows)
        masks, generator = self.masks(step), generator_of(recipe.seed, step, _DROP_PATH)
        copies = self.config.mask.masks_per_record
        paths_IJKB = drop_path_scales(model.drop_path, model.depth, copies * records, generator)
        paths_IJKB = paths_IJKB.unflatten(2, (copies, records))
        teacher_IJB = drop_path_scales(model.drop_path, model.depth, records, generator)
        extra = self.extra(generator_of(recipe.seed, step, _EXTRA))
        own, parts = len(signal_mv_BLS), []
        size = min(self.config.run.micro_batch or own, own)
        for start in range(0, own, size):
            here = slice(self._rows.start + start, self._rows.start + min(start + size, own))
            arguments = {
                "signal_mv_BLS": signal_mv_BLS[start : start + size],
                "visible_patches": _of_records(masks.visible_KBV, here),
                "hidden_patches": _of_records(masks.hidden_KBH, here),
                "path_scale": paths_IJKB[:, :, :, here].flatten(2),
                **({"teacher_path_scale": teacher_IJB[:, :, here]} if recipe.reference else {}),
                **extra,
            }
            part = Inputs(
                {name: tensor.contiguous() for name, tensor in arguments.items()}, (here.stop - here.start) / own
            )
            parts.append(part.pinned() if self.pin else part)
        return parts

    def from_step(self, start: int, stop: int) -> Iterator[tuple[int, list[Inputs]]]:
        """Steps `start` to `stop - 1` with their inputs, the next ones made while the last are used."""
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.inputs, start) if start < stop else None
            for step in range(start, stop):
                assert coming is not None
                inputs = coming.result()
                coming = reader.submit(self.inputs, step + 1) if step + 1 < stop else None
                yield step, inputs


def masks_of_step(config: Config, patches: int, step: int) -> Masks:
    """The masks of a batch over (P,) patches of a lead, whatever its records are."""
    recipe = config.training
    generator = generator_of(recipe.seed, step, _MASK)
    return draw_masks(config.mask, patches, recipe.batch_size, generator, reference=recipe.reference)


def _of_records(patches_KBV: Tensor, records: slice) -> Int64[Tensor, "m v"]:
    """The masks of some records, mask by mask; one mask that is that of all stays one row."""
    masks, own, _ = patches_KBV.shape
    if own > 1:
        return patches_KBV[:, records].flatten(0, 1)
    if masks == 1:
        return patches_KBV[0]
    return patches_KBV.expand(-1, records.stop - records.start, -1).flatten(0, 1)
