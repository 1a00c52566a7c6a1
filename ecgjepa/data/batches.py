"""Rows of stores -> batches. The order is a function of (seed, epoch), a batch one of (seed, step).

Axes: B records, L leads, S samples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor

from ecgjepa.data.mixing import Mixture, check_names
from ecgjepa.data.store import Store


class Batches:
    """Shuffled batches over the chosen rows of one or several stores.

    Without weights every epoch draws each record once; the records that do not fill a last batch are other ones in
    every epoch. With weights see `Mixture`.

    Args:
        stores: opened stores of one contract.
        rows: for each store, the rows to use.
        batch_size: records of one batch.
        seed: of the order.
        weights: how often each source (data set of a store) is drawn, in any unit: all of them, or none.
        gains: factors by source, applied to the signals in mV; 1 where none is named.

    Raises:
        ValueError: the contracts differ, a name is that of no source, or there are fewer records than one batch holds.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        rows: Sequence[ndarray],
        batch_size: int,
        seed: int,
        *,
        weights: Mapping[str, float] | None = None,
        gains: Mapping[str, float] | None = None,
    ) -> None:
        for store in stores[1:]:
            if store.contract != stores[0].contract:
                raise ValueError(
                    f"stores of different contracts: {stores[0].path} has {stores[0].contract}, "
                    f"{store.path} has {store.contract}"
                )
        self.stores, self.rows, self.batch_size, self.seed = list(stores), list(rows), batch_size, seed
        sizes, datasets = [len(chosen) for chosen in rows], [store.info["dataset"] for store in stores]
        self.mixture = Mixture.of(datasets, sizes, weights) if weights else None
        check_names("gain", gains or {}, datasets, all_of_them=False)
        self.gains = [np.float32((gains or {}).get(dataset, 1.0)) for dataset in datasets]
        self._bounds, self._records = np.cumsum([0, *sizes]), len(self.mixture) if self.mixture else sum(sizes)
        if len(self) < batch_size:
            raise ValueError(f"{len(self)} records to train on, fewer than one batch of {batch_size}")
        self._drawn: tuple[int, ndarray] = (-1, np.empty(0, np.int64))  # one object: threads may ask for any batch

    def __len__(self) -> int:
        """Draws of an epoch; without weights, records."""
        return self._records

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of an epoch."""
        return len(self) // self.batch_size

    def draws_per_epoch(self) -> dict[str, int]:
        """How often an epoch draws from each source."""
        if self.mixture:
            return dict(zip(self.mixture.sources, self.mixture.draws, strict=True))
        draws: dict[str, int] = {}
        for store, chosen in zip(self.stores, self.rows, strict=True):
            draws[store.info["dataset"]] = draws.get(store.info["dataset"], 0) + len(chosen)
        return draws

    def batch(self, step: int, part: slice = slice(None)) -> Float32[Tensor, "batch leads samples"]:
        """The batch of a step, counted from 0 over all epochs, or a part of it; (B, L, S) float32 in mV."""
        store_of, rows = self._chosen(step, part)
        signals_mv = np.empty((len(rows), *self.stores[0].signals.shape[1:]), np.float32)
        for k in np.unique(store_of).tolist():
            places = np.flatnonzero(store_of == k)
            self.stores[k].read_into(rows[places], signals_mv, places)
            if self.gains[k] != 1:
                for place in places.tolist():
                    signals_mv[place] *= self.gains[k]
        return torch.from_numpy(signals_mv)

    def records(self, step: int) -> list[tuple[str, str]]:
        """Path of the store and name of each record of a batch."""
        store_of, rows = self._chosen(step)
        stores = [self.stores[k] for k in store_of.tolist()]
        names = [store.column("record")[row].as_py() for store, row in zip(stores, rows.tolist(), strict=True)]
        return [(str(store.path), name) for store, name in zip(stores, names, strict=True)]

    def _chosen(self, step: int, part: slice = slice(None)) -> tuple[Int64[ndarray, "batch"], Int64[ndarray, "batch"]]:
        """Which store, and which of its rows, each record of a batch is."""
        epoch, position = divmod(step, self.steps_per_epoch)
        drawn_for, order = self._drawn
        if drawn_for != epoch:
            order = self._draw(epoch)
            self._drawn = epoch, order
        chosen = order[position * self.batch_size : (position + 1) * self.batch_size][part]
        store_of = np.searchsorted(self._bounds, chosen, side="right") - 1
        rows = np.empty(len(chosen), np.int64)
        for k in np.unique(store_of).tolist():
            own = store_of == k
            rows[own] = self.rows[k][chosen[own] - self._bounds[k]]
        return store_of, rows

    def _draw(self, epoch: int) -> Int64[ndarray, "draws"]:
        """Places of the records of an epoch, in order."""
        if self.mixture:
            return self.mixture.order(self.seed, epoch)
        return np.random.default_rng((self.seed, epoch)).permutation(len(self))
