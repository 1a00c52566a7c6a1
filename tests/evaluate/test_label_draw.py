"""The order from which label fractions are taken: every beginning is balanced, and rare classes come early."""

import itertools

import numpy as np
import pytest

from ecgjepa.data.listings.datasets import list_records
from ecgjepa.evaluate.label_draw import draw_order, quantile_bins
from ecgjepa.evaluate.targets import RegressionTargets, arrange_splits, read_targets, take_training_fraction

from .fakes import make_store

SHARES = [0.5, 0.3, 0.2, 0.05, 0.01, 0.003]


def some_labels(records: int = 3000, seed: int = 0) -> np.ndarray:
    """Classes that come together at times, and records without one."""
    return np.random.default_rng(seed).random((records, len(SHARES))) < SHARES


def test_an_order_has_every_record_once_and_follows_the_seed():
    labels = some_labels()
    order = draw_order(labels, 0)
    assert sorted(order.tolist()) == list(range(len(labels)))
    np.testing.assert_array_equal(order, draw_order(labels, 0))
    assert (order != draw_order(labels, 1)).any()


@pytest.mark.parametrize("fraction", [0.01, 0.03, 0.1, 0.5])
def test_beginnings_have_the_shares_of_the_whole_more_closely_than_chance(fraction):
    ours, chance = [], []
    for seed in range(20):
        labels = some_labels(seed=seed)
        taken = round(fraction * len(labels))
        expected = taken * labels.mean(axis=0)
        ours.append(labels[draw_order(labels, seed)[:taken]].sum(axis=0) - expected)
        random = np.random.default_rng(seed).permutation(len(labels))[:taken]
        chance.append(labels[random].sum(axis=0) - expected)
    common = slice(0, 3)
    assert np.square(ours)[:, common].mean() < 0.5 * np.square(chance)[:, common].mean()
    assert np.abs(np.mean(ours, axis=0)).max() < 2  # one of every class, and no other preference


def test_every_class_is_there_as_soon_as_it_can_be():
    labels = some_labels()
    positives = labels.sum(axis=0)
    assert 0 < positives[-1] < 20
    for seed in range(10):
        assert labels[draw_order(labels, seed)[: len(SHARES)]].any(axis=0).all()


def test_one_class_a_record_gives_each_its_share():
    labels = np.eye(3, dtype=bool)[np.repeat([0, 1, 2], [800, 150, 50])]
    for taken in (20, 100, 500):
        counts = labels[draw_order(labels, 5)[:taken]].sum(axis=0)
        np.testing.assert_allclose(counts, taken * np.array([0.8, 0.15, 0.05]), atol=2)


def test_without_classes_the_order_is_random():
    order = draw_order(np.zeros((500, 0), dtype=bool), 0)
    assert sorted(order.tolist()) == list(range(500))
    assert abs(np.corrcoef(order, np.arange(500))[0, 1]) < 0.15
    assert draw_order(np.zeros((0, 3), dtype=bool), 0).tolist() == []


def test_numbers_are_drawn_from_bins_of_equal_count():
    values = np.random.default_rng(0).lognormal(size=1000)
    bins = quantile_bins(values)
    assert bins.sum(axis=0).tolist() == [100] * 10
    assert quantile_bins(np.ones(7)).shape == (7, 1)
    targets = RegressionTargets(
        "qrs", "ms", np.arange(1000), values, np.arange(1000).astype(str), np.array(["train"] * 1000), {}
    )
    part = take_training_fraction(targets, 0.05, 0)
    assert len(part) == 50
    deciles = np.quantile(values, np.arange(0.1, 1, 0.1))
    assert np.bincount(np.searchsorted(deciles, part.values_N), minlength=10).tolist() == [5] * 10


def test_smaller_fractions_lie_within_larger_ones():
    targets = arrange_splits(read_targets(make_store(), "superdiagnostic", "multilabel"), "strict", 0)
    parts = [set(take_training_fraction(targets, fraction, 7).rows_N) for fraction in (0.02, 0.1, 0.5, 1)]
    assert all(small < large for small, large in itertools.pairwise(parts))


@pytest.mark.real_data
def test_the_71_classes_of_ptbxl_in_a_hundredth(real_data_dir):
    listing = list_records("ptbxl", real_data_dir / "ptbxl")
    names = listing.levels["all"]
    labels = np.array([[name in (record or ()) for name in names] for record in listing.records["labels_all"]])
    order = draw_order(labels, 0)
    there = labels[order[:218]].any(axis=0)
    assert there.all()
    random = labels[np.random.default_rng(0).permutation(len(labels))[:218]].any(axis=0)
    assert random.sum() < 65
