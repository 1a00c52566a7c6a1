"""All rows of an index -> places on a map, for people to look at.

t-SNE places a sample of rows, the landmarks. Every other row goes among the landmarks that it is nearest to, at their
weighted mean and a little off it: time grows with the rows, not faster, and a place says no more than which landmarks
are near.

Axes: R rows, M landmarks, N rows of a piece, J landmarks near a row, D width.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from ecgjepa.search.embeddings import PIECE_ROWS
from ecgjepa.search.metric import Metric

# Fewer are no neighbourhood that t-SNE could keep.
LANDMARKS, LEAST_LANDMARKS = 3000, 5
# Landmarks that a row goes between, and the one whose distance is the unit of their weights.
NEAR, UNIT = 8, 3
# Landmarks farther on the map from the nearest one than this many of its spacings do not count: between two groups
# there is nobody.
SAME_GROUP = 6.0
# Standard deviation of what a row is put off its place by, in spacings of landmarks on the map.
OFF = 0.6


def make_map(
    vectors_RD: Float32[ndarray, "r d"], metric: Metric, seed: int, tell: Callable[[int], object] | None = None
) -> tuple[Float32[ndarray, "r 2"], dict[str, Any]]:
    """Places of all rows, and how they were found; the same for the same rows and seed.

    Args:
        vectors_RD: embeddings as in their table, on disk.
        seed: of the landmarks, and of what the other rows are put off by.
        tell: called with the number of rows after each piece.
    """
    from ecgjepa.evaluate.projection import project_to_map

    rows, chance = len(vectors_RD), np.random.default_rng(seed)
    chosen_M = np.sort(chance.choice(rows, min(LANDMARKS, rows), replace=False))
    landmarks_MD = metric.directions(vectors_RD[chosen_M])
    if len(chosen_M) < LEAST_LANDMARKS or not np.ptp(landmarks_MD, axis=0).any():  # the second: all rows are the same
        return chance.standard_normal((rows, 2)).astype(np.float32), {"method": "at random", "seed": seed}
    places_M2 = project_to_map(landmarks_MD)
    places_R2 = np.empty((rows, 2), np.float32)
    if len(chosen_M) < rows:
        spacing_M = spacings(places_M2)
        for start in range(0, rows, PIECE_ROWS):
            piece_ND = metric.directions(vectors_RD[start : start + PIECE_ROWS])
            placed_N2 = place_among(piece_ND, landmarks_MD, places_M2, spacing_M, chance)
            places_R2[start : start + len(piece_ND)] = placed_N2
            if tell is not None:
                tell(len(piece_ND))
    elif tell is not None:
        tell(rows)
    places_R2[chosen_M] = places_M2
    return places_R2, {"method": "t-SNE of landmarks", "landmarks": len(chosen_M), "seed": seed}


def place_among(
    directions_ND: Float32[ndarray, "n d"],
    landmarks_MD: Float32[ndarray, "m d"],
    places_M2: Float[ndarray, "m 2"],
    spacing_M: Float[ndarray, "m"],
    chance: np.random.Generator,
) -> Float[ndarray, "n 2"]:
    """Places of rows among landmarks: the mean of the nearest, weighted by their distance, and a little off it."""
    from sklearn.neighbors import NearestNeighbors

    near = min(NEAR, len(landmarks_MD))
    finder = NearestNeighbors(n_neighbors=near, algorithm="brute").fit(landmarks_MD)
    distance_NJ, landmark_NJ = finder.kneighbors(directions_ND)
    squared_NJ = distance_NJ**2 - distance_NJ[:, :1] ** 2
    unit_N1 = np.maximum(squared_NJ[:, min(UNIT, near - 1)][:, None], 1e-12)
    places_NJ2, nearest_N = places_M2[landmark_NJ], landmark_NJ[:, 0]
    apart_NJ = np.linalg.norm(places_NJ2 - places_NJ2[:, :1], axis=2)
    weight_NJ = np.exp(-squared_NJ / unit_N1) * (apart_NJ <= SAME_GROUP * spacing_M[nearest_N][:, None])
    mean_N2 = np.einsum("nj,njc->nc", weight_NJ, places_NJ2) / weight_NJ.sum(axis=1, keepdims=True)
    off_N2 = chance.standard_normal(mean_N2.shape)
    return mean_N2 + OFF * spacing_M[nearest_N][:, None] * off_N2


def spacings(places_M2: Float[ndarray, "m 2"]) -> Float[ndarray, "m"]:
    """How far the neighbours of each landmark are on the map; of lonely ones no more than twice what is usual."""
    from sklearn.neighbors import NearestNeighbors

    distance_MJ, _ = NearestNeighbors(n_neighbors=min(4, len(places_M2))).fit(places_M2).kneighbors(places_M2)
    spacing_M = distance_MJ[:, -1]
    return np.minimum(spacing_M, 2 * np.median(spacing_M))
