"""Scores with intervals, differences and p against loops over the same resamples with scikit-learn."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, r2_score, roc_auc_score

from ecgjepa.evaluate.bootstrap import patient_weights
from ecgjepa.evaluate.resampled import bootstrap_p
from ecgjepa.evaluate.scoring import Scored, score_models, score_regression, score_segmentation
from ecgjepa.evaluate.segmentation_metrics import confusion_counts
from ecgjepa.evaluate.subgroups import store_groups
from ecgjepa.evaluate.targets import Targets
from tests.evaluate.fakes import make_store, with_records

NAMES = ("CD", "MI", "NORM")


def make_test(records=200, seed=0, shares=(0.2, 0.35, 0.5), exclusive=False):
    """Two records a patient."""
    chance = np.random.default_rng(seed)
    labels = chance.random((records, len(shares))) < shares
    if exclusive:
        labels = np.eye(3, dtype=bool)[chance.integers(3, size=records)]
    patients = np.array([f"p{n // 2}" for n in range(records)], dtype=object)
    return Targets(NAMES, np.arange(records), labels, patients, np.full(records, "test", dtype=object), {})


def make_scored(test, quality, seed=1, threshold=0.6):
    """The better the higher `quality`; multiclass decisions without a threshold."""
    chance = np.random.default_rng(seed)
    probabilities = (chance.random(test.labels_NK.shape) + quality * test.labels_NK) / (1 + quality)
    if threshold is None:
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return Scored(probabilities, np.eye(3, dtype=bool)[probabilities.argmax(axis=1)])
    return Scored(probabilities, probabilities >= threshold)


def looped(test, resamples, seed, statistic):
    weights = np.concatenate(list(patient_weights(test.patients_N, resamples, np.random.default_rng(seed))))
    return np.array([statistic(times) for times in weights])


def test_values_intervals_and_differences_equal_a_loop_over_scikit_learn():
    test = make_test()
    models = {"random": make_scored(test, 0.2), "pretrained": make_scored(test, 0.6, seed=2)}
    found = score_models(test, models, task="multilabel", resamples=40, seed=3, reference="random")
    assert json.loads(json.dumps(found, allow_nan=False)) == found

    def macro(name, function, what):
        given = getattr(models[name], what)
        return lambda times: np.mean(
            [function(test.labels_NK[:, k], given[:, k], sample_weight=times) for k in range(3)]
        )

    for metric, function, what in [
        ("auc", roc_auc_score, "probabilities_NK"),
        ("auprc", average_precision_score, "probabilities_NK"),
        ("f1", f1_score, "predicted_NK"),
    ]:
        samples = {name: looped(test, 40, 3, macro(name, function, what)) for name in models}
        for name in models:
            expected = [macro(name, function, what)(None), *np.percentile(samples[name], [2.5, 97.5])]
            assert list(found["models"][name]["macro"][metric].values()) == pytest.approx(expected)
        difference = samples["pretrained"] - samples["random"]
        said = found["differences"]["pretrained"][metric]
        assert [said["low"], said["high"]] == pytest.approx(list(np.percentile(difference, [2.5, 97.5])))
        assert said["p"] == pytest.approx(min(1, 2 * (1 + min((difference <= 0).sum(), (difference >= 0).sum())) / 41))
    one = found["models"]["random"]["classes"]["MI"]
    assert one["positives"] == test.labels_NK[:, 1].sum()
    expected = roc_auc_score(test.labels_NK[:, 1], models["random"].probabilities_NK[:, 1])
    assert one["auc"]["value"] == pytest.approx(expected)
    assert {"f1", "auprc", "sensitivity_at_90_specificity", "ece", "brier"} < one.keys()
    assert "accuracy" not in found["models"]["random"]["macro"]


def test_rare_classes_are_marked_and_left_out_of_the_second_mean():
    test = make_test(shares=(0.02, 0.35, 0.5))
    assert 0 < test.labels_NK[:, 0].sum() < 10
    found = score_models(
        test, {"a": make_scored(test, 0.5), "b": make_scored(test, 0.1)}, task="multilabel", resamples=9, reference="a"
    )
    model = found["models"]["a"]
    assert [entry["rare"] for entry in model["classes"].values()] == [True, False, False]
    values = [entry["auc"]["value"] for entry in model["classes"].values()]
    assert model["macro"]["auc"]["value"] == pytest.approx(np.mean(values))
    assert model["macro_frequent"]["auc"]["value"] == pytest.approx(np.mean(values[1:]))
    expected = found["models"]["b"]["macro_frequent"]["f1"]["value"] - model["macro_frequent"]["f1"]["value"]
    assert found["differences_frequent"]["b"]["f1"]["value"] == pytest.approx(expected)
    all_rare = score_models(test, {"a": make_scored(test, 0.5)}, task="multilabel", resamples=3, min_positives=1000)
    assert all_rare["models"]["a"]["macro_frequent"]["auc"] == {"value": None, "low": None, "high": None}
    assert all_rare["differences"] == {}


def test_without_rare_classes_both_means_are_equal():
    test = make_test(exclusive=True)
    found = score_models(test, {"a": make_scored(test, 0.4, threshold=None)}, task="multiclass", resamples=20)
    assert found["models"]["a"]["macro"] == found["models"]["a"]["macro_frequent"]


def test_multiclass_has_accuracy_and_one_vs_one():
    test = make_test(exclusive=True)
    scored = make_scored(test, 0.4, threshold=None)
    truth = test.labels_NK.argmax(axis=1)
    found = score_models(test, {"a": scored}, task="multiclass", resamples=20)["models"]["a"]
    assert found["macro"]["accuracy"]["value"] == pytest.approx(
        accuracy_score(truth, scored.probabilities_NK.argmax(axis=1))
    )
    expected = roc_auc_score(truth, scored.probabilities_NK, multi_class="ovo")
    assert found["macro"]["auc_one_vs_one"]["value"] == pytest.approx(expected)
    samples = looped(
        test, 20, 0, lambda times: accuracy_score(truth, scored.predicted_NK.argmax(1), sample_weight=times)
    )
    low, high = np.percentile(samples, [2.5, 97.5])
    assert (found["macro"]["accuracy"]["low"], found["macro"]["accuracy"]["high"]) == pytest.approx((low, high))

    # A class of three records is rare: its records are no part of the second accuracy.
    labels = test.labels_NK.copy()
    labels[np.flatnonzero(labels[:, 2])[3:]] = [True, False, False]
    rare = replace(test, labels_NK=labels)
    found = score_models(rare, {"a": scored}, task="multiclass", resamples=5)["models"]["a"]
    kept = ~labels[:, 2]
    expected = accuracy_score(labels[kept].argmax(axis=1), scored.probabilities_NK[kept].argmax(axis=1))
    assert found["macro_frequent"]["accuracy"]["value"] == pytest.approx(expected)
    pair = labels[:, :2].any(axis=1)
    expected = np.mean([roc_auc_score(labels[pair, k], scored.probabilities_NK[pair, k]) for k in (0, 1)])
    assert found["macro_frequent"]["auc_one_vs_one"]["value"] == pytest.approx(expected)


def test_a_model_does_not_differ_from_itself():
    test = make_test()
    same = make_scored(test, 0.3)
    found = score_models(test, {"a": same, "b": same}, task="multilabel", resamples=20, reference="a")
    assert found["differences"]["b"]["auprc"] == {"value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_p_counts_the_resamples_beyond_zero():
    differences = np.array([0.1] * 97 + [-0.1, 0.0, np.nan])
    assert bootstrap_p(differences) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(-differences) == pytest.approx(2 * 3 / 100)
    assert bootstrap_p(np.full(999, 0.1)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.full(4, np.nan)) is None


def test_p_of_equally_good_models_is_seldom_small():
    small = 0
    for run in range(60):
        test = make_test(80, seed=run)
        models = {name: make_scored(test, 0.3, seed=1000 + 2 * run + m) for m, name in enumerate("ab")}
        found = score_models(test, models, task="multilabel", resamples=49, seed=run, reference="a")
        small += found["differences"]["b"]["auc"]["p"] <= 0.05
    assert small <= 9  # 3 are expected


def test_absent_classes_have_no_score():
    test = make_test(shares=(0.0, 0.35, 1.0))
    found = score_models(test, {"a": make_scored(test, 0.5)}, task="multilabel", resamples=5)["models"]["a"]["classes"]
    nothing = {"value": None, "low": None, "high": None}
    assert [found["CD"][metric] for metric in ("auc", "f1", "auprc")] == [nothing] * 3
    assert found["CD"]["ece"]["value"] > 0
    assert found["NORM"]["auc"] == nothing
    assert found["NORM"]["auprc"]["value"] == 1.0


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda test, p, d: (test.taking([]), p, d), "no test record"),
        (lambda test, p, d: (replace(test, labels_NK=np.ones((200, 3), bool)), p, d), "none of 3 classes has both"),
        (lambda test, p, d: (replace(test, labels_NK=np.zeros((200, 3), bool)), p, d), "none of 3 classes has both"),
        (lambda test, p, d: (test.taking([0]), p[:1], d[:1]), "none of 3 classes has both"),
        (lambda test, p, d: (test, p[1:], d), r"probabilities of shape \(199, 3\), expected \(200, 3\)"),
        (lambda test, p, d: (test, p, d[:, :2]), "decisions of shape"),
        (lambda test, p, d: (test, p * np.nan, d), "600 of 600 probabilities"),
        (lambda test, p, d: (test, p + 1, d), "for class 'CD' in row 0"),
    ],
)
def test_what_cannot_be_scored_is_named(change, said):
    test = make_test()
    scored = make_scored(test, 0.3)
    test, probabilities, decisions = change(test, scored.probabilities_NK, scored.predicted_NK)
    with pytest.raises(ValueError, match=said):
        score_models(test, {"a": Scored(probabilities, decisions)}, task="multilabel", resamples=2)


def test_further_mistakes_are_named():
    test = make_test()
    scored = make_scored(test, 0.3)
    with pytest.raises(ValueError, match="expected one \\(multiclass\\)"):
        score_models(test, {"a": scored}, task="multiclass", resamples=2)
    with pytest.raises(ValueError, match="reference 'b': no such model, found a"):
        score_models(test, {"a": scored}, task="multilabel", resamples=2, reference="b")
    with pytest.raises(ValueError, match="no model"):
        score_models(test, {}, task="multilabel", resamples=2)
    with pytest.raises(ValueError, match="subgroup 'x': a mask of 3 records, expected 200"):
        score_models(test, {"a": scored}, task="multilabel", resamples=2, subgroups={"x": np.ones(3, bool)})


def test_subgroups_are_scored_like_a_test_of_their_records():
    test = make_test()
    models = {"a": make_scored(test, 0.2), "b": make_scored(test, 0.7, seed=5)}
    first = np.arange(200) < 120
    groups = {"sex female": first, "site X": np.arange(200) >= 160, "device Y": ~test.labels_NK.any(axis=1)}
    found = score_models(
        test, models, task="multilabel", resamples=20, seed=4, reference="a", subgroups=groups, min_records=45
    )["subgroups"]
    of_group = {name: Scored(each.probabilities_NK[first], each.predicted_NK[first]) for name, each in models.items()}
    alone = score_models(test.taking(first), of_group, task="multilabel", resamples=20, seed=4, reference="a")
    female = found["sex female"]
    assert (female["records"], female["patients"], female["scored"]) == (120, 60, True)
    assert female["positives"] == dict(zip(NAMES, test.labels_NK[first].sum(axis=0).tolist(), strict=True))
    for metric in ("auc", "f1", "ece"):
        assert female["models"]["b"]["macro"][metric] == alone["models"]["b"]["macro"][metric]
        assert female["differences"]["b"][metric] == alone["differences"]["b"][metric]
    assert (found["site X"]["scored"], found["site X"]["why"]) == (False, "fewer than 45 records")
    assert "no class has both" in found["device Y"]["why"]
    json.dumps(found, allow_nan=False)


def test_groups_of_a_store():
    ages = [39.9, 40, 59, 60.5, 79, 80, 95, None, float("nan"), 0]
    store = make_store(10)
    store = with_records(store, age=ages, sex=["female", "male", None, *["male"] * 7], site=[None] * 10)
    rows = np.arange(10)
    groups = store_groups(store, rows)
    members = {name: np.flatnonzero(mask).tolist() for name, mask in groups.items()}
    assert members == {
        "sex female": [0],
        "sex male": [1, 3, 4, 5, 6, 7, 8, 9],
        "sex unknown": [2],
        "age <40": [0, 9],
        "age 40-59": [1, 2],
        "age 60-79": [3, 4],
        "age >=80": [5, 6],
        "age unknown": [7, 8],
    }
    some = store_groups(with_records(store, device=["x"] * 5 + ["y"] * 5), np.array([8, 1]))
    assert {name: mask.tolist() for name, mask in some.items() if name.startswith("device")} == {
        "device x": [False, True],
        "device y": [True, False],
    }
    with pytest.raises(ValueError, match="age -1"):
        store_groups(with_records(store, age=[-1] * 10), rows)


def test_regression_has_the_same_form():
    chance = np.random.default_rng(0)
    values = chance.normal(70, 10, 60)
    patients = np.repeat(np.arange(30), 2)
    test = SimpleNamespace(values_N=values, patients_N=patients)
    models = {"mean": np.full(60, values.mean()), "good": values + chance.normal(0, 2, 60)}
    found = score_regression(test, models, resamples=30, seed=1, reference="mean")
    assert found["models"]["good"]["macro"]["r2"]["value"] == pytest.approx(r2_score(values, models["good"]))
    assert found["models"]["mean"]["macro"]["pearson_r"]["value"] is None
    weights = np.concatenate(list(patient_weights(patients, 30, np.random.default_rng(1))))
    errors = {name: weights @ np.abs(said - values) / weights.sum(axis=1) for name, said in models.items()}
    expected = np.percentile(errors["good"] - errors["mean"], [2.5, 97.5])
    said = found["differences"]["good"]["mae"]
    assert [said["low"], said["high"]] == pytest.approx(list(expected))
    assert said["p"] == pytest.approx(2 / 31)
    json.dumps(found, allow_nan=False)
    with pytest.raises(ValueError, match="model 'short': 3 predictions, expected 60"):
        score_regression(test, {"short": values[:3]}, resamples=2)


def test_segmentation_has_the_same_form():
    chance = np.random.default_rng(0)
    true = chance.integers(0, 2, (40, 30))
    true[0, 0] = 2  # a class that one record has
    called = {
        "a": np.where(chance.random((40, 30)) < 0.5, true, 1 - true % 2),
        "b": np.where(chance.random((40, 30)) < 0.9, true, 1 - true % 2),
    }
    counts = {name: confusion_counts(true, each, 3) for name, each in called.items()}
    patients = np.arange(40)
    found = score_segmentation(["none", "P", "QRS"], patients, counts, resamples=20, reference="a", min_positives=5)
    b = found["models"]["b"]
    assert [entry["rare"] for entry in b["classes"].values()] == [False, False, True]
    iou = [entry["iou"]["value"] for entry in b["classes"].values()]
    assert b["macro"]["iou"]["value"] == pytest.approx(np.mean(iou))
    assert b["macro_frequent"]["iou"]["value"] == pytest.approx(np.mean(iou[:2]))
    assert b["macro"]["accuracy"]["value"] == pytest.approx((called["b"] == true).mean())
    assert found["differences"]["b"]["f1"]["p"] == pytest.approx(2 / 21)
    json.dumps(found, allow_nan=False)
    with pytest.raises(ValueError, match="model 'b': other true classes than the first, in row 0"):
        score_segmentation(["none", "P", "QRS"], patients, counts | {"b": counts["b"] + 1}, resamples=2)
    with pytest.raises(ValueError, match="expected \\(40, 2, 2\\)"):
        score_segmentation(["none", "P"], patients, counts, resamples=2)
