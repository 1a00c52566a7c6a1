"""Read-outs of any kind: the solutions of scikit-learn, what validation chooses, and what none of them accepts."""

import json

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler

from ecgjepa.evaluate.readouts import (
    KNearestProbe,
    KNearestRegression,
    LinearProbe,
    NearestMeanProbe,
    RidgeRegression,
    nearest,
)
from ecgjepa.evaluate.readouts.class_means import fit_temperature, platt

from .test_protocols import make_data, split, spoil

PROBES = {"linear": LinearProbe, "nearest": KNearestProbe, "means": NearestMeanProbe}
REGRESSIONS = {"ridge": RidgeRegression, "nearest": KNearestRegression}


def make_values(records=300, features=20, seed=0):
    """Correlated features, and a number (about 60) that follows them with noise."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((records, features)) / np.arange(1, features + 1)
    values = 60 + 10 * latent[:, 0] - 8 * latent[:, 3] * 4 + rng.standard_normal(records)
    return (latent @ rng.standard_normal((features, features)) + 5).astype(np.float32), values


def standardised(x, *others):
    scaler = StandardScaler().fit(x.astype(np.float64))
    return [scaler.transform(each.astype(np.float64)) for each in (x, *others)]


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("name", PROBES)
def test_every_probe_learns_and_says_what_it_chose(name, task):
    x, labels, validation_x, validation_labels = split(*make_data(500, exclusive=task == "multiclass"), at=350)
    probe = PROBES[name](task)
    assert probe.fit(x, labels, validation_x, validation_labels) is probe
    probabilities = probe.predict_proba(validation_x)
    assert probabilities.dtype == np.float64
    assert roc_auc_score(validation_labels, probabilities, average="macro") > 0.75
    assert ((probabilities >= 0) & (probabilities <= 1)).all()
    assert json.loads(json.dumps(probe.selection_)) == probe.selection_
    assert isinstance(probe.notes_, list)
    if task == "multiclass":
        assert probe.thresholds_ is None
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert (probe.predict(validation_x).sum(axis=1) == 1).all()
    else:
        assert probe.thresholds_.shape == (4,)
        np.testing.assert_array_equal(probe.predict(validation_x), probabilities >= probe.thresholds_)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("name", PROBES)
def test_labels_without_relation_to_the_features_give_chance(name, task):
    x, labels = make_data(900, exclusive=task == "multiclass")
    labels = labels[np.random.default_rng(1).permutation(len(labels))]
    probe = PROBES[name](task).fit(x[:300], labels[:300], x[300:600], labels[300:600])
    assert roc_auc_score(labels[600:], probe.predict_proba(x[600:]), average="macro") == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("name", PROBES)
def test_scale_and_offset_of_the_features_do_not_matter(name):
    x, labels, validation_x, validation_labels = split(*make_data())
    plain = PROBES[name]("multilabel").fit(x, labels, validation_x, validation_labels)
    small, validation_small = (np.float32(1) + np.float32(1e-3) * values for values in (x, validation_x))
    probe = PROBES[name]("multilabel").fit(small, labels, validation_small, validation_labels)
    np.testing.assert_allclose(probe.predict_proba(validation_small), plain.predict_proba(validation_x), atol=0.02)


@pytest.mark.parametrize("name", PROBES)
def test_classes_without_both_values_get_a_constant(name):
    x, labels, validation_x, validation_labels = split(*make_data())
    labels[:, 1], labels[:, 2] = False, True
    probe = PROBES[name]("multilabel").fit(x, labels, validation_x, validation_labels)
    probabilities = probe.predict_proba(validation_x)
    np.testing.assert_allclose(probabilities[:, 1], 0)
    np.testing.assert_allclose(probabilities[:, 2], 1)
    np.testing.assert_array_equal(probe.thresholds_[1:3], 0.5)
    assert json.loads(json.dumps(probe.selection_)) == probe.selection_


@pytest.mark.parametrize("name", PROBES)
def test_multiclass_without_a_class_in_training(name):
    x, labels, validation_x, validation_labels = split(*make_data(exclusive=True))
    keep = ~labels[:, 2]
    probe = PROBES[name]("multiclass").fit(x[keep], labels[keep], validation_x, validation_labels)
    probabilities = probe.predict_proba(validation_x)
    np.testing.assert_array_equal(probabilities[:, 2], 0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


@pytest.mark.parametrize("name", PROBES)
def test_features_that_are_all_the_same_are_harmless(name):
    _, labels, _, validation_labels = split(*make_data())
    x, validation_x = np.ones((200, 3), np.float32), np.ones((100, 3), np.float32)
    probabilities = PROBES[name]("multilabel").fit(x, labels, validation_x, validation_labels).predict_proba(x)
    assert np.isfinite(probabilities).all()
    assert np.ptp(probabilities, axis=0).max() < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, v, w: (spoil(x), y, v, w), "training: 1 of 200 records have features that are not finite"),
        (lambda x, y, v, w: (x, y, spoil(v), w), "validation: 1 of 100 records have features that are not finite"),
        (lambda x, y, v, w: (x[:0], y[:0], v, w), "training: 0 records and 4 classes"),
        (lambda x, y, v, w: (x, y, v[:0], w[:0]), "validation: 0 records and 4 classes"),
        (lambda x, y, v, w: (x, y & False, v, w), "training: no class has positive and negative records"),
        (lambda x, y, v, w: (x, y[:, :1] | True, v, w[:, :1]), "training: no class has positive and negative records"),
        (lambda x, y, v, w: (x, y, v, w | True), "validation: no class has positive and negative records"),
        (lambda x, y, v, w: (x, y[1:], v, w), "training: 200 records with features and 199 with labels"),
        (lambda x, y, v, w: (x, y, v[:, 1:], w), "validation: 19 features, expected 20"),
        (lambda x, y, v, w: (x, y, v, w[:, 1:]), "validation: 3 classes, expected 4"),
    ],
)
@pytest.mark.parametrize("name", PROBES)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_learned_is_a_clear_error(name, change, message):
    with pytest.raises(ValueError, match=message):
        PROBES[name]("multilabel").fit(*change(*split(*make_data())))


@pytest.mark.parametrize("name", PROBES)
def test_one_class_is_not_multiclass(name):
    x, labels, validation_x, validation_labels = split(*make_data(exclusive=True))
    labels[:] = [True, False, False, False]
    with pytest.raises(ValueError, match="training: no class has positive and negative records"):
        PROBES[name]("multiclass").fit(x, labels, validation_x, validation_labels)


@pytest.mark.parametrize("name", PROBES)
def test_features_to_predict_from_must_be_finite(name):
    x, labels, validation_x, validation_labels = split(*make_data())
    probe = PROBES[name]("multilabel").fit(x, labels, validation_x, validation_labels)
    with pytest.raises(ValueError, match="prediction: 1 of 100 records"):
        probe.predict_proba(spoil(validation_x))


def cosine_votes(distances):
    return np.clip(1 - distances, 0, None)


@pytest.mark.parametrize("k", [1, 7, 50])
@pytest.mark.parametrize("block", [10, 10**7])
def test_nearest_votes_are_those_of_scikit_learn(k, block, monkeypatch):
    monkeypatch.setattr(nearest, "BLOCK_ELEMENTS", 200 * block)
    x, labels, validation_x, validation_labels = split(*make_data())
    probe = KNearestProbe("multilabel", grid=(k,)).fit(x, labels, validation_x, validation_labels)
    train, validation = standardised(x, validation_x)
    model = KNeighborsClassifier(k, weights=cosine_votes, metric="cosine", algorithm="brute").fit(train, labels)
    expected = np.column_stack([each[:, 1] for each in model.predict_proba(validation)])
    np.testing.assert_allclose(probe.predict_proba(validation_x), expected, atol=1e-5)


def test_k_is_the_best_on_validation():
    x, labels, validation_x, validation_labels = split(*make_data())
    probe = KNearestProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    assert [k for k, _ in probe.selection_["grid"]] == [1, 5, 10, 20, 50, 100]
    for k, auc in probe.selection_["grid"]:
        alone = KNearestProbe("multilabel", grid=(k,)).fit(x, labels, validation_x, validation_labels)
        scores = alone.predict_proba(validation_x)
        assert auc == pytest.approx(roc_auc_score(validation_labels, scores, average="macro"))
    assert probe.k_ == max(probe.selection_["grid"], key=lambda pair: pair[1])[0]


def test_fewer_records_than_k():
    x, labels, validation_x, validation_labels = split(*make_data())
    probe = KNearestProbe("multilabel").fit(x[:30], labels[:30], validation_x, validation_labels)
    assert [k for k, _ in probe.selection_["grid"]] == [1, 5, 10, 20]
    assert any("of [1, 5, 10, 20] only, as there are 30 training records" in note for note in probe.notes_)
    with pytest.raises(ValueError, match="training: 30 records, expected at least k = 40"):
        KNearestProbe("multilabel", grid=(40,)).fit(x[:30], labels[:30], validation_x, validation_labels)


@pytest.mark.parametrize("features", [20, 500])  # fewer and more than records
def test_ridge_is_that_of_scikit_learn_at_every_strength(features):
    x, values, validation_x, validation_values = split(*make_values(features=features))
    train, validation = standardised(x, validation_x)
    probe = RidgeRegression().fit(x, values, validation_x, validation_values)
    assert len(probe.selection_["grid"]) == 11
    for alpha, error in probe.selection_["grid"]:
        predicted = Ridge(alpha=alpha).fit(train, values).predict(validation)
        assert error == pytest.approx(np.abs(predicted - validation_values).mean(), rel=1e-6)
    assert probe.alpha_ == min(probe.selection_["grid"], key=lambda pair: pair[1])[0]
    expected = Ridge(alpha=probe.alpha_).fit(train, values).predict(validation)
    np.testing.assert_allclose(probe.predict(validation_x), expected, atol=1e-6)
    weight, bias = probe.raw_layer()
    np.testing.assert_allclose(validation_x.astype(np.float64) @ weight[0] + bias[0], expected, atol=1e-6)


def test_nearest_mean_of_values_is_that_of_scikit_learn():
    x, values, validation_x, validation_values = split(*make_values())
    train, validation = standardised(x, validation_x)
    probe = KNearestRegression().fit(x, values, validation_x, validation_values)
    for k, error in probe.selection_["grid"]:
        model = KNeighborsRegressor(k, weights=cosine_votes, metric="cosine", algorithm="brute").fit(train, values)
        assert error == pytest.approx(np.abs(model.predict(validation) - validation_values).mean(), abs=1e-3)
    assert probe.k_ == min(probe.selection_["grid"], key=lambda pair: pair[1])[0]
    assert np.abs(probe.predict(validation_x) - validation_values).mean() < np.abs(60 - validation_values).mean() / 1.5


@pytest.mark.parametrize("name", REGRESSIONS)
def test_regressions_refuse_by_name(name):
    x, values, validation_x, validation_values = split(*make_values())
    broken = values.copy()
    broken[[4, 8]] = np.nan
    for change, message in (
        ((x, broken, validation_x, validation_values), "training: 2 of 200 values are not finite"),
        ((spoil(x), values, validation_x, validation_values), "training: 1 of 200 records have features"),
        ((x, values, spoil(validation_x), validation_values), "validation: 1 of 100 records have features"),
        ((x[:0], values[:0], validation_x, validation_values), "training: 0 records and 0 values"),
        ((x, values, validation_x[:0], validation_values[:0]), "validation: 0 records and 0 values"),
    ):
        with pytest.raises(ValueError, match=message):
            REGRESSIONS[name]().fit(*change)
    with pytest.raises(ValueError, match="prediction: 1 of 100"):
        REGRESSIONS[name]().fit(x, values, validation_x, validation_values).predict(spoil(validation_x))


def test_a_number_that_never_changes_is_refused():
    x, values, validation_x, validation_values = split(*make_values())
    with pytest.raises(ValueError, match="all 200 values are 61, so there is nothing to learn"):
        RidgeRegression().fit(x, np.full_like(values, 61), validation_x, validation_values)


def test_classes_are_those_of_the_nearest_mean():
    """As the nearest neighbour among the means, by scikit-learn."""
    x, labels, validation_x, validation_labels = split(*make_data(exclusive=True))
    probe = NearestMeanProbe("multiclass").fit(x, labels, validation_x, validation_labels)
    train, validation = standardised(x, validation_x)
    train /= np.linalg.norm(train, axis=1, keepdims=True)
    means = np.stack([train[labels[:, k]].mean(axis=0) for k in range(4)])
    model = KNeighborsClassifier(1, metric="cosine", algorithm="brute").fit(means, np.arange(4))
    np.testing.assert_array_equal(probe.predict(validation_x).argmax(axis=1), model.predict(validation))


def test_a_class_is_ranked_by_likeness_to_those_with_it_less_those_without():
    x, labels, validation_x, validation_labels = split(*make_data())
    probe = NearestMeanProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    train, validation = standardised(x, validation_x)
    train, validation = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (train, validation))
    for k in range(4):
        means = [train[labels[:, k] == value].mean(axis=0) for value in (True, False)]
        score = validation @ (means[0] / np.linalg.norm(means[0]) - means[1] / np.linalg.norm(means[1]))
        expected = expit(probe.selection_["slope"][k] * score + probe.selection_["intercept"][k])
        np.testing.assert_allclose(probe.predict_proba(validation_x)[:, k], expected, atol=1e-5)


def test_platts_curve_is_a_logistic_regression_on_smoothed_targets():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.3
    scores = 0.01 * rng.standard_normal(60) + 0.01 * labels
    slope, intercept = platt(scores, labels)
    high, low = (labels.sum() + 1) / (labels.sum() + 2), 1 / ((~labels).sum() + 2)
    target = np.where(labels, high, low)
    twice = np.concatenate([scores, scores])[:, None] * 100
    weights = np.concatenate([target, 1 - target])
    model = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(twice, np.repeat([1, 0], 60), sample_weight=weights)
    assert slope == pytest.approx(100 * model.coef_[0, 0], rel=1e-3)
    assert intercept == pytest.approx(model.intercept_[0], rel=1e-3)


@pytest.mark.parametrize("labels", [np.ones(9, bool), np.zeros(9, bool), np.arange(9) < 4])
def test_platts_curve_is_finite_and_rising_for_any_labels(labels):
    slope, intercept = platt(np.linspace(-1, 1, 9), labels)  # the last: falling, and separable
    assert slope > 0
    assert np.isfinite(intercept)


def test_the_temperature_is_that_of_the_labels():
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (4000, 3))
    drawn = (scores / 0.2 + rng.gumbel(size=scores.shape)).argmax(axis=1)
    assert fit_temperature(scores, np.eye(3, dtype=bool)[drawn]) == pytest.approx(0.2, rel=0.1)


def test_one_sided_validation_classes_are_told():
    x, labels, validation_x, validation_labels = split(*make_data())
    validation_labels[:, 0] = False
    probe = NearestMeanProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    assert any(note.startswith("1 classes have only positive or only negative validation") for note in probe.notes_)
