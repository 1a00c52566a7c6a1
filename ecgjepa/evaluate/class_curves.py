"""Figures of class probabilities: ROC, precision against recall, reliability, and who is taken for whom.

Axes: R records, C classes, B bins.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from numpy import ndarray

from ecgjepa.evaluate.plots import INK, LINE, MUTED, PALETTE, WIDTH_INCH, model_style, styled

MAX_CURVE_CLASSES = 11
RELIABILITY_BINS = 10
# Text in a cell of a confusion matrix is small from this many classes on, and left out from the second number on.
MANY_CLASSES, TOO_MANY_CLASSES = 12, 30

Labels = Bool[ndarray, "records classes"]
Probabilities = Mapping[str, Float[ndarray, "records classes"]]


class Curve(NamedTuple):
    """Points of a curve, ascending in x, and the number written beside it."""

    x: ndarray
    y: ndarray
    score: float


@styled
def roc_curves(label_RC: Labels, probability: Probabilities, classes: Sequence[str]) -> Figure:
    """ROC curves: one panel per class and one for their mean; one line per model of `probability`, by name.

    Classes without positives or without negatives have no curve; of more than eleven the most frequent are
    shown. The mean is that of all curves at one false positive rate; its area is the macro AUC (one against
    the rest).
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    def curve(label_R: ndarray, probability_R: ndarray) -> Curve:
        false_rate, true_rate, _ = roc_curve(label_R, probability_R)
        return Curve(false_rate, true_rate, float(roc_auc_score(label_R, probability_R)))

    figure = _panels(label_RC, probability, classes, curve, "roc", lower_right=True)
    figure.supxlabel("false positive rate", fontsize=10.5, color=MUTED)
    figure.supylabel("true positive rate", fontsize=10.5, color=MUTED)
    return figure


@styled
def precision_recall_curves(label_RC: Labels, probability: Probabilities, classes: Sequence[str]) -> Figure:
    """Precision against recall, as `roc_curves`; the number is the average precision, the grey line the prevalence."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    def curve(label_R: ndarray, probability_R: ndarray) -> Curve:
        precision, recall, _ = precision_recall_curve(label_R, probability_R)
        return Curve(recall[::-1], precision[::-1], float(average_precision_score(label_R, probability_R)))

    figure = _panels(label_RC, probability, classes, curve, "pr", lower_right=False)
    figure.supxlabel("recall (sensitivity)", fontsize=10.5, color=MUTED)
    figure.supylabel("precision", fontsize=10.5, color=MUTED)
    return figure


def shown_classes(label_RC: Labels, limit: int = MAX_CURVE_CLASSES) -> list[int]:
    """The most frequent of the classes that some records have and some have not, in the order of the columns."""
    count_C = label_RC.sum(axis=0)
    defined = [c for c in range(len(count_C)) if 0 < count_C[c] < len(label_RC)]
    return sorted(sorted(defined, key=lambda c: -count_C[c])[:limit])


def _panels(
    label_RC: Labels,
    probability: Probabilities,
    classes: Sequence[str],
    curve: Callable[[ndarray, ndarray], Curve],
    name: str,
    *,
    lower_right: bool,
) -> Figure:
    grid = np.linspace(0, 1, 501)
    defined, shown = shown_classes(label_RC, len(classes)), shown_classes(label_RC)
    columns = 3 if len(shown) < 6 else 4
    rows = math.ceil((len(shown) + 1) / columns)
    figure = Figure((WIDTH_INCH, WIDTH_INCH / columns * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    ticks = {"ticks": (0, 0.5, 1), "labels": ("0", "0.5", "1")}
    for ax, c in zip(panels, [-1, *shown], strict=False):
        share = float(label_RC[:, defined].mean() if c == -1 else label_RC[:, c].mean()) if defined else 0.0
        ax.plot([0, 1], [0, 1] if lower_right else [share, share], color=LINE, linewidth=1)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        ax.set_title("Mean of the classes" if c == -1 else classes[c])
        ax.set_xticks(**ticks)
        ax.set_yticks(**ticks)
    for ax in panels[len(shown) + 1 :]:
        ax.remove()
    for rank, (model, probability_RC) in enumerate(reversed(list(probability.items()))):
        style = model_style(model, len(probability) - 1 - rank)
        curves = {c: curve(label_RC[:, c], probability_RC[:, c]) for c in defined}
        if defined:
            mean = np.mean([np.interp(grid, each.x, each.y) for each in curves.values()], axis=0)
            curves[-1] = Curve(grid, mean, float(np.mean([each.score for each in curves.values()])))
        for ax, c in zip(panels, [-1, *shown], strict=False):
            if c in curves:
                ax.plot(curves[c].x, curves[c].y, **style, gid=f"{name}-{model}-{c}")
                y = 0.04 + 0.1 * rank if lower_right else 0.9 - 0.1 * (len(probability) - 1 - rank)
                ax.text(0.98, y, f"{model} {curves[c].score:.3f}", ha="right", color=style["color"])
    return figure


@styled
def reliability_curves(label_RC: Labels, probability: Probabilities, classes: Sequence[str]) -> Figure:
    """Observed share of positives against the mean probability, in ten equal bins of probability.

    One panel over all classes together, one per class as of `roc_curves`; the area of a mark grows with the records in
    its bin. On the diagonal, of a hundred records called with 30 % thirty are positive.
    """
    shown = shown_classes(label_RC)
    columns = 3 if len(shown) < 6 else 4
    rows = math.ceil((len(shown) + 1) / columns)
    figure = Figure((WIDTH_INCH, WIDTH_INCH / columns * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    ticks = {"ticks": (0, 0.5, 1), "labels": ("0", "0.5", "1")}
    for ax, c in zip(panels, [-1, *shown], strict=False):
        ax.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
        ax.set_title("All classes" if c == -1 else classes[c])
        ax.set_xticks(**ticks)
        ax.set_yticks(**ticks)
        for rank, (model, probability_RC) in enumerate(probability.items()):
            columns_shown = slice(None) if c == -1 else slice(c, c + 1)
            label_N, probability_N = label_RC[:, columns_shown].ravel(), probability_RC[:, columns_shown].ravel()
            mean_B, observed_B, count_B = reliability_bins(label_N, probability_N)
            colour = model_style(model, rank)["color"]
            there_B = count_B > 0
            ax.plot(mean_B[there_B], observed_B[there_B], color=colour, linewidth=1, gid=f"reliability-{model}-{c}")
            size_B = 4 + 60 * count_B[there_B] / max(1, count_B.max())
            ax.scatter(mean_B[there_B], observed_B[there_B], s=size_B, color=colour, alpha=0.7, linewidths=0)
    for ax in panels[len(shown) + 1 :]:
        ax.remove()
    handles = [
        panels[0].plot([], [], color=model_style(model, rank)["color"], label=model)[0]
        for rank, model in enumerate(probability)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=len(probability))
    figure.supxlabel("mean probability", fontsize=10.5, color=MUTED)
    figure.supylabel("share of positives", fontsize=10.5, color=MUTED)
    return figure


def reliability_bins(
    label_N: Bool[ndarray, "n"], probability_N: Float[ndarray, "n"], bins: int = RELIABILITY_BINS
) -> tuple[Float[ndarray, "bins"], Float[ndarray, "bins"], Int[ndarray, "bins"]]:
    """Mean probability, share of positives and number of records in equal bins of probability; NaN where none is."""
    bin_N = np.minimum((probability_N * bins).astype(np.int64), bins - 1)
    count_B = np.bincount(bin_N, minlength=bins)
    total_B = np.where(count_B > 0, count_B, 1)
    mean_B, observed_B = (
        np.where(count_B > 0, np.bincount(bin_N, weights=values_N, minlength=bins) / total_B, np.nan)
        for values_N in (probability_N, label_N.astype(np.float64))
    )
    return mean_B, observed_B, count_B


@styled
def confusion_matrix(counts_CC: Int[ndarray, "classes classes"], classes: Sequence[str]) -> Figure:
    """Records of each class (row) by what they were taken for (column); the shade is the share of the row."""
    number = len(classes)
    side_inch = min(WIDTH_INCH, 2.2 + 0.62 * number)
    figure = Figure((side_inch, side_inch * 0.92), layout="constrained")
    ax = figure.add_subplot()
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    for row in range(number):
        for column in range(number):
            share = float(share_CC[row, column])
            box = {"facecolor": PALETTE[0], "alpha": 0.75 * share, "edgecolor": LINE, "linewidth": 0.5}
            ax.add_patch(_square(column - 0.5, row - 0.5, **box))
            if number <= TOO_MANY_CLASSES and counts_CC[row, column]:
                size = 7 if number > MANY_CLASSES else 10
                ax.text(column, row, f"{counts_CC[row, column]:,}", ha="center", va="center", fontsize=size, color=INK)
    ax.set(xlim=(-0.5, number - 0.5), ylim=(number - 0.5, -0.5), aspect="equal")
    ax.set(xticks=range(number), yticks=range(number), xlabel="called", ylabel="labelled")
    ax.set_xticklabels(classes, rotation=90 if number > 6 else 0)
    ax.set_yticklabels(classes)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    return figure


def _square(x: float, y: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, **style)
