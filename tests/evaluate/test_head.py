"""A head has the probabilities of what it was made from, in memory and as a file, and refuses what does not fit."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import TypeCheckError
from safetensors import safe_open
from safetensors.numpy import save_file
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from ecgjepa.evaluate.head import HEAD, Head, HeadError, describe_encoder
from ecgjepa.evaluate.readouts import LinearProbe, PaperProbe
from ecgjepa.model.encoder import Encoder

from .fakes import CONTRACT, MODEL

CLASSES = ("A", "B", "C", "D")


def make_data(records: int = 240, features: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features as of a little trained encoder: around 1, differing by thousandths; labels that follow some of them."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((records, features))
    labels = latent[:, :4] + rng.standard_normal((records, 4)) > 0.3
    return (1 + 2e-3 * latent).astype(np.float32), labels


def exclusive(labels: np.ndarray) -> np.ndarray:
    return np.eye(4, dtype=bool)[np.where(labels.any(axis=1), labels.argmax(axis=1), 3)]


def fitted(protocol: str, task: str) -> tuple[LinearProbe | PaperProbe, np.ndarray]:
    features, labels = make_data()
    if task == "multiclass":
        labels = exclusive(labels)
    labels[:150, 2] = False  # a class that no training record has
    if task == "multilabel":
        labels[:150, 3] = True  # and one that all have
    keep = labels[:150].any(axis=1)
    learn = features[:150][keep], labels[:150][keep]
    if protocol == "paper":
        return PaperProbe(task, epochs=1).fit(*learn), features
    return LinearProbe(task).fit(*learn, features[150:], labels[150:]), features


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("protocol", ["strict", "paper"])
def test_a_saved_head_has_the_probabilities_and_decisions_of_its_probe(
    protocol: str, task: str, tmp_path: Path
) -> None:
    probe, features = fitted(protocol, task)
    Head(*probe.raw_layer(), CLASSES, task, probe.thresholds_, {"level": "x"}).save(tmp_path / HEAD)
    head = Head.load(tmp_path)
    expected = probe.predict_proba(features)
    np.testing.assert_allclose(head.predict_proba(features), expected, atol=1e-6)
    # The validation record that gave a threshold lies on it, to the last bit.
    clear = np.abs(expected - (0.5 if probe.thresholds_ is None else probe.thresholds_)) > 1e-9
    np.testing.assert_array_equal(head.decide(head.predict_proba(features))[clear], probe.predict(features)[clear])
    assert (~clear).sum() <= 4
    assert head.weight_KD.dtype == head.bias_K.dtype == np.float64
    assert np.isfinite(head.bias_K).all()
    if protocol == "strict":
        assert (head.predict_proba(features)[:, 2] == 0).all()
        assert head.is_constant("C")
        assert not head.is_constant("A")
    if (protocol, task) == ("strict", "multilabel"):
        assert (head.predict_proba(features)[:, 3] == 1).all()
    if task == "multiclass":
        np.testing.assert_allclose(head.predict_proba(features).sum(axis=1), 1)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
def test_log_odds_are_those_of_the_probability(task: str) -> None:
    probe, features = fitted("paper", task)
    head = Head(*probe.raw_layer(), CLASSES, task)
    probability = head.predict_proba(features)
    np.testing.assert_allclose(head.log_odds(features), np.log(probability / (1 - probability)), atol=1e-9)
    far = replace(head, bias_K=head.bias_K + np.array([60.0, 0, 0, 0]))
    assert far.predict_proba(features)[0, 0] == pytest.approx(1, abs=1e-15)
    assert far.log_odds(features)[0, 0] == pytest.approx(60, abs=5)


def test_the_file_says_what_it_is_without_its_numbers(tmp_path: Path) -> None:
    encoder = Encoder(MODEL, CONTRACT)
    about = {"dataset": "ptbxl", "protocol": "strict", **describe_encoder(encoder, "teacher", "run-7")}
    head = Head(np.ones((2, 8)), np.zeros(2), ("AF", "心房"), "multilabel", np.array([0.1, 0.3]), about)
    head.save(tmp_path / "a.safetensors")
    with safe_open(tmp_path / "a.safetensors", framework="numpy") as file:
        header = json.loads(file.metadata()["ecgjepa_head"])
    assert header["classes"] == ["AF", "心房"]
    assert header["thresholds"] == [0.1, 0.3]
    assert {"format", "version", "task"} <= header.keys()
    assert header["about"] == about
    assert (about["checkpoint"], about["width"], about["contract"]["leads"]) == ("run-7", 8, ["I", "II"])
    loaded = Head.load(tmp_path / "a.safetensors")
    assert (loaded.classes, loaded.task, loaded.about) == (head.classes, head.task, about)
    np.testing.assert_array_equal(loaded.thresholds_K, [0.1, 0.3])
    loaded.check(encoder)


def test_an_encoder_of_another_width_or_other_weights_is_refused_by_name() -> None:
    encoder = Encoder(MODEL, CONTRACT)
    with pytest.raises(HeadError, match="reads 3 features, the encoder gives 8"):
        Head(np.ones((1, 3)), np.zeros(1), ("A",)).check(encoder)
    about = describe_encoder(encoder, "student", "run-7")
    Head(np.ones((1, 8)), np.zeros(1), ("A",), about=about).check(encoder)
    with pytest.raises(HeadError, match=r"learned on the features of run-7 \(student\)"):
        Head(np.ones((1, 8)), np.zeros(1), ("A",), about=about).check(Encoder(MODEL, CONTRACT))
    with pytest.raises(HeadError, match="reads 8 features, found 5"):
        Head(np.ones((1, 8)), np.zeros(1), ("A",)).predict_proba(np.ones((2, 5)))


def test_nothing_is_overwritten_unless_told(tmp_path: Path) -> None:
    first, second = (Head(np.full((1, 2), value), np.zeros(1), ("A",)) for value in (1.0, 2.0))
    first.save(tmp_path / HEAD)
    with pytest.raises(FileExistsError, match="exists already"):
        second.save(tmp_path / HEAD)
    second.save(tmp_path / HEAD, overwrite=True)
    assert Head.load(tmp_path / HEAD).weight_KD[0, 0] == 2
    assert [path.name for path in tmp_path.iterdir()] == [HEAD]


def test_what_is_no_head_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="no head at"):
        Head.load(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"not a file of tensors")
    save_file({"weight": np.ones((1, 2))}, tmp_path / "b.safetensors", metadata={"format": "pt"})
    save_file({"weight": np.ones((1, 2))}, tmp_path / "c.safetensors", metadata={"ecgjepa_head": '{"format": 9}'})
    for name in "abc":
        with pytest.raises(HeadError, match=rf"{name}\.safetensors is not a head"):
            Head.load(tmp_path / f"{name}.safetensors")
    tensors = {"weight": np.ones((1, 2)), "bias": np.zeros(1)}
    save_file(tensors, tmp_path / "d.safetensors", metadata={"ecgjepa_head": '{"format": 9}'})
    with pytest.raises(HeadError, match="head format 9, expected 1"):
        Head.load(tmp_path / "d.safetensors")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((np.ones((2, 3)), np.zeros(2), ("A", "A")), "distinct names"),
        ((np.ones((2, 3)), np.zeros(2), ("A", "B", "C")), "3 classes, but weights"),
        ((np.ones((1, 3)), np.zeros(1), ("A",), "multiclass"), "two at least for multiclass"),
        ((np.ones((2, 3)), np.zeros(2), ("A", "B"), "multiclass", np.ones(2)), "thresholds for a multiclass head"),
        ((np.ones((2, 3)), np.array([0, np.inf]), ("A", "B")), "not a finite number"),
        # The shape check of the tests refuses this before our own error does.
        ((np.ones((2, 3)), np.zeros(3), ("A", "B")), "2 classes, but weights|bias_K"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple, message: str) -> None:
    with pytest.raises((HeadError, TypeCheckError), match=message):
        Head(*parts)


class TestFromSklearn:
    def check(self, estimator, features, expected, task, classes=None) -> None:
        head = Head.from_sklearn(estimator, classes)
        assert head.task == task
        np.testing.assert_allclose(head.predict_proba(features), expected, atol=1e-6)

    @pytest.mark.parametrize("scaled", [True, False])
    def test_multinomial(self, scaled: bool) -> None:
        features, labels = make_data()
        names = np.array(["x", "y", "z", "w"])[exclusive(labels).argmax(axis=1)]
        model = LogisticRegression(C=100, max_iter=2000)
        model = make_pipeline(StandardScaler(), model) if scaled else model
        model.fit(features.astype(np.float64), names)
        self.check(model, features.astype(np.float64), model.predict_proba(features.astype(np.float64)), "multiclass")
        assert Head.from_sklearn(model).classes == ("w", "x", "y", "z")

    def test_two_classes_as_both_or_as_one_label(self) -> None:
        features, labels = make_data()
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features.astype(np.float64), labels[:, 0])
        expected = model.predict_proba(features.astype(np.float64))
        self.check(model, features, expected, "multiclass")
        assert Head.from_sklearn(model).classes == ("False", "True")
        self.check(model, features, expected[:, 1:], "multilabel", ["AF"])

    @pytest.mark.parametrize("outside", [True, False])
    def test_one_vs_rest_of_indicators_and_a_class_that_no_record_has(self, outside: bool) -> None:
        features, labels = make_data()
        labels[:, 1] = False
        alone = LogisticRegression()
        scaled = StandardScaler(with_std=False)
        nested = OneVsRestClassifier(alone if outside else make_pipeline(scaled, alone))
        model = make_pipeline(scaled, nested) if outside else nested
        with pytest.warns(UserWarning, match="Label not 1 is present"):
            model.fit(features.astype(np.float64), labels.astype(int))
        expected = model.predict_proba(features.astype(np.float64))
        self.check(model, features, expected, "multilabel", CLASSES)
        assert Head.from_sklearn(model, CLASSES).is_constant("B")

    def test_what_no_layer_gives_is_refused(self) -> None:
        features, labels = make_data()
        names = exclusive(labels).argmax(axis=1)
        with pytest.raises(ValueError, match="divides its probabilities by their sum"):
            Head.from_sklearn(OneVsRestClassifier(LogisticRegression()).fit(features, names))
        with pytest.raises(ValueError, match="Ridge, expected LogisticRegression"):
            Head.from_sklearn(Ridge().fit(features, names))
        with pytest.raises(ValueError, match="pipeline of MinMaxScaler"):
            Head.from_sklearn(make_pipeline(MinMaxScaler(), LogisticRegression()).fit(features, names))
        with pytest.raises(ValueError, match="not fitted"):
            Head.from_sklearn(LogisticRegression())
        with pytest.raises(HeadError, match="3 names for 4 classes"):
            Head.from_sklearn(LogisticRegression().fit(features, names), ["a", "b", "c"])
