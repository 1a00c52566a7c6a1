"""Figures of a run while it trains: what evaluations found, step by step, and how often each patch is hidden."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ecgjepa.evaluate.plots import INK, MUTED, PALETTE, WIDTH_INCH, styled

# Columns of `evaluations.csv` that say when, not what was found.
WHEN = ("step", "epoch", "seconds", "core_seconds")
# In this order; a column that is not here comes after them under its own name.
TITLES = {
    "probe_auc": "AUC of the online probe",
    "record_share": "Variance between records",
    "output_record_share": "The same, after the last norm",
    "rankme_pooled": "RankMe, pooled",
    "rankme_tokens": "RankMe, tokens",
    "cosine_pooled": "Mean cosine of two records",
    "within_record": "Variance within a record",
    "token_spread": "Spread of tokens",
    "token_spread_min": "Spread, flattest dimension",
    "pooled_contrast": "Contrast, pooled",
    "output_contrast": "Contrast, tokens",
    "probe_c": "Strength C of the probe",
}
COLUMNS = 4


def measured(evaluations: pd.DataFrame) -> list[str]:
    """Columns with something found in them: the AUC first, then the measures of `TITLES`, then all others."""
    found = [name for name in evaluations if name not in WHEN and np.isfinite(evaluations[name]).any()]
    known = list(TITLES)
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


@styled
def evaluation_panels(evaluations: pd.DataFrame, alarm_steps: Sequence[int] = ()) -> Figure:
    """One small panel for each measure over the steps, and a vertical line at each alarm; see `measured`."""
    names = measured(evaluations)
    rows = max(1, math.ceil(len(names) / COLUMNS))
    figure = Figure((WIDTH_INCH, 1.75 * rows + 0.35), layout="constrained")
    panels = figure.subplots(rows, COLUMNS, sharex=True, squeeze=False).ravel()
    for ax, name in zip(panels, names, strict=False):
        ax.set_title(TITLES.get(name, name.replace("_", " ").capitalize()), fontsize=10)
        colour = PALETTE[0] if name == "probe_auc" else MUTED
        there = evaluations[np.isfinite(evaluations[name])]
        ax.plot(there["step"], there[name], color=colour, marker="o", markersize=2.5, gid=f"{name}-line")
        for step in alarm_steps:
            ax.axvline(step, color=PALETTE[1], linewidth=1, linestyle=(0, (3, 2)))
        ax.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        ax.tick_params(labelsize=9)
    for ax in panels[len(names) :]:
        ax.remove()
    for k in range(len(names)):
        last = k + COLUMNS >= len(names)  # nothing below it
        panels[k].tick_params(labelbottom=last)
        if last:
            panels[k].set_xlabel("step", fontsize=9.5)
    return figure


@styled
def coverage_bars(share_P: Sequence[float], patch_seconds: float = 0.2) -> Figure:
    """How often each patch in time is hidden, as a share of the masks; a dotted line at the mean."""
    figure = Figure((WIDTH_INCH, 2.3), layout="constrained")
    ax = figure.add_subplot()
    start_s = np.arange(len(share_P)) * patch_seconds
    ax.bar(start_s, share_P, width=0.82 * patch_seconds, align="edge", color=PALETTE[0], gid="coverage")
    ax.axhline(float(np.mean(share_P)), color=INK, linewidth=0.9, linestyle=(0, (2, 3)))
    ax.set(xlim=(0, len(share_P) * patch_seconds), ylim=(0, 1), title="Share of masks that hide the patch")
    ax.set_yticks((0, 0.5, 1))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.set_xlabel("seconds")
    ax.grid(visible=False, axis="x")
    return figure
