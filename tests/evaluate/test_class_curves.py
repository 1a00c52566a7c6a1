"""Figures of class probabilities hold the numbers of scikit-learn."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score

from ecgjepa.evaluate.class_curves import (
    confusion_matrix,
    precision_recall_curves,
    reliability_bins,
    reliability_curves,
)
from ecgjepa.evaluate.condition_curves import ConditionPoint, condition_curves


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.random((300, 3)) < [0.2, 0.5, 0.0]
    return labels, np.clip(0.4 * labels + 0.6 * rng.random((300, 3)), 0, 1)


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def test_average_precision_stands_beside_its_curve(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probability = predictions
    figure = precision_recall_curves(labels, {"ours": probability}, ["A", "B", "C"])
    assert [ax.get_title("left") for ax in figure.axes] == ["Mean of the classes", "A", "B"]
    scores = [average_precision_score(labels[:, c], probability[:, c]) for c in (0, 1)]
    assert texts(figure) == [f"ours {value:.3f}" for value in (np.mean(scores), *scores)]


def test_reliability_is_that_of_scikit_learn(predictions: tuple[np.ndarray, np.ndarray]) -> None:
    labels, probability = predictions
    mean, observed, count = reliability_bins(labels[:, 1], probability[:, 1])
    expected_observed, expected_mean = calibration_curve(labels[:, 1], probability[:, 1], n_bins=10)
    np.testing.assert_allclose(mean[count > 0], expected_mean)
    np.testing.assert_allclose(observed[count > 0], expected_observed)
    assert count.sum() == 300
    _, _, edge = reliability_bins(np.array([True, False]), np.array([1.0, 0.0]))
    assert edge[[0, -1]].tolist() == [1, 1]
    assert len(reliability_curves(labels, {"ours": probability}, ["A", "B", "C"]).axes) == 3


def test_the_confusion_matrix_shows_every_count() -> None:
    counts = np.array([[5, 1], [0, 1234]])
    assert texts(confusion_matrix(counts, ["A", "B"])) == ["5", "1", "1,234"]


def test_a_model_without_a_condition_has_no_mark_there() -> None:
    points = {"a": [ConditionPoint("1 %", 0.6, 0.5, 0.7), ConditionPoint("all", 0.8, 0.7, 0.9)]}
    points["b"] = [ConditionPoint("all", 0.7, 0.6, 0.8)]
    ax = condition_curves(points, ["1 %", "all"], "AUC", "labels").axes[0]
    drawn = {line.get_gid(): line.get_ydata().tolist() for line in ax.lines}
    assert drawn == {"condition-a": [0.6, 0.8], "condition-b": [0.7]}
