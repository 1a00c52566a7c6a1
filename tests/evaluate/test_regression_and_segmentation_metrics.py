"""Errors of values against scikit-learn and SciPy, and of segmentations against counts by hand."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import f1_score, jaccard_score, mean_absolute_error, mean_squared_error, r2_score

from ecgjepa.evaluate.regression_metrics import METRICS, regression_metrics
from ecgjepa.evaluate.segmentation_metrics import confusion_counts, sample_accuracy, segmentation_metrics


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_values_equal_scikit_learn_under_weights(seed, offset):
    chance = np.random.default_rng(seed)
    true = offset + chance.normal(60, 15, 80)
    said = true + chance.normal(1, 5, 80)
    weights = chance.multinomial(80, np.full(80, 1 / 80), size=6)
    found = regression_metrics(true, said, weights)
    for r, times in enumerate(weights):
        rows = np.repeat(np.arange(80), times)
        expected = [
            mean_absolute_error(true, said, sample_weight=times),
            np.sqrt(mean_squared_error(true, said, sample_weight=times)),
            r2_score(true, said, sample_weight=times),
            pearsonr(true[rows], said[rows]).statistic,
        ]
        np.testing.assert_allclose(found[r], expected, rtol=1e-9)
    assert len(METRICS) == found.shape[1]


def test_without_variance_there_is_no_share_of_it():
    same = np.full(5, 70.0)
    mae, rmse, r2, r = regression_metrics(same, same + np.array([1.0, -1, 1, -1, 1]))[0]
    assert (mae, rmse) == (1.0, 1.0)
    assert np.isnan([r2, r]).all()
    # Drawn ever the same record of several.
    drawn = np.array([[0, 7, 0], [0, 0, 0]])
    found = regression_metrics(np.array([50.3, 61.7, 70.1]), np.array([51.0, 60.0, 70.0]), drawn)
    assert found[0, 0] == pytest.approx(1.7)
    assert np.isnan(found[0, 2:]).all()
    assert np.isnan(found[1]).all()
    constant = regression_metrics(np.array([1.0, 2, 3]), np.full(3, 2.0))[0]
    assert constant[2] == pytest.approx(0.0)
    assert np.isnan(constant[3])


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 2 predicted values are not finite"):
        regression_metrics(np.array([1.0, 2.0]), np.array([1.0, np.inf]))


@pytest.mark.parametrize("seed", range(4))
def test_segmentations_equal_scikit_learn_over_all_samples(seed):
    chance = np.random.default_rng(seed)
    true, called = chance.integers(0, 4, (12, 50)), chance.integers(0, 4, (12, 50))
    called = np.where(chance.random((12, 50)) < 0.6, true, called)
    true[chance.random((12, 50)) < 0.1] = -1  # not annotated
    weights = chance.multinomial(12, np.full(12, 1 / 12), size=5)
    counts = confusion_counts(true, called, 4)
    found, right = segmentation_metrics(counts, weights), sample_accuracy(counts, weights)
    for r, times in enumerate(weights):
        rows = np.repeat(np.arange(12), times)
        known = true[rows] >= 0
        given = true[rows][known], called[rows][known]
        np.testing.assert_allclose(found[r, 0], jaccard_score(*given, average=None, labels=range(4)))
        np.testing.assert_allclose(found[r, 1], f1_score(*given, average=None, labels=range(4)))
        assert right[r] == pytest.approx((given[0] == given[1]).mean())


def test_counts_are_by_true_and_called_class():
    counts = confusion_counts(np.array([[0, 0, 1, -1]]), np.array([[0, 2, 1, 1]]), 3)
    np.testing.assert_array_equal(counts, [[[1, 0, 1], [0, 1, 0], [0, 0, 0]]])
    iou, f1 = segmentation_metrics(counts)[0]
    np.testing.assert_allclose(iou, [0.5, 1.0, 0.0])  # called and never there: nothing right
    np.testing.assert_allclose(f1, [2 / 3, 1.0, 0.0])
    assert np.isnan(segmentation_metrics(counts[:, :2, :2] * 0)[0]).all()


@pytest.mark.parametrize(
    ("true", "called", "said"),
    [(3, 0, "true class 3 in row 1"), (0, 3, "called class 3 in row 1"), (0, -1, "called class -1 in row 1")],
)
def test_a_class_that_does_not_exist_is_refused(true, called, said):
    with pytest.raises(ValueError, match=said):
        confusion_counts(np.array([[0], [true]]), np.array([[0], [called]]), 3)
