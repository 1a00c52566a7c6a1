"""The map keeps neighbours together and is the same every time."""

import numpy as np
import pytest

from ecgjepa.evaluate.projection import project_to_map


def test_map_keeps_groups_together_and_is_the_same_every_time() -> None:
    rng = np.random.default_rng(0)
    group_R = np.repeat([0, 1], 40)
    features_RD = rng.normal(size=(80, 16)) + 8 * group_R[:, None]
    place_R2 = project_to_map(features_RD)
    np.testing.assert_array_equal(place_R2, project_to_map(features_RD))
    distance_RR = np.linalg.norm(place_R2[:, None] - place_R2, axis=-1) + np.diag(np.full(80, np.inf))
    assert (group_R[distance_RR.argmin(axis=1)] == group_R).all()


@pytest.mark.parametrize("records", [5, 12])
def test_map_of_few_records(records: int) -> None:
    assert np.isfinite(project_to_map(np.random.default_rng(0).normal(size=(records, 8)))).all()
