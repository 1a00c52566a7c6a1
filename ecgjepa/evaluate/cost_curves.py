"""The figure of a comparison: score against what it cost, a line and a band over the seeds of each arm."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from ecgjepa.evaluate.compare import COSTS, SCORE, Arm, Cost
from ecgjepa.evaluate.plots import INK, MUTED, PALETTE, WIDTH_INCH, styled
from ecgjepa.evaluate.published import ECG_JEPA, NUMBERS

MARKERS, DASHES = "os^Dv", ("-", (0, (5, 2)), (0, (1, 1.5)))
# GPU hours of pretraining that arXiv:2410.08559 states, for ECG-JEPA on one RTX 3090.
PUBLISHED_HOURS = {"ECG-JEPA (multi-block)": 22.0, "ST-MEM": 84.0, "MTAE": 21.0, "MLAE": 19.0}
PUBLISHED_NOTE = (
    f"Published points ({ECG_JEPA}): about {'{:g}, {:g}, {:g} and {:g}'.format(*PUBLISHED_HOURS.values())} GPU hours, "
    "ECG-JEPA's on one RTX 3090, and the macro AUC of the linear evaluation on PTB-XL's test fold, superdiagnostic, "
    "multiclass. They come from other data, other hardware and another evaluation than the curves: compare their order "
    "among each other, not with ours."
)


class PublishedPoint(NamedTuple):
    """A model of the literature."""

    model: str
    hours: float
    auc: float


def published_points() -> list[PublishedPoint]:
    """PTB-XL multiclass, linear, with the GPU hours of pretraining; see `PUBLISHED_NOTE`."""
    rows = [row for row in NUMBERS if (row.dataset, row.task, row.how, row.source) == (
        "ptbxl", "multiclass", "linear", ECG_JEPA)]  # fmt: skip
    return [PublishedPoint(row.model, PUBLISHED_HOURS[row.model], row.value) for row in rows]


@styled
def cost_curves(
    arms: Sequence[Arm],
    cost: Cost,
    *,
    goal: tuple[str, float] | None = None,
    published: Sequence[PublishedPoint] = (),
) -> Figure:
    """AUC of the online probe over a cost: the mean over seeds thick, their extremes as a band, each seed thin.

    Args:
        goal: name and score of an arm whose best is drawn as a dotted line.
        published: hollow marks; the axis is then logarithmic, and leaves out what cost nothing.
    """
    column, title = COSTS[cost]
    figure = Figure((WIDTH_INCH, 5.2), layout="constrained")
    ax = figure.add_subplot()
    for k, arm in enumerate(arms):
        colour, dash = PALETTE[k % len(PALETTE)], DASHES[k // len(PALETTE) % len(DASHES)]
        marker = MARKERS[k % len(MARKERS)]
        mean, seeds = arm.mean(), {run.seed: run.points for run in arm.runs}
        if published:
            mean, seeds = mean[mean[column] > 0], {seed: rows[rows[column] > 0] for seed, rows in seeds.items()}
        if len(arm.runs) > 1:
            for seed, points in seeds.items():
                ax.plot(points[column], points[SCORE], color=colour, linewidth=0.7, alpha=0.55,
                        gid=f"seed-{k}-{seed}")  # fmt: skip
            ax.fill_between(mean[column], mean["low"], mean["high"], color=colour, alpha=0.16, linewidth=0)
        count = f" ({len(arm.runs)} seeds)" if len(arm.runs) > 1 else ""
        ax.plot(mean[column], mean[SCORE], color=colour, linestyle=dash, linewidth=2.2, marker=marker, markersize=4.5,
                label=arm.label + count, gid=f"mean-{k}")  # fmt: skip
    if goal is not None:
        label, score = goal
        ax.axhline(score, color=MUTED, linewidth=0.9, linestyle=(0, (2, 3)), gid="goal")
        ax.annotate(f"best of {label}: {score:.3f}", (0.995, score), xycoords=("axes fraction", "data"),
                    xytext=(0, 3), textcoords="offset points", ha="right", color=MUTED, fontsize=9.5)  # fmt: skip
    if published:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        ax.plot([point.hours for point in published], [point.auc for point in published], "D", markersize=7,
                markerfacecolor="none", color=INK, label=f"published ({ECG_JEPA}): other data and hardware",
                gid="published")  # fmt: skip
        for point in published:
            left = point.model in ("ST-MEM", "MLAE")  # at the edge, and beside a neighbour
            place, align = ((-9, -3.5), "right") if left else ((9, -3.5), "left")
            ax.annotate(point.model, (point.hours, point.auc), xytext=place, textcoords="offset points", ha=align,
                        color=INK, fontsize=9.5)  # fmt: skip
    else:
        ax.xaxis.set_major_locator(MaxNLocator(8))
        ax.set_xlim(left=0)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    ax.set_xlabel(title)
    ax.set_ylabel("AUC of the online probe (validation)" if not published else "macro AUC")
    figure.legend(loc="outside upper left", ncols=2 if max((len(arm.label) for arm in arms), default=0) < 60 else 1)
    return figure
