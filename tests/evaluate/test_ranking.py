"""Average precision, sensitivity at a specificity and calibration against scikit-learn and plain loops."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from ecgjepa.evaluate import ranking
from ecgjepa.evaluate.calibration import brier, calibration_error, reliability_table
from ecgjepa.evaluate.metrics import auroc, ranking_metrics
from tests.evaluate.test_metrics import random_case


def sensitivity_by_roc(labels, scores, weights, specificity):
    """The best point of the whole ROC that is specific enough."""
    false_rate, true_rate, _ = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    return true_rate[1 - false_rate >= specificity - 1e-12].max()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("levels", [None, 1, 2, 5, 20])
def test_one_pass_equals_scikit_learn_under_weights_and_ties(seed, levels):
    labels, scores, weights = random_case(seed, levels=levels)
    specificity = [0.9, 0.5, 0.0, 1.0][seed % 4]
    found = ranking_metrics(labels, scores, weights, specificity)
    for r, k in itertools.product(range(len(weights)), range(labels.shape[1])):
        given = labels[:, k], scores[:, k]
        if len(set(labels[weights[r] > 0, k])) < 2:
            continue
        expected = [
            roc_auc_score(*given, sample_weight=weights[r]),
            average_precision_score(*given, sample_weight=weights[r]),
            sensitivity_by_roc(*given, weights[r], specificity),
        ]
        assert found[r, :, k] == pytest.approx(expected, abs=1e-12)


def test_weights_mean_repeated_records():
    labels, scores, weights = random_case(3, levels=4)
    found = ranking_metrics(labels, scores, weights)
    for r, times in enumerate(weights):
        repeated = np.repeat(np.arange(len(labels)), times)
        np.testing.assert_allclose(found[r], ranking_metrics(labels[repeated], scores[repeated])[0], atol=1e-12)


def test_exactly_nine_of_ten_negatives_is_specific_enough():
    """1 - 0.9 is a little less than 0.1 in floating point."""
    scores = np.array([0.95, 0.85, 0.5, 0.9, *np.linspace(0.1, 0.4, 9)])[:, None]
    labels = np.zeros((13, 1), bool)
    labels[:3] = True  # one above the first negative, two below it, all above the other nine
    assert ranking_metrics(labels, scores)[0, 2, 0] == 1.0
    assert ranking_metrics(labels, scores, specificity=0.91)[0, 2, 0] == pytest.approx(1 / 3)


def test_undefined_cases():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=bool)
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.1, 0.4], [0.1, 0.3, 0.6]])
    np.testing.assert_allclose(
        ranking_metrics(labels, scores)[0],
        [[0.5, np.nan, np.nan], [(1 + 2 / 3) / 2, np.nan, 1.0], [0.5, np.nan, np.nan]],
    )
    one = ranking_metrics(np.array([[True]]), np.array([[0.3]]))[0, :, 0]
    np.testing.assert_array_equal(one, [np.nan, 1.0, np.nan])
    nobody = ranking_metrics(labels, scores, np.zeros((2, 3), int))
    assert np.isnan(nobody).all()
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        ranking_metrics(np.array([[True], [False]]), np.array([[np.nan], [0.1]]))


def test_all_equal_scores_tell_nothing():
    labels = np.arange(40)[:, None] < 10
    auc, precision, sensitivity = ranking_metrics(labels, np.full((40, 1), 0.3))[0, :, 0]
    assert (auc, precision, sensitivity) == (0.5, 0.25, 0.0)


def test_sums_beyond_float32_are_exact(monkeypatch):
    labels, scores, weights = random_case(5, levels=8)
    expected = ranking_metrics(labels, scores, weights)
    monkeypatch.setattr(ranking, "EXACT_IN_FLOAT32", 10)
    assert ranking.by_record(weights, len(labels)).dtype == np.float64
    np.testing.assert_array_equal(ranking_metrics(labels, scores, weights), expected)
    large = weights * 1_000_003  # the same resample, with odd counts beyond 2**24
    monkeypatch.undo()
    np.testing.assert_allclose(auroc(labels, scores, large), expected[:, 0], atol=1e-12)


def ece_by_loop(labels_N, probabilities_N, bins=15):
    """Record by record, from the borders of the bins."""
    borders, error = [b / bins for b in range(bins + 1)], 0.0
    for b in range(bins):
        inside = [
            n for n, p in enumerate(probabilities_N) if borders[b] <= p < borders[b + 1] or (p == 1.0 and b == bins - 1)
        ]
        if inside:
            said = sum(probabilities_N[n] for n in inside) / len(inside)
            seen = sum(bool(labels_N[n]) for n in inside) / len(inside)
            error += len(inside) / len(labels_N) * abs(said - seen)
    return error


@pytest.mark.parametrize("seed", range(8))
def test_calibration_equals_a_plain_loop(seed):
    labels, probabilities, weights = random_case(seed, records=50)
    probabilities[0] = [0.0, 1.0, 0.999, 0.5]
    found, squares = calibration_error(labels, probabilities, weights), brier(labels, probabilities, weights)
    for r, k in itertools.product(range(len(weights)), range(labels.shape[1])):
        rows = np.repeat(np.arange(len(labels)), weights[r])
        assert found[r, k] == pytest.approx(ece_by_loop(labels[rows, k], probabilities[rows, k]), abs=1e-12)
        expected = brier_score_loss(labels[rows, k], probabilities[rows, k], labels=[False, True])
        assert squares[r, k] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(calibration_error(labels, probabilities, 0 * weights)).all()


def test_probabilities_that_mean_what_they_say_have_a_small_error():
    chance = np.random.default_rng(0)
    probabilities = chance.random((20_000, 2))
    labels = chance.random((20_000, 2)) < probabilities * [1.0, 0.5]
    right, overconfident = calibration_error(labels, probabilities)[0]
    assert right < 0.02
    assert overconfident == pytest.approx(0.25, abs=0.02)


def test_the_reliability_table_is_what_the_error_is_made_of():
    labels, probabilities, _ = random_case(2, records=200)
    table = reliability_table(labels, probabilities, ["a", "b", "c", "d"])
    assert (table["records"] > 0).all()
    assert table.groupby("class")["records"].sum().tolist() == [200] * 4
    assert ((table["mean_probability"] >= table["low"]) & (table["mean_probability"] <= table["high"])).all()
    gap = table["records"] / 200 * (table["mean_probability"] - table["observed"]).abs()
    np.testing.assert_allclose(gap.groupby(table["class"]).sum(), calibration_error(labels, probabilities)[0])


@pytest.mark.parametrize("wrong", [-0.1, 1.5, np.nan])
def test_what_is_no_probability_is_refused(wrong):
    with pytest.raises(ValueError, match=r"1 of 2 probabilities are not in \[0, 1\], the first is"):
        calibration_error(np.array([[True], [False]]), np.array([[wrong], [0.1]]))
