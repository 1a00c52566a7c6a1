"""Rows of stores -> batches. The order is a function of (seed, epoch), a batch one of (seed, step).

Axes: B records, L leads, S samples.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from ecgjepa.data.store import Store


class Batches:
    """Shuffled batches over the chosen rows of one or several stores.

    Every epoch sees each record at most once; the records that do not fill a last batch are other ones in every epoch.

    Args:
        stores: opened stores of one contract.
        rows: for each store, the rows to use.
        batch_size: records of one batch.
        seed: of the order.

    Raises:
        ValueError: the contracts differ, or there are fewer records than one batch holds.
    """

    def __init__(self, stores: Sequence[Store], rows: Sequence[np.ndarray], batch_size: int, seed: int) -> None:
        for store in stores[1:]:
            if store.contract != stores[0].contract:
                raise ValueError(
                    f"stores of different contracts: {stores[0].path} has {stores[0].contract}, "
                    f"{store.path} has {store.contract}"
                )
        self.stores, self.batch_size, self.seed = list(stores), batch_size, seed
        self.store_of = np.concatenate([np.full(len(chosen), k) for k, chosen in enumerate(rows)])
        self.row_of = np.concatenate(rows).astype(np.int64)
        if len(self.row_of) < batch_size:
            raise ValueError(f"{len(self.row_of)} records to train on, fewer than one batch of {batch_size}")
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __len__(self) -> int:
        """Records of an epoch."""
        return len(self.row_of)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch."""
        return len(self) // self.batch_size

    def batch(self, step: int) -> Float32[Tensor, "batch leads samples"]:
        """The batch of a step, counted from 0 over all epochs; (B, L, S) float32 in mV."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self))
        chosen = self._order[position * self.batch_size : (position + 1) * self.batch_size]
        leads, samples = self.stores[0].signals_uv.shape[1:]
        signals_mv = np.empty((self.batch_size, leads, samples), np.float32)
        for k, store in enumerate(self.stores):
            here = self.store_of[chosen] == k
            signals_mv[here] = store.signals_mv(self.row_of[chosen[here]])
        return torch.from_numpy(signals_mv)

    def from_step(self, start: int, stop: int) -> Iterator[tuple[int, Float32[Tensor, "batch leads samples"]]]:
        """Steps `start` to `stop - 1` with their batches, the next one read while the last is used."""
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                assert coming is not None
                batch = coming.result()
                coming = reader.submit(self.batch, step + 1) if step + 1 < stop else None
                yield step, batch
