"""Figures of a score against a condition: the share of the labels, the leads that are there, noise."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from ecgjepa.evaluate.plots import INK, MUTED, WIDTH_INCH, model_style, styled


class ConditionPoint(NamedTuple):
    """A score under one condition, with the ends of its bar: an interval over patients, or one sd over draws."""

    condition: str
    value: float
    low: float
    high: float


@styled
def condition_curves(
    points: Mapping[str, Sequence[ConditionPoint]], conditions: Sequence[str], title: str, xlabel: str
) -> Figure:
    """A line per model over the conditions in their order; models that lack a condition have no mark there."""
    figure = Figure((WIDTH_INCH * 0.75, 3.4), layout="constrained")
    ax = figure.add_subplot()
    place_of = {condition: x for x, condition in enumerate(conditions)}
    for rank, (model, row) in enumerate(points.items()):
        style = model_style(model, rank)
        shift = 0.06 * (rank - (len(points) - 1) / 2)
        x = [place_of[point.condition] + shift for point in row]
        ax.vlines(x, [point.low for point in row], [point.high for point in row], color=style["color"], linewidth=1.2)
        ax.plot(x, [point.value for point in row], "o-", **style, markersize=4.5, label=model, gid=f"condition-{model}")
    ax.set(title=title, xlabel=xlabel, xticks=range(len(conditions)), xlim=(-0.4, len(conditions) - 0.6))
    ax.set_xticklabels(conditions, color=INK)
    ax.xaxis.label.set_color(MUTED)
    figure.legend(loc="outside right upper")
    return figure
