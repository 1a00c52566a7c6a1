"""AUROC and F1 against scikit-learn, with ties, weights and classes of one value."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_curve, roc_auc_score

from ecgjepa.evaluate.metrics import auroc, auroc_one_vs_one, best_f1_thresholds, f1, macro, measure


def random_case(seed, records=60, classes=4, levels=None, resamples=7):
    """Labels, scores (of few distinct values where `levels` is given) and integer weights."""
    rng = np.random.default_rng(seed)
    labels = rng.random((records, classes)) < rng.uniform(0.1, 0.9, classes)
    scores = rng.random((records, classes))
    if levels:
        scores = np.floor(scores * levels) / levels
    weights = rng.multinomial(records, np.full(records, 1 / records), size=resamples)
    return labels, scores, weights


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("levels", [None, 1, 2, 5])
def test_auroc_and_f1_equal_scikit_learn_under_weights_and_ties(seed, levels):
    labels, scores, weights = random_case(seed, levels=levels)
    predicted = scores > 0.4
    found_auc, found_f1 = auroc(labels, scores, weights), f1(labels, predicted, weights)
    for r, k in itertools.product(range(len(weights)), range(labels.shape[1])):
        if len(set(labels[weights[r] > 0, k])) < 2:
            assert np.isnan(found_auc[r, k])
            continue
        expected = roc_auc_score(labels[:, k], scores[:, k], sample_weight=weights[r])
        assert found_auc[r, k] == pytest.approx(expected, abs=1e-12)
        expected = f1_score(labels[:, k], predicted[:, k], sample_weight=weights[r], zero_division=0.0)
        assert found_f1[r, k] == pytest.approx(expected, abs=1e-12)


def test_weights_mean_repeated_records():
    labels, scores, weights = random_case(3, levels=4)
    for r, times in enumerate(weights):
        repeated = np.repeat(np.arange(len(labels)), times)
        np.testing.assert_allclose(auroc(labels, scores, weights)[r], auroc(labels[repeated], scores[repeated])[0])
        predicted = scores > 0.5
        np.testing.assert_allclose(f1(labels, predicted, weights)[r], f1(labels[repeated], predicted[repeated])[0])


def test_float32_scores_that_differ_are_not_tied():
    labels = np.array([[True], [False]])
    scores = np.array([[np.nextafter(np.float32(0.3), np.float32(1))], [0.3]], dtype=np.float32)
    assert auroc(labels, scores)[0, 0] == 1.0


def test_one_valued_classes_are_undefined_and_left_out_of_the_macro_mean():
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]], dtype=bool)
    scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.1, 0.4], [0.1, 0.3, 0.6]])
    values = auroc(labels, scores)
    np.testing.assert_array_equal(values, [[0.5, np.nan, np.nan]])
    np.testing.assert_array_equal(macro(values), [0.5])
    assert np.isnan(macro(np.full((1, 3), np.nan))).all()
    # Without positives recall is undefined, whatever is called; without negatives F1 still means something.
    np.testing.assert_array_equal(f1(labels, scores > 0.3, None), [[2 / 3, np.nan, 1.0]])


def test_a_resample_without_positives_is_undefined_there_alone():
    labels, scores = np.array([[1, 1], [0, 0], [0, 1]], dtype=bool), np.array([[0.9, 0.8], [0.1, 0.2], [0.2, 0.1]])
    weights = np.array([[0, 2, 1], [1, 1, 1]])
    values = auroc(labels, scores, weights)
    np.testing.assert_array_equal(values, [[np.nan, 0.0], [1.0, 0.5]])
    np.testing.assert_array_equal(macro(values), [0.0, 0.75])


@pytest.mark.parametrize("seed", range(5))
def test_one_vs_one_equals_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(80) % 5)
    scores = rng.random((80, 5)).round(1) + 0.05
    scores /= scores.sum(axis=1, keepdims=True)
    labels = np.eye(5, dtype=bool)[truth]
    expected = roc_auc_score(truth, scores, multi_class="ovo", average="macro")
    assert auroc_one_vs_one(labels, scores)[0] == pytest.approx(expected, abs=1e-12)
    expected = roc_auc_score(truth, scores, multi_class="ovr", average="macro")
    assert macro(auroc(labels, scores))[0] == pytest.approx(expected, abs=1e-12)
    times = rng.integers(0, 3, size=80)
    repeated = np.repeat(np.arange(80), times)
    weighted = auroc_one_vs_one(labels, scores, times[None])[0]
    assert weighted == pytest.approx(auroc_one_vs_one(labels[repeated], scores[repeated])[0], abs=1e-12)


def test_one_vs_one_leaves_out_absent_classes():
    labels = np.eye(3, dtype=bool)[[0, 1, 0, 1]]
    scores = np.array([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.6, 0.2, 0.2], [0.7, 0.1, 0.2]])
    expected = (0.75 + np.mean([1, 1, 0, 0.5])) / 2
    assert auroc_one_vs_one(labels, scores)[0] == pytest.approx(expected)


def test_measure_stacks_classes_and_macro_mean():
    labels, scores, weights = random_case(1)
    labels = np.eye(4, dtype=bool)[scores.argmax(axis=1)]
    table = measure(labels, scores, scores > 0.5, True, weights)
    assert table.shape == (7, 3, 5)
    np.testing.assert_array_equal(table[:, 0, :-1], auroc(labels, scores, weights))
    np.testing.assert_array_equal(table[:, 1, -1], macro(f1(labels, scores > 0.5, weights)))
    np.testing.assert_array_equal(table[:, 2, -1], auroc_one_vs_one(labels, scores, weights))
    assert np.isnan(table[:, 2, :-1]).all()
    assert measure(labels, scores, scores > 0.5).shape == (1, 2, 5)


@pytest.mark.parametrize("seed", range(10))
def test_thresholds_reach_the_best_f1_there_is(seed):
    labels, scores, _ = random_case(seed, levels=6 if seed % 2 else None)
    found = f1(labels, scores >= best_f1_thresholds(labels, scores))[0]
    for k in range(labels.shape[1]):
        precision, recall, _ = precision_recall_curve(labels[:, k], scores[:, k])
        best = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        assert found[k] == pytest.approx(best, abs=1e-12)


def test_threshold_of_a_class_without_positives_is_the_default():
    labels = np.array([[False, True], [False, False]])
    scores = np.array([[0.1, 0.6], [0.2, 0.6]])
    np.testing.assert_array_equal(best_f1_thresholds(labels, scores), [0.5, 0.6])


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        auroc(np.array([[True], [False]]), np.array([[np.nan], [0.1]]))
