"""Many problems at once give what each alone gives, and say which were solved."""

import numpy as np
import pytest
from scipy.optimize import minimize

from ecgjepa.evaluate.columns import minimise_columns


def quartic(curvature_AK, centre_AK):
    """Sum of c (x - m)^2 / 2 + (x - m)^4, for each column."""

    def objective(point_AK, columns):
        away = point_AK - centre_AK[:, columns]
        curvature = curvature_AK[:, columns]
        return (curvature * away**2 / 2 + away**4).sum(axis=0), curvature * away + 4 * away**3

    return objective


def problems(coordinates=6, columns=9):
    rng = np.random.default_rng(0)
    return rng.uniform(0.1, 300, (coordinates, columns)), rng.standard_normal((coordinates, columns)) * 3


def test_the_minimum_of_every_column():
    curvature, centre = problems()
    found, converged = minimise_columns(
        quartic(curvature, centre), np.zeros_like(centre), tolerance=1e-8, max_iterations=500
    )
    assert converged.all()
    np.testing.assert_allclose(found, centre, atol=1e-6)


def test_a_column_does_not_depend_on_the_others():
    curvature, centre = problems()
    options = {"tolerance": 1e-3, "max_iterations": 500}
    together, _ = minimise_columns(quartic(curvature, centre), np.zeros_like(centre), **options)
    for k in range(9):
        one = quartic(curvature[:, [k]], centre[:, [k]])
        alone, _ = minimise_columns(one, np.zeros((6, 1)), **options)
        np.testing.assert_allclose(alone[:, 0], together[:, k], rtol=1e-9)


def test_about_as_many_steps_as_scipy():
    curvature, centre = problems(columns=1)
    objective, calls = quartic(curvature, centre), []

    def counted(point, columns):
        calls.append(1)
        return objective(point, columns)

    minimise_columns(counted, np.zeros((6, 1)), tolerance=1e-6, max_iterations=500)

    def flat(point):
        loss, gradient = objective(point[:, None], np.array([0]))
        return float(loss[0]), gradient[:, 0]

    theirs = minimize(flat, np.zeros(6), jac=True, method="L-BFGS-B", options={"gtol": 1e-6, "ftol": 0.0, "maxcor": 20})
    assert len(calls) <= 2 * theirs.nfev


def test_columns_that_are_not_solved_are_told_and_solved_ones_leave():
    curvature, centre = problems(columns=3)
    centre[:, 1] = 0  # starts at its minimum
    asked = []
    objective = quartic(curvature, centre)

    def watched(point, columns):
        asked.append(columns.tolist())
        return objective(point, columns)

    found, converged = minimise_columns(watched, np.zeros_like(centre), tolerance=1e-9, max_iterations=1)
    assert converged.tolist() == [False, True, False]
    assert asked[0] == [0, 1, 2]
    assert all(1 not in columns for columns in asked[1:])
    assert (found[:, 1] == 0).all()
    assert (objective(found, np.arange(3))[0] <= objective(np.zeros_like(centre), np.arange(3))[0]).all()


@pytest.mark.parametrize("memory", [1, 5])
def test_a_short_memory_is_enough(memory):
    curvature, centre = problems()
    found, converged = minimise_columns(
        quartic(curvature, centre), np.zeros_like(centre), tolerance=1e-6, max_iterations=2000, memory=memory
    )
    assert converged.all()
    np.testing.assert_allclose(found, centre, atol=1e-4)
