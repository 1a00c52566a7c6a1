"""Many masks of a run, as it will draw them, and how often each patch should be hidden.

Axes: N masks, P patches in time.
"""

import math

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from ecgjepa.config import Config, MaskConfig
from ecgjepa.train.inputs import masks_of_step

STEPS, LEAST_MASKS = 200, 2000


def sample_masks(config: Config, patches: int, *, steps: int = STEPS) -> Bool[ndarray, "n p"]:
    """True where a patch is hidden, of all masks of the first steps: step by step, record by record.

    Args:
        steps: at least; as many more as 2,000 masks need.
    """
    found, count = [], 0
    for step in range(LEAST_MASKS):
        hidden_NH = masks_of_step(config, patches, step).hidden_KBH.flatten(0, 1).numpy()
        hidden_NP = np.zeros((len(hidden_NH), patches), bool)
        np.put_along_axis(hidden_NP, hidden_NH, True, axis=1)
        found.append(hidden_NP)
        count += len(hidden_NP)
        if step + 1 >= steps and count >= LEAST_MASKS:
            break
    return np.concatenate(found)


def expected_coverage(config: MaskConfig, patches: int, *, reference: bool = False) -> Float[ndarray, "p"]:
    """Probability of each patch to be hidden, by calculation.

    Of blocks that are one mask of a batch. Where each record has its own, all take the number of the first, and
    the calculation still holds on the average, for every patch is as likely as any other.
    """
    length_n = length_probabilities(config.share, patches)
    if config.type == "random":
        length_n = _clipped(length_n, 1, patches - 1)
        return np.full(patches, sum(n * p for n, p in length_n.items()) / patches)
    if not reference:
        once = sum(n * p for n, p in length_n.items()) / patches
        return np.full(patches, 1 - (1 - once) ** config.blocks)
    once_P = np.zeros(patches)
    for n, probability in _clipped(length_n, 1, patches - 1).items():
        for start in range(patches - n):
            once_P[start : start + n] += probability / (patches - n)
    return 1 - (1 - once_P) ** config.blocks


def length_probabilities(share: tuple[float, float], patches: int) -> dict[int, float]:
    """Of floor(P * ratio), the ratio uniform in the share."""
    low, high = (patches * each for each in share)
    if high - low < 1e-9:
        return {math.floor(np.float32(low)): 1.0}
    first, last = math.floor(low), math.ceil(high)
    inside = {n: (min(n + 1, high) - max(n, low)) / (high - low) for n in range(first, last)}
    return {n: probability for n, probability in inside.items() if probability > 1e-9}


def _clipped(probabilities: dict[int, float], low: int, high: int) -> dict[int, float]:
    clipped: dict[int, float] = {}
    for n, probability in probabilities.items():
        clipped[min(max(n, low), high)] = clipped.get(min(max(n, low), high), 0.0) + probability
    return clipped
