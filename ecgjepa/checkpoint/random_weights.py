"""Chance as an argument: generators of whole numbers, and encoders with the weights a run starts from."""

import numpy as np
from torch import Generator

from ecgjepa.model.encoder import Encoder


def random_twin(encoder: Encoder, seed: int) -> Encoder:
    """An encoder of the same size and contract with fresh weights: those with which a run of that seed starts."""
    return Encoder(encoder.config, encoder.contract, generator=generator_of(seed))


def generator_of(*key: int) -> Generator:
    """A CPU generator that is a function of whole numbers, such as (seed, step)."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    return Generator().manual_seed(int(state >> np.uint64(1)))
