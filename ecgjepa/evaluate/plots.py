"""The figures of the report: pure functions from numbers to a matplotlib Figure, and from there to inline SVG.

No pyplot. The colours of the theme leave as CSS variables (`var(--ink, #1f2428)`), so that one figure
serves a light and a dark page.

Axes: R records, C classes, D features, N lines.
"""

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy import ndarray

WIDTH_INCH = 10.7
MAX_LOSS_POINTS = 300
MAX_MAP_CLASSES = 6
INK, MUTED, LINE = "#1f2428", "#68707a", "#d4d9df"
# Okabe and Ito (2008), without black and without the yellow that no white page shows.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
THEME = {INK: "ink", MUTED: "muted", LINE: "line"} | {c: f"series-{i}" for i, c in enumerate(PALETTE)}
MODEL_STYLE: dict[str, dict[str, Any]] = {
    "pretrained": {"color": PALETTE[0]},
    "random weights": {"color": MUTED, "linestyle": (0, (4, 2))},
}
STYLE: dict[Any, Any] = {
    "font.size": 10.5, "axes.titlesize": 11.5, "axes.titlelocation": "left", "xtick.labelsize": 10,
    "ytick.labelsize": 10, "text.color": INK, "axes.labelcolor": MUTED, "axes.titlecolor": INK,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "axes.edgecolor": LINE, "xtick.color": LINE,
    "ytick.color": LINE, "grid.color": LINE, "grid.linewidth": 0.6, "axes.facecolor": "none",
    "figure.facecolor": "none", "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.6, "text.parse_math": False,
    "svg.fonttype": "none", "svg.hashsalt": "ecgjepa",
}  # fmt: skip
styled = rc_context(STYLE)  # as a decorator: the style holds inside the function and nowhere else


def model_style(model: str, rank: int) -> dict[str, Any]:
    """Colour and line of a model: its own where it has one, else by its place among the models."""
    return MODEL_STYLE.get(model, {"color": PALETTE[rank % len(PALETTE)]})


@styled
def to_svg(figure: Figure, name: str, description: str) -> str:
    """The figure as an inline `<svg>`: ids begin with `name`, screen readers get `description`, CSS the colours.

    Text stays text in the reader's fonts, so glyphs that matplotlib's own font lacks are no loss.
    """
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'(?<= d=")[^"]+', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)
    for colour, variable in THEME.items():
        svg = svg.replace(colour, f"var(--{variable}, {colour})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)


@styled
def loss_curve(metrics: pd.DataFrame) -> Figure:
    """Loss over the steps, with learning rate and teacher momentum as small panels.

    `metrics` has the columns step, loss, lr and momentum. Beyond 300 rows the line is the mean of
    neighbouring rows and the band their extremes.
    """
    figure = Figure((WIDTH_INCH, 3.7), layout="constrained")
    axes = figure.subplot_mosaic([["loss", "lr"], ["loss", "momentum"]], width_ratios=[2.6, 1])
    titles = {"loss": "Loss", "lr": "Learning rate", "momentum": "Teacher momentum"}
    for column, title in titles.items():
        ax = axes[column]
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(5 if column == "loss" else 3, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        ax.yaxis.set_major_locator(MaxNLocator(6 if column == "loss" else 3))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.5g}"))
        step, mean, low, high = _binned(metrics["step"], metrics[column])
        colour = PALETTE[0] if column == "loss" else MUTED
        ax.fill_between(step, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(step, mean, color=colour, marker="o" if len(step) < 3 else None, gid=f"{column}-line")
    loss = metrics["loss"].to_numpy(float)
    loss = loss[np.isfinite(loss)]
    if len(loss) and loss.min() > 0 and loss.max() > 4 * loss.min():
        axes["loss"].set_yscale("log")
        axes["loss"].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes["loss"].yaxis.set_minor_locator(NullLocator())
        axes["loss"].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    for column in ("loss", "momentum"):
        axes[column].set_xlabel("step")
    axes["lr"].tick_params(labelbottom=False)
    return figure


def _binned(step: pd.Series, value: pd.Series) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Mean step, mean, minimum and maximum of at most 300 spans of the rows that are finite."""
    finite = np.isfinite(value.to_numpy(float))
    parts = min(MAX_LOSS_POINTS, int(finite.sum()))
    if not parts:
        return (np.empty(0),) * 4
    steps = np.array_split(step.to_numpy(float)[finite], parts)
    values = np.array_split(value.to_numpy(float)[finite], parts)
    rows = [(s.mean(), v.mean(), v.min(), v.max()) for s, v in zip(steps, values, strict=True)]
    mean_step, mean, low, high = np.array(rows).T
    return mean_step, mean, low, high


@styled
def interval_plot(
    scores: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str, chance: float | None = None
) -> Figure:
    """Values with their intervals: one row per class, one mark per model.

    `scores[class][model]` is (value, low, high); a value of NaN is left out. `chance` is drawn as a dotted
    line.
    """
    figure = Figure((WIDTH_INCH, 0.34 * len(scores) + 0.9), layout="constrained")
    ax = figure.add_subplot()
    models = list(dict.fromkeys(model for row in scores.values() for model in row))
    for rank, model in enumerate(models):
        rows = [(y, *row[model]) for y, row in enumerate(scores.values()) if model in row]
        y, value, low, high = np.array([row for row in rows if np.isfinite(row[1])], float).reshape(-1, 4).T
        y = y + 0.14 * (2 * rank - len(models) + 1)
        colour = model_style(model, rank)["color"]
        ax.hlines(y, low, high, color=colour, linewidth=1.4)
        ax.plot(value, y, "os"[rank % 2], color=colour, markersize=5, label=model, gid=f"values-{model}")
    if chance is not None:
        ax.axvline(chance, color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
    ax.set(yticks=range(len(scores)), ylim=(len(scores) - 0.5, -0.5), title=title)
    ax.set_yticklabels(scores, color=INK, fontsize=10.5)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=len(models))
    return figure


@styled
def embedding_map(
    place_R2: Float[ndarray, "records 2"], labels: Sequence[Sequence[str]], classes: Sequence[str]
) -> Figure:
    """A 2-D map of the records: one panel with all of them in the colours of their labels, one panel per class.

    `labels` holds the labels of each record. Those with none or several of the classes are grey in the
    first panel and stand in the panel of each of their classes. Of more than six classes the most frequent
    are shown.
    """
    has = {name: np.array([name in names for names in labels], dtype=bool) for name in classes}
    frequent = sorted(classes, key=lambda name: -has[name].sum())[:MAX_MAP_CLASSES]
    colour_of = dict(zip([name for name in classes if name in frequent], PALETTE, strict=False))
    rows = max(2, math.ceil(len(colour_of) / 2))
    figure = Figure((WIDTH_INCH, 0.6 * WIDTH_INCH), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1), squeeze=False).ravel()
    overview = left.subplots()
    panels = right.subplots(rows, 2, squeeze=False).ravel()
    middle = (place_R2.max(axis=0) + place_R2.min(axis=0)) / 2
    reach = 1.06 * np.abs(place_R2 - middle).max()
    for ax in (overview, *panels):
        ax.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
        ax.set(xticks=(), yticks=(), aspect="equal")
        ax.spines[:].set_visible(True)
    overview.set_title("All records")
    colour_R = np.full(len(labels), MUTED, dtype=object)
    single_R = sum(has.values()) == 1
    for name, colour in colour_of.items():
        colour_R[single_R & has[name]] = colour
    # In shuffled slices, so that no class lies over all others.
    for part in np.array_split(np.random.default_rng(0).permutation(len(labels)), 10):
        for colour in (MUTED, *PALETTE):
            chosen_R2 = place_R2[part[colour_R[part] == colour]]
            _draw_points(overview, chosen_R2, colour, 4.5, alpha=0.35 if colour == MUTED else 0.85)
    for ax, (name, colour) in zip(panels, colour_of.items(), strict=False):
        ax.set_title(f"{name}  {has[name].sum():,}", fontsize=10.5)
        _draw_points(ax, place_R2[~has[name]][:500], LINE, 2.5)
        _draw_points(ax, place_R2[has[name]], colour, 3)
    for ax in panels[len(colour_of) :]:
        ax.remove()
    return figure


def _draw_points(ax: Axes, place_R2: ndarray, colour: str, size: float, **style: Any) -> None:
    if len(place_R2):
        lines_N22 = np.repeat(place_R2[:, None], 2, axis=1)  # a point is a round line of no length
        ax.add_patch(segments(lines_N22, edgecolor=colour, linewidth=size, capstyle="round", **style))


def segments(lines_N22: Float[ndarray, "lines 2 2"], **style: Any) -> PathPatch:
    """Separate lines, (N, begin and end, x and y), as one path: one element of the SVG instead of thousands."""
    path = Path(lines_N22.reshape(-1, 2), np.tile([Path.MOVETO, Path.LINETO], len(lines_N22)))
    path.should_simplify = False
    return PathPatch(path, facecolor="none", **style)
