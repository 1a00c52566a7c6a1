"""How often each source is drawn: exact shares of every epoch, each record once before any comes again.

A source is a data set, of one or several stores. Its records form an endless sequence of cycles; a cycle is all of
them, shuffled by (seed, source, cycle). An epoch takes the next piece of every source's sequence, and shuffles which
source comes when by (seed, epoch). So any epoch is found without those before it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_CYCLE = 1  # ends the seed of a cycle, so that it is never that of an epoch: numpy pads both with zeros


@dataclass(frozen=True)
class Mixture:
    """What an epoch is made of.

    Attributes:
        sources: names, in the order of the stores.
        members: for each source, the places of its records among all records.
        draws: for each source, how often an epoch draws from it.
    """

    sources: tuple[str, ...]
    members: tuple[Int64[ndarray, "..."], ...]
    draws: tuple[int, ...]

    @classmethod
    def of(cls, datasets: Sequence[str], sizes: Sequence[int], weights: Mapping[str, float]) -> "Mixture":
        """Mix stores by the weights of their data sets.

        An epoch has as many draws as there are records in the sources of a weight above 0.

        Args:
            datasets: of each store; stores of one name are one source, which draws from them as from one store.
            sizes: records of each store.
            weights: one for every source, in any unit; 0 leaves a source out.

        Raises:
            ValueError: the weights are not those of the sources, or a source that is to be drawn from has no record.
        """
        sources = check_names("weight", weights, datasets, all_of_them=True)
        bounds = np.cumsum([0, *sizes])
        places = {
            source: [np.arange(*bounds[k : k + 2]) for k, name in enumerate(datasets) if name == source]
            for source in sources
        }
        members = tuple(np.concatenate(parts).astype(np.int64) for parts in places.values())
        for source, own in zip(sources, members, strict=True):
            if weights[source] > 0 and not len(own):
                raise ValueError(f"weight of {source} is {weights[source]:g}, but it has no record to train on")
        chosen = [weights[source] for source in sources]
        if not sum(chosen) > 0:
            raise ValueError(f"weights: all of {', '.join(sources)} are 0, expected at least one above")
        total = sum(len(own) for own, weight in zip(members, chosen, strict=True) if weight > 0)
        return cls(sources, members, tuple(share_out(total, chosen)))

    def __len__(self) -> int:
        """Draws of an epoch."""
        return sum(self.draws)

    def order(self, seed: int, epoch: int) -> Int64[ndarray, "draws"]:
        """The places of the records of an epoch, in the order in which they are drawn."""
        source_of = np.repeat(np.arange(len(self.sources), dtype=np.int16), self.draws)
        np.random.default_rng((seed, epoch)).shuffle(source_of)
        order = np.empty(len(source_of), np.int64)
        for source, (own, draws) in enumerate(zip(self.members, self.draws, strict=True)):
            if draws:
                order[source_of == source] = own[_piece(len(own), epoch * draws, draws, seed, source)]
        return order


def _piece(size: int, start: int, draws: int, seed: int, source: int) -> Int64[ndarray, "draws"]:
    """Numbers `start` to `start + draws - 1` of the endless sequence of a source with `size` records."""
    parts, stop = [], start + draws
    for cycle in range(start // size, -(-stop // size)):
        shuffled = np.random.default_rng((seed, source, cycle, _CYCLE)).permutation(size)
        parts.append(shuffled[max(0, start - cycle * size) : stop - cycle * size])
    return np.concatenate(parts)


def share_out(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in the proportion of the weights that sum to `total`, by the largest remainder.

    Of equal remainders, the first comes first.
    """
    largest = max(weights)
    parts = [weight / largest for weight in weights]  # so that no sum overflows
    exact = [total * part / math.fsum(parts) for part in parts]
    shares = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda k: shares[k] - exact[k])
    for k in by_remainder[: total - sum(shares)]:
        shares[k] += 1
    assert sum(shares) == total, "every draw is shared out"
    return shares


def check_names(
    what: str, values: Mapping[str, float], datasets: Sequence[str], *, all_of_them: bool
) -> tuple[str, ...]:
    """The sources, each once, in the order of the stores.

    Raises:
        ValueError: a value is of no source, or (`all_of_them`) a source has none.
    """
    sources = tuple(dict.fromkeys(datasets))
    found = f"the sources are {', '.join(sources)}"
    if unknown := [name for name in values if name not in sources]:
        raise ValueError(f"{what} of {', '.join(unknown)}, but {found}")
    if all_of_them and (missing := [source for source in sources if source not in values]):
        raise ValueError(f"no {what} of {', '.join(missing)}: weights name all sources or none; {found}")
    return sources
