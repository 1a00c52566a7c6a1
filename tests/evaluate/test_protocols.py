"""The two probes alone: scikit-learn's solution, the published schedule, clear errors for what cannot be learned."""

import json

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ecgjepa.evaluate import logistic
from ecgjepa.evaluate.logistic import LogisticPath
from ecgjepa.evaluate.readouts import C_GRID, LinearProbe, PaperProbe, checks, decide


def make_data(records=300, features=20, classes=4, seed=0, exclusive=False):
    """Correlated features of unequal scale and offset, and labels that follow some of them."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((records, features)) / np.arange(1, features + 1)
    logits = 4 * latent[:, :classes] * np.arange(1, classes + 1) + rng.logistic(size=(records, classes)) - 1
    labels = np.eye(classes, dtype=bool)[logits.argmax(axis=1)] if exclusive else logits > 0
    mixed = latent @ rng.standard_normal((features, features)) * rng.uniform(0.1, 9, features) + 5
    return mixed.astype(np.float32), labels


def split(features, labels, at=200):
    return features[:at], labels[:at], features[at:], labels[at:]


@pytest.mark.parametrize("regularization_c", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("features", [20, 400])  # fewer and more than records
def test_multilabel_solution_is_that_of_scikit_learn(regularization_c, features):
    x, labels = make_data(features=features)
    x = StandardScaler().fit_transform(x.astype(np.float64))
    found = LogisticPath(x, labels, "multilabel").fit(regularization_c)
    assert found.converged
    for k in range(labels.shape[1]):
        expected = LogisticRegression(C=regularization_c, tol=1e-8, max_iter=10_000).fit(x, labels[:, k])
        probabilities = found.probabilities(x, "multilabel")[:, k]
        np.testing.assert_allclose(probabilities, expected.predict_proba(x)[:, 1], atol=1e-3)


@pytest.mark.parametrize("regularization_c", [1e-4, 1e-2, 1.0])
def test_multiclass_solution_is_that_of_scikit_learn(regularization_c):
    x, labels = make_data(exclusive=True)
    x = StandardScaler().fit_transform(x.astype(np.float64))
    expected = LogisticRegression(C=regularization_c, tol=1e-8, max_iter=10_000).fit(x, labels.argmax(axis=1))
    found = LogisticPath(x, labels, "multiclass").fit(regularization_c).probabilities(x, "multiclass")
    np.testing.assert_allclose(found, expected.predict_proba(x), atol=1e-3)


def test_a_fit_does_not_depend_on_where_the_path_came_from():
    x, labels = make_data()
    x = StandardScaler().fit_transform(x.astype(np.float64))
    path = LogisticPath(x, labels, "multilabel")
    for c in (1e-5, 1e-3, 1e-1, 10.0):
        path.fit(c)
    after, alone = path.fit(0.01), LogisticPath(x, labels, "multilabel").fit(0.01)
    difference = after.probabilities(x, "multilabel") - alone.probabilities(x, "multilabel")
    assert np.abs(difference).max() < 1e-3


def test_running_out_of_iterations_is_told(monkeypatch):
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    probe = LinearProbe("multilabel").fit(*split(*make_data()))
    assert any("did not converge" in note for note in probe.notes_)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_c_is_the_best_on_validation(task):
    x, labels, validation_x, validation_labels = split(*make_data(exclusive=task == "multiclass"))
    probe = LinearProbe(task).fit(x, labels, validation_x, validation_labels)
    scaler = StandardScaler().fit(x.astype(np.float64))
    x, validation_x = scaler.transform(x), scaler.transform(validation_x)
    targets = [labels.argmax(axis=1)] if task == "multiclass" else list(labels.T)
    for c, found in probe.grid_:
        models = [LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(x, target) for target in targets]
        scores = [model.predict_proba(validation_x) for model in models]
        scores = scores[0] if task == "multiclass" else np.column_stack([each[:, 1] for each in scores])
        assert found == pytest.approx(roc_auc_score(validation_labels, scores, average="macro"), abs=2e-3)
    tried = [point.regularization_c for point in probe.grid_]
    assert tried == list(C_GRID[: len(tried)])
    assert max(probe.grid_, key=lambda point: point.macro_auc).regularization_c == probe.C_


def test_the_search_ends_when_it_only_gets_worse(monkeypatch):
    aucs = dict(zip(C_GRID, [0.6, 0.7, 0.65, 0.66, 0.71, 0.70, 0.71, 0.69, 0.9, 0.9], strict=True))
    found = iter(aucs.values())
    monkeypatch.setattr(checks, "auroc", lambda labels, scores: np.full((1, 1), next(found)))
    probe = LinearProbe("multilabel").fit(*split(*make_data()))
    assert dict(probe.grid_) == dict(list(aucs.items())[:8])
    assert probe.C_ == 0.1


def test_scale_and_offset_of_the_features_do_not_matter():
    """Random weights give features that differ by a few thousandths of their size."""
    x, labels, validation_x, validation_labels = split(*make_data())
    plain = LinearProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    small, validation_small = (np.float32(1) + np.float32(1e-4) * values for values in (x, validation_x))
    probe = LinearProbe("multilabel").fit(small, labels, validation_small, validation_labels)
    np.testing.assert_allclose(probe.predict_proba(validation_small), plain.predict_proba(validation_x), atol=0.02)


def test_constant_features_are_harmless():
    x, labels, validation_x, validation_labels = split(*make_data())
    plain = LinearProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    padded = [np.pad(values, ((0, 0), (0, 3)), constant_values=2) for values in (x, validation_x)]
    probe = LinearProbe("multilabel").fit(padded[0], labels, padded[1], validation_labels)
    np.testing.assert_allclose(probe.predict_proba(padded[1]), plain.predict_proba(validation_x), atol=1e-3)


def test_classes_without_both_values_get_a_constant():
    x, labels, validation_x, validation_labels = split(*make_data())
    labels[:, 1], labels[:, 2] = False, True
    probe = LinearProbe("multilabel").fit(x, labels, validation_x, validation_labels)
    probabilities = probe.predict_proba(validation_x)
    assert (probabilities[:, 1] == 0).all()
    assert (probabilities[:, 2] == 1).all()
    assert not probe.predict(validation_x)[:, 1].any()
    alone = LinearProbe("multilabel", grid=(probe.C_,)).fit(x, labels[:, [0]], validation_x, validation_labels[:, [0]])
    np.testing.assert_allclose(probabilities[:, 0], alone.predict_proba(validation_x)[:, 0], atol=1e-3)


def test_multiclass_without_a_class_in_training():
    x, labels, validation_x, validation_labels = split(*make_data(exclusive=True))
    keep = ~labels[:, 2]
    probe = LinearProbe("multiclass").fit(x[keep], labels[keep], validation_x, validation_labels)
    probabilities = probe.predict_proba(validation_x)
    assert (probabilities[:, 2] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probe.predict(validation_x).sum(axis=1) == 1).all()
    assert probe.thresholds_ is None


def test_an_end_of_the_grid_is_told():
    probe = LinearProbe("multilabel", grid=(1e-7, 1e-6)).fit(*split(*make_data()))
    assert any("end of the grid 1e-07 to 1e-06" in note for note in probe.notes_)


def spoil(values, row=3):
    values = values.copy()
    values[row, 0] = np.nan
    return values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y, v, w: (spoil(x), y, v, w), "training: 1 of 200 records have features that are not finite"),
        (lambda x, y, v, w: (x, y, spoil(v), w), "validation: 1 of 100 records have features that are not finite"),
        (lambda x, y, v, w: (x[:0], y[:0], v, w), "training: 0 records and 4 classes"),
        (lambda x, y, v, w: (x, y[:, :0], v, w[:, :0]), "training: 200 records and 0 classes"),
        (lambda x, y, v, w: (x, y & False, v, w), "training: no class has positive and negative records"),
        (lambda x, y, v, w: (x, y, v, w | True), "validation: no class has positive and negative records"),
    ],
)
def test_what_cannot_be_learned_is_a_clear_error(change, message):
    with pytest.raises(ValueError, match=message):
        LinearProbe("multilabel").fit(*change(*split(*make_data())))


def test_features_to_predict_from_must_be_finite():
    x, labels, validation_x, validation_labels = split(*make_data())
    for probe in (
        LinearProbe("multilabel").fit(x, labels, validation_x, validation_labels),
        PaperProbe("multilabel", epochs=1).fit(x, labels),
    ):
        with pytest.raises(ValueError, match="prediction: 1 of 100 records"):
            probe.predict_proba(spoil(validation_x))


def test_paper_layer_is_trained_with_the_published_learning_rates(parity_dir):
    expected = json.loads((parity_dir / "expected.json").read_text())["learning_rate_probe"]
    rates = []
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"]))
    x, labels = make_data(records=16 * expected["iterations_per_epoch"] - 5, features=4)
    try:
        PaperProbe("multilabel").fit(x, labels)
    finally:
        hook.remove()
    assert len(rates) == expected["iterations_per_epoch"] * expected["epochs"]
    assert [rates[step] for step in expected["steps"]] == pytest.approx(expected["values"], rel=1e-9)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_paper_layer_learns_and_depends_on_nothing_but_its_seed(task):
    x, labels, test_x, test_labels = split(*make_data(600, exclusive=task == "multiclass"), at=500)
    x, test_x = x / 5, test_x / 5
    first = PaperProbe(task, seed=1).fit(x, labels)
    torch.manual_seed(7)
    np.testing.assert_array_equal(first.weight_DK, PaperProbe(task, seed=1).fit(x, labels).weight_DK)
    assert not np.array_equal(first.weight_DK, PaperProbe(task, seed=2).fit(x, labels).weight_DK)
    probabilities = first.predict_proba(test_x)
    assert roc_auc_score(test_labels, probabilities, average="macro") > 0.8
    if task == "multiclass":
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        assert (first.predict(test_x).argmax(axis=1) == probabilities.argmax(axis=1)).all()
    else:
        np.testing.assert_array_equal(first.predict(test_x), probabilities >= 0.5)


def test_paper_layer_leaves_the_random_state_of_torch_alone():
    state = torch.random.get_rng_state()
    PaperProbe("multilabel", epochs=1).fit(*make_data(40))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_decide_by_threshold_or_arg_max():
    probabilities = np.array([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])
    np.testing.assert_array_equal(
        decide(probabilities, np.array([0.3, 0.3, 0.5])), [[False, True, True], [True, True, False]]
    )
    np.testing.assert_array_equal(decide(probabilities, None), [[False, False, True], [True, False, False]])
