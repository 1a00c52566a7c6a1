"""Many smooth convex problems of equal size at once: L-BFGS in which every column has its own memory and step.

One matrix product serves all columns, and a column that is solved leaves. A single L-BFGS over all of them would mix
their curvatures and go on until the slowest is done.

Axes: A coordinates, K problems (columns), H remembered steps.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

# Loss and gradient of some columns: (point_AK, columns_K) -> (loss_K, gradient_AK).
Objective = Callable[[ndarray, ndarray], tuple[ndarray, ndarray]]

SUFFICIENT = 1e-4  # part of the decrease that the slope promises which a step must give (Armijo)
ROUNDING = 1e-13  # of the loss; no step is refused for less
HALVINGS = 30


def minimise_columns(
    objective: Objective,
    start_AK: Float64[ndarray, "a k"],
    *,
    tolerance: float,
    max_iterations: int,
    memory: int = 20,
) -> tuple[Float64[ndarray, "a k"], Bool[ndarray, "k"]]:
    """The minimum of every column, and whether it was reached: no coordinate of its gradient is above `tolerance`.

    Args:
        objective: strictly convex in every column; coordinates in which the curvature is about 1 are solved fastest.
        start_AK: where to begin.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4 (two loops) and 3.1 (step lengths).
    """
    found_AK, converged_K = start_AK.copy(), np.zeros(start_AK.shape[1], bool)
    columns_K, point_AK = np.arange(start_AK.shape[1]), start_AK.copy()
    loss_K, gradient_AK = objective(point_AK, columns_K)
    steps_HAK, changes_HAK = np.empty((0, *point_AK.shape)), np.empty((0, *point_AK.shape))
    for _ in range(max_iterations):
        open_K = np.abs(gradient_AK).max(axis=0) > tolerance
        if not open_K.all():
            found_AK[:, columns_K], converged_K[columns_K[~open_K]] = point_AK, True
            columns_K, loss_K = columns_K[open_K], loss_K[open_K]
            point_AK, gradient_AK = point_AK[:, open_K], gradient_AK[:, open_K]
            steps_HAK, changes_HAK = steps_HAK[:, :, open_K], changes_HAK[:, :, open_K]
            if not len(columns_K):
                break
        direction_AK = -_times_inverse_curvature(gradient_AK, steps_HAK, changes_HAK)
        moved = _step(objective, columns_K, point_AK, loss_K, gradient_AK, direction_AK)
        step_1AK, change_1AK = (moved[0] - point_AK)[None], (moved[2] - gradient_AK)[None]
        steps_HAK = np.concatenate([steps_HAK[-memory + 1 :], step_1AK])
        changes_HAK = np.concatenate([changes_HAK[-memory + 1 :], change_1AK])
        point_AK, loss_K, gradient_AK = moved
    found_AK[:, columns_K] = point_AK
    return found_AK, converged_K


def _times_inverse_curvature(gradient_AK: ndarray, steps_HAK: ndarray, changes_HAK: ndarray) -> ndarray:
    """The two loops of L-BFGS; a pair without curvature (a step that rounding ate) has no part."""
    curvature_HK = np.einsum("hak,hak->hk", steps_HAK, changes_HAK)
    weight_HK = np.where(curvature_HK > 0, 1 / np.where(curvature_HK > 0, curvature_HK, 1), 0.0)
    result_AK, along_HK = gradient_AK.copy(), np.empty_like(weight_HK)
    for h in range(len(steps_HAK))[::-1]:
        along_HK[h] = weight_HK[h] * np.einsum("ak,ak->k", steps_HAK[h], result_AK)
        result_AK -= along_HK[h] * changes_HAK[h]
    if len(steps_HAK):
        size_K = np.einsum("ak,ak->k", changes_HAK[-1], changes_HAK[-1])
        result_AK *= np.where(weight_HK[-1] > 0, curvature_HK[-1] / np.where(size_K > 0, size_K, 1), 1.0)
    for h in range(len(steps_HAK)):
        back_K = weight_HK[h] * np.einsum("ak,ak->k", changes_HAK[h], result_AK)
        result_AK += (along_HK[h] - back_K) * steps_HAK[h]
    return result_AK


def _step(
    objective: Objective,
    columns_K: ndarray,
    point_AK: ndarray,
    loss_K: ndarray,
    gradient_AK: ndarray,
    direction_AK: ndarray,
) -> tuple[ndarray, ndarray, ndarray]:
    """Point, loss and gradient after a step of length 1, in each column cut until it gains enough."""
    slope_K = (gradient_AK * direction_AK).sum(axis=0)
    length_K = np.ones(len(columns_K))
    new_AK = point_AK + direction_AK
    new_loss_K, new_gradient_AK = objective(new_AK, columns_K)
    for _ in range(HALVINGS):
        enough_K = loss_K + SUFFICIENT * length_K * slope_K + ROUNDING * np.abs(loss_K)
        short = np.flatnonzero(~(new_loss_K <= enough_K))  # nor where it is NaN
        if not len(short):
            break
        length_K[short] /= 2
        new_AK[:, short] = point_AK[:, short] + length_K[short] * direction_AK[:, short]
        new_loss_K[short], new_gradient_AK[:, short] = objective(new_AK[:, short], columns_K[short])
    return new_AK, new_loss_K, new_gradient_AK
