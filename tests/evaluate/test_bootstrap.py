"""Resampling patients: weights, intervals that cover, and what several records per patient do to them."""

import numpy as np
import pytest

from ecgjepa.evaluate.bootstrap import bootstrap, patient_weights, percentile_interval
from ecgjepa.evaluate.metrics import auroc


def all_weights(patients, resamples, seed, **options):
    return np.concatenate(list(patient_weights(patients, resamples, np.random.default_rng(seed), **options)))


def test_patients_come_with_all_their_records():
    patients = np.array(["b", "a", "b", "c", "a", "b"], dtype=object)
    weights = all_weights(patients, 50, seed=1)
    assert weights.shape == (50, 6)
    for name in "abc":
        columns = weights[:, patients == name]
        assert (columns == columns[:, :1]).all()
    one_record_each = weights[:, [1, 0, 3]]
    assert (one_record_each.sum(axis=1) == 3).all()  # three patients are drawn
    assert len(np.unique(one_record_each, axis=0)) > 5


def test_the_draws_depend_on_the_seed_and_not_on_the_block_size():
    patients = np.arange(37)
    whole = all_weights(patients, 101, seed=4)
    np.testing.assert_array_equal(whole, all_weights(patients, 101, seed=4, block_elements=37 * 8))
    np.testing.assert_array_equal(whole, all_weights(patients, 101, seed=4, block_elements=1))
    assert (whole != all_weights(patients, 101, seed=5)).any()


def test_blocks_bound_the_memory():
    blocks = list(patient_weights(np.arange(50), 100, np.random.default_rng(0), block_elements=1000))
    assert {block.shape for block in blocks} == {(20, 50)}


def test_percentile_interval_skips_undefined_resamples():
    samples = np.column_stack([np.arange(101.0), np.full(101, np.nan), np.where(np.arange(101) < 50, np.nan, 1.0)])
    low, high = percentile_interval(samples)
    np.testing.assert_allclose(low, [2.5, np.nan, 1.0])
    np.testing.assert_allclose(high, [97.5, np.nan, 1.0])


def simulate(rng, patients, records_each=1):
    """Half positives, half negatives; the true AUROC is Phi(1 / sqrt(2)) = 0.760; records repeat their patient."""
    labels = np.arange(patients) % 2 == 0
    scores = rng.standard_normal(patients) + labels
    names = np.repeat(np.arange(patients), records_each)
    return labels[names][:, None], scores[names][:, None], names


def auroc_interval(labels, scores, patients, resamples=200, seed=0):
    samples = bootstrap(lambda weights: auroc(labels, scores, weights), patients, resamples, seed)
    return percentile_interval(samples[:, 0])


def test_intervals_cover_the_true_value():
    rng, truth, covered = np.random.default_rng(0), 0.7602, 0
    for run in range(200):
        low, high = auroc_interval(*simulate(rng, 120), seed=run)
        covered += low <= truth <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_several_records_of_a_patient_widen_the_interval():
    labels, scores, patients = simulate(np.random.default_rng(1), 60, records_each=8)
    by_patient = np.ptp(auroc_interval(labels, scores, patients, 400))
    by_record = np.ptp(auroc_interval(labels, scores, np.arange(len(labels)), 400))
    assert by_patient == pytest.approx(by_record * np.sqrt(8), rel=0.3)


def test_a_paired_difference_is_sharper_than_two_intervals():
    rng = np.random.default_rng(2)
    labels, scores, patients = simulate(rng, 300)
    worse = scores + 0.3 * rng.standard_normal(scores.shape)

    def both(weights):
        return np.column_stack([auroc(labels, scores, weights), auroc(labels, worse, weights)])

    samples = bootstrap(both, patients, 300, seed=0)
    apart = np.ptp(percentile_interval(samples), axis=0).sum()
    assert np.ptp(percentile_interval(samples[:, 0] - samples[:, 1])) < 0.4 * apart


@pytest.mark.parametrize(("records", "resamples"), [(0, 10), (3, 0)])
def test_nothing_to_resample_is_an_error(records, resamples):
    with pytest.raises(ValueError, match=f"{records} records and {resamples} resamples"):
        bootstrap(lambda weights: weights.sum(1).astype(float), np.arange(records), resamples, seed=0)
