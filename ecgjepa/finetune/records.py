"""Training records -> batches: order, augmentation and drop-path are functions of (seed, step), whatever was before.

Axes: N records, B records of a batch, L leads, S samples, I blocks.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped
from numpy import ndarray
from torch import Tensor

from ecgjepa.checkpoint import generator_of
from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import read_for
from ecgjepa.finetune.augment import Draws, draw_augmentations
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract

ORDER, AUGMENT, DROP_PATH = 11, 12, 13  # streams of chance of one seed
# Filtered signals of the training records are kept up to this size; beyond it each batch is filtered when it is read.
CACHE_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Batch:
    """Signals in mV, what is to be learned of them, what chance does to them."""

    signal_mv_BLS: Float32[Tensor, "b l s"]
    target: Shaped[Tensor, "b *form"]
    draws: Draws | None
    path_scale: Float32[Tensor, "depth 2 b"] | None

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; from pinned memory the copy does not wait."""
        return Batch(
            self.signal_mv_BLS.to(device, non_blocking=True),
            self.target.to(device, non_blocking=True),
            None if self.draws is None else self.draws.to(device),
            None if self.path_scale is None else self.path_scale.to(device, non_blocking=True),
        )

    def pinned(self) -> "Batch":
        """The same with its signals in pinned memory."""
        return replace(self, signal_mv_BLS=self.signal_mv_BLS.pin_memory())


@dataclass(frozen=True)
class TrainingRecords:
    """Hands out the batch of any step; an epoch holds every record once, its last batch may be smaller.

    Args:
        store: where the signals lie.
        rows_N: the training records in it.
        targets: what is learned of each: (N, K) numbers, or (N, L, S) classes of samples.
        contract: of the encoder: its filter is applied.
        settings: of the run.
        depth: blocks of the encoder.
        pin: keep batches in pinned memory, for a GPU.
    """

    store: Store
    rows_N: Int64[ndarray, "n"]
    targets: Shaped[ndarray, "n *form"]
    contract: SignalContract
    settings: FinetuneSettings
    depth: int
    pin: bool = False
    _kept: list[ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        is_filtered = self.contract.filter != self.store.contract.filter
        if is_filtered and 4 * len(self.rows_N) * len(self.contract.leads) * self.contract.samples < CACHE_BYTES:
            chunks = np.array_split(self.rows_N, max(1, len(self.rows_N) // 256))
            self._kept.append(np.concatenate([read_for(self.contract, self.store, chunk) for chunk in chunks]))

    def __len__(self) -> int:
        return len(self.rows_N)

    @property
    def steps_per_epoch(self) -> int:
        """Batches that hold every record once."""
        return -(-len(self) // self.settings.batch_size)

    @property
    def leads(self) -> tuple[str, ...]:
        """Those that exist, in the order of the contract."""
        return leads_of(self.contract, self.settings.leads)

    def positions(self, step: int) -> Int64[ndarray, "b"]:
        """Which of the N records the batch of a step holds, steps counted from 0 over all epochs."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng((self.settings.seed, ORDER, epoch)).permutation(len(self))
        return order[place * self.settings.batch_size :][: self.settings.batch_size]

    def batch(self, step: int) -> Batch:
        """The batch of a step."""
        settings, positions = self.settings, self.positions(step)
        signal_mv_BLS = self.signals(positions)
        draws, path_scale = None, None
        if settings.augmentation.operations:
            generator = generator_of(settings.seed, step, AUGMENT)
            records, leads, samples = signal_mv_BLS.shape
            draws = draw_augmentations(settings.augmentation, records, leads, samples, generator)
        if settings.drop_path:
            generator = generator_of(settings.seed, step, DROP_PATH)
            path_scale = drop_path_scales(settings.drop_path, self.depth, len(positions), generator)
        batch = Batch(signal_mv_BLS, torch.from_numpy(self.wanted(positions)), draws, path_scale)
        return batch.pinned() if self.pin else batch

    def signals(self, positions: Int64[ndarray, "b"]) -> Float32[Tensor, "b l s"]:
        """Signals of some of the N records, filtered, those leads that exist."""
        if self._kept:
            signal_mv_BLS = self._kept[0][positions]
        else:
            signal_mv_BLS = read_for(self.contract, self.store, self.rows_N[positions])
        return torch.from_numpy(take_leads(signal_mv_BLS, self.contract, self.settings.leads))

    def wanted(self, positions: ndarray | None = None) -> Shaped[ndarray, "b *form"]:
        """What is to be learned of some of the N records, or of all; masks of the leads that exist."""
        chosen = self.targets if positions is None else self.targets[positions]
        return take_leads(chosen, self.contract, self.settings.leads) if chosen.ndim == 3 else chosen

    def from_step(self, start: int, stop: int) -> Iterator[tuple[int, Batch]]:
        """Steps `start` to `stop - 1` with their batches, each read while the one before is used."""
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                assert coming is not None
                batch = coming.result()
                coming = reader.submit(self.batch, step + 1) if step + 1 < stop else None
                yield step, batch


def leads_of(contract: SignalContract, leads: tuple[str, ...] | None) -> tuple[str, ...]:
    """Those of the contract that are named, in its order; all where None.

    Raises:
        ValueError: one is not in the contract, or is named twice.
    """
    if leads is None:
        return contract.leads
    if not leads or len(set(leads)) != len(leads) or not set(leads) <= set(contract.leads):
        raise ValueError(f"leads: expected distinct ones of {', '.join(contract.leads)}, found {', '.join(leads)}")
    return tuple(lead for lead in contract.leads if lead in leads)


def take_leads(
    values_NLS: Shaped[ndarray, "n l s"], contract: SignalContract, leads: tuple[str, ...] | None
) -> Shaped[ndarray, "n some s"]:
    """The rows of the leads that exist, of signals (or masks) with all leads of the contract."""
    if leads is None:
        return values_NLS
    return values_NLS[:, [contract.leads.index(lead) for lead in leads_of(contract, leads)]]
