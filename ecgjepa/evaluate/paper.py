"""A 12-lead ECG as clinicians read it: on paper, 25 mm/s and 10 mm/mV, the hidden patches of a mask shaded.

Axes: L leads, S samples.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray

from ecgjepa.evaluate.plots import segments, styled
from ecgjepa.leads import LEADS_12, LIMB_LEADS

MM_PER_INCH = 25.4
MM_PER_S, MM_PER_MV = 25.0, 10.0
ROW_MM, LEFT_MM, EDGE_MM = 30.0, 15.0, 5.0
LAYOUT = (("I", "aVR", "V1", "V4"), ("II", "aVL", "V2", "V5"), ("III", "aVF", "V3", "V6"), ("II",))
COLOUR = {"sheet": "#fffaf6", "1 mm": "#f6ddd6", "5 mm": "#e9b5aa", "trace": "#16191c", "hidden": "#cbd8e4"}
LABEL_BOX = {"boxstyle": "round,pad=0.15", "facecolor": COLOUR["sheet"], "edgecolor": "none", "alpha": 0.75}


@styled
def ecg_paper(
    signal_mv: Float[ndarray, "leads samples"],
    leads: Sequence[str],
    sampling_rate_hz: float,
    hidden_patches: Sequence[int] = (),
    patch_seconds: float = 0.2,
) -> Figure:
    """An ECG on standard paper: 25 mm/s and 10 mm/mV at the size of the figure, the hidden patches shaded.

    `signal_mv` (L, S) in mV; the limb leads that follow from I and II are derived. Twelve leads stand in
    three rows of four with lead II as rhythm strip, and time runs on from column to column; fewer leads
    have one row each. Each lead is moved to its row by its median. A row begins with the calibration pulse
    of 1 mV and 0.2 s. One unit of the axes is one millimetre; what leaves the sheet is cut off.
    """
    lead_mv = _with_derived_leads(signal_mv, leads)
    layout = LAYOUT if len(lead_mv) == len(LEADS_12) else tuple((lead,) for lead in lead_mv)
    seconds = signal_mv.shape[1] / sampling_rate_hz
    width_mm = LEFT_MM + math.ceil(seconds * MM_PER_S / 5) * 5 + EDGE_MM
    height_mm = len(layout) * ROW_MM + 2 * EDGE_MM
    figure = Figure((width_mm / MM_PER_INCH, height_mm / MM_PER_INCH))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, width_mm), ylim=(0, height_mm))
    ax.axis("off")
    _draw_sheet(ax, width_mm, height_mm)
    patch_mm = patch_seconds * MM_PER_S
    for first, end in _runs(hidden_patches):
        box = Rectangle((LEFT_MM + first * patch_mm, 0), (end - first) * patch_mm, height_mm)
        box.set(facecolor=COLOUR["hidden"], alpha=0.72, zorder=3, gid=f"hidden-{first}-{end - 1}")
        ax.add_patch(box)
    for number, row in enumerate(layout):
        zero_mm = height_mm - EDGE_MM - (number + 0.6) * ROW_MM
        _draw_trace(ax, [4, 5, 5, 10, 10, 11], zero_mm + np.array([0, 0, 10, 10, 0, 0]), f"pulse-{number}")
        edges = np.linspace(0, signal_mv.shape[1], len(row) + 1).astype(int)
        for lead, start, end in zip(row, edges[:-1], edges[1:], strict=True):
            x_mm = LEFT_MM + np.arange(start, end) / sampling_rate_hz * MM_PER_S
            centred_mv = (lead_mv[lead] - np.median(lead_mv[lead]))[start:end]
            _draw_trace(ax, x_mm, zero_mm + centred_mv * MM_PER_MV, f"trace-{number}-{lead}")
            ax.text(x_mm[0] + 1, zero_mm + 11.5, lead, color=COLOUR["trace"], weight="bold", bbox=LABEL_BOX, zorder=4)
            if start:
                _draw_trace(ax, [x_mm[0]] * 2, [zero_mm - 3, zero_mm + 3], f"border-{number}-{lead}")
    ax.text(4, 2, "25 mm/s · 10 mm/mV", color=COLOUR["trace"], fontsize=8, bbox=LABEL_BOX, zorder=4)
    return figure


def _with_derived_leads(signal_mv: ndarray, leads: Sequence[str]) -> dict[str, ndarray]:
    lead_mv = dict(zip(leads, signal_mv, strict=True))
    if "I" in lead_mv and "II" in lead_mv:
        for lead, (of_i, of_ii) in LIMB_LEADS.items():
            lead_mv.setdefault(lead, of_i * lead_mv["I"] + of_ii * lead_mv["II"])
    return {lead: lead_mv[lead] for lead in LEADS_12 if lead in lead_mv}


def _draw_sheet(ax: Axes, width_mm: float, height_mm: float) -> None:
    ax.add_patch(Rectangle((0, 0), width_mm, height_mm, facecolor=COLOUR["sheet"], edgecolor="none"))
    for every_mm, linewidth in ((1, 0.35), (5, 0.6)):
        down = [((x, 0), (x, height_mm)) for x in np.arange(0, width_mm + 0.1, every_mm)]
        across = [((0, y), (width_mm, y)) for y in np.arange(0, height_mm + 0.1, every_mm)]
        colour = COLOUR[f"{every_mm} mm"]
        ax.add_patch(segments(np.array(down + across), edgecolor=colour, linewidth=linewidth))


def _draw_trace(ax: Axes, x_mm: ndarray | list[float], y_mm: ndarray | list[float], name: str) -> None:
    ax.plot(x_mm, y_mm, color=COLOUR["trace"], linewidth=0.9, gid=name)


def _runs(patches: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring patches as (first, one behind the last)."""
    runs: list[tuple[int, int]] = []
    for patch in sorted(set(patches)):
        if runs and runs[-1][1] == patch:
            runs[-1] = (runs[-1][0], patch + 1)
        else:
            runs.append((patch, patch + 1))
    return runs
