"""How far two embeddings are apart: one minus the cosine between them, after each dimension was standardised.

Axes: R rows, Q queries, C candidates, D width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from safetensors.numpy import load_file, save_file

METRIC = "standardised_cosine"
# A dimension that never changes tells nothing apart; it is left where it is.
_CONSTANT = 1e-12


@dataclass(frozen=True)
class Metric:
    """Means and scales of the indexed rows, by which every embedding is standardised.

    Attributes:
        mean_D, scale_D: of each dimension, float32; the scale is a standard deviation.
    """

    mean_D: Float32[ndarray, "d"]
    scale_D: Float32[ndarray, "d"]

    @classmethod
    def load(cls, file: Path) -> "Metric":
        """As `save` wrote it."""
        arrays = load_file(file)
        return cls(arrays["mean"], arrays["scale"])

    def save(self, file: Path) -> None:
        """Write a safetensors file."""
        save_file({"mean": self.mean_D, "scale": self.scale_D}, file, metadata={"metric": METRIC})

    def directions(self, embeddings_RD: Float[ndarray, "r d"]) -> Float32[ndarray, "r d"]:
        """Standardised embeddings of length 1: their inner product is the cosine. Of the mean itself, zeros."""
        standard_RD = (embeddings_RD - self.mean_D) / self.scale_D
        length_R = np.linalg.norm(standard_RD, axis=1, keepdims=True)
        return np.divide(standard_RD, length_R, out=np.zeros_like(standard_RD), where=length_R > 0)


class Moments:
    """Mean and standard deviation of rows that are seen piece by piece, in float64 about the first piece's mean."""

    def __init__(self, width: int) -> None:
        self.rows = 0
        self._shift_D: ndarray | None = None
        self._sum_D, self._squares_D = np.zeros(width), np.zeros(width)

    def add(self, embeddings_RD: Float32[ndarray, "r d"]) -> None:
        """Count some rows."""
        values_RD = embeddings_RD.astype(np.float64)
        if self._shift_D is None:
            self._shift_D = values_RD.mean(axis=0)
        values_RD -= self._shift_D
        self.rows += len(values_RD)
        self._sum_D += values_RD.sum(axis=0)
        self._squares_D += np.einsum("rd,rd->d", values_RD, values_RD)

    def metric(self) -> Metric:
        """Of the rows so far."""
        assert self._shift_D is not None, "some rows were added"
        off_D = self._sum_D / self.rows
        scale_D = np.sqrt(np.maximum(self._squares_D / self.rows - off_D**2, 0))
        scale_D[scale_D < _CONSTANT] = 1
        return Metric((self._shift_D + off_D).astype(np.float32), scale_D.astype(np.float32))
