"""Features as directions, for read-outs that compare them by their cosine.

Axes: N records, D features.
"""

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from sklearn.preprocessing import StandardScaler

from ecgjepa.evaluate.readouts.checks import Features


def fit_scaler(features_ND: Features) -> StandardScaler:
    """Mean and standard deviation of the training records, in float64."""
    return StandardScaler().fit(features_ND.astype(np.float64))


def directions(scaler: StandardScaler, features_ND: Features) -> Float32[ndarray, "n d"]:
    """Standardised features of length 1, (N, D).

    The mean is taken away first: features of little trained weights differ by a few thousandths of their size, and the
    cosine of any two as they come is 1. A record that is the mean has no direction, and similarity 0 to all.
    """
    scaled_ND = scaler.transform(features_ND.astype(np.float64))
    length_N = np.linalg.norm(scaled_ND, axis=1, keepdims=True)
    return (scaled_ND / np.where(length_N > 0, length_N, 1.0)).astype(np.float32)
