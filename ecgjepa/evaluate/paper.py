"""An ECG as clinicians read it: on paper, 25 mm/s and 10 mm/mV, the hidden patches of a mask or other values shaded.

Axes: L leads, S samples.
"""

import itertools
import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy import ndarray

from ecgjepa.evaluate.plots import INK, segments, styled
from ecgjepa.evaluate.shading import SHEET, Shading, draw_scale, shade_row
from ecgjepa.leads import LEADS_12, LIMB_LEADS

MM_PER_INCH = 25.4
MM_PER_S, MM_PER_MV = 25.0, 10.0
ROW_MM, NARROW_ROW_MM, LEFT_MM, EDGE_MM = 30.0, 20.0, 15.0, 5.0
MAX_ROW_MM, MAX_LABEL_MM = 60.0, 30.0
# More rows than this stand closer.
MANY_ROWS = 4
# Caption and scale need some width, however short the trace.
MIN_CAPTION_MM = 110.0
CAPTION_LINE_MM, SCALE_MM = 4.4, 17.0
# Twelve leads stand in so many columns as leave each two seconds.
COLUMNS, MIN_COLUMN_S = (4, 2, 1), 2.0
RHYTHM = "II"
COLOUR = {"sheet": SHEET, "1 mm": "#f6ddd6", "5 mm": "#e9b5aa", "trace": "#16191c", "hidden": "#cbd8e4"}
LABEL_BOX = {"boxstyle": "round,pad=0.15", "facecolor": COLOUR["sheet"], "edgecolor": "none", "alpha": 0.75}


@styled
def ecg_paper(
    signal_mv: Float[ndarray, "leads samples"],
    leads: Sequence[str],
    sampling_rate_hz: float,
    hidden_patches: Sequence[int] = (),
    patch_seconds: float = 0.2,
    *,
    gain_mm_per_mv: float = MM_PER_MV,
    caption: Sequence[str] = (),
    shading: Shading | None = None,
) -> Figure:
    """An ECG on standard paper: 25 mm/s and 10 mm/mV at the size of the figure, the hidden patches shaded.

    `signal_mv` (L, S) in mV, NaN where the trace has a gap; limb leads that follow from two others are derived. Twelve
    leads stand in three rows of four with lead II as rhythm strip, and time runs on from column to column; where that
    leaves a column less than two seconds, in two columns or one. Fewer leads and any others have one row each, and so
    have those of `shading`, which are then the only ones. Each lead is moved to its row by its median. A row begins
    with the calibration pulse of 1 mV and 0.2 s. One unit of the axes is one millimetre; what leaves the sheet is cut
    off, and named at its foot. The lines of `caption` stand above the sheet, the scale of `shading` below.
    """
    lead_mv = with_derived_leads(signal_mv, leads)
    seconds = signal_mv.shape[1] / sampling_rate_hz
    layout = _layout(tuple(lead_mv), seconds) if shading is None else [(lead,) for lead in shading.leads]
    trace_mm = {lead: _centred(lead_mv[lead]) * gain_mm_per_mv for row in layout for lead in row}
    rows = [_cells(row, trace_mm, sampling_rate_hz, len(layout) > MANY_ROWS) for row in layout]

    width_mm = LEFT_MM + math.ceil(seconds * MM_PER_S / 5) * 5 + EDGE_MM
    if caption or shading is not None:
        width_mm = max(width_mm, MIN_CAPTION_MM)
    height_mm, zeros_mm = _place_rows(rows, gain_mm_per_mv)
    figure, ax = _page(width_mm, height_mm, caption, shading)

    patch_mm = patch_seconds * MM_PER_S
    for first, end in _runs(hidden_patches):
        box = Rectangle((LEFT_MM + first * patch_mm, 0), (end - first) * patch_mm, height_mm)
        box.set(facecolor=COLOUR["hidden"], alpha=0.72, zorder=3, gid=f"hidden-{first}-{end - 1}")
        ax.add_patch(box)
    between_mm = (low + (high - low) * 2 / 3 for high, low in itertools.pairwise(zeros_mm))
    borders_mm = [height_mm, *between_mm, 0]
    for number, (row, zero_mm) in enumerate(zip(rows, zeros_mm, strict=True)):
        pulse_mm = zero_mm + gain_mm_per_mv * np.array([0, 0, 1, 1, 0, 0])
        _draw_trace(ax, [4, 5, 5, 10, 10, 11], pulse_mm, f"pulse-{number}")
        for cell in row:
            if shading is not None:
                shade_row(ax, shading, cell.lead, LEFT_MM, MM_PER_S, borders_mm[number + 1], borders_mm[number])
            x_mm = LEFT_MM + cell.x_mm
            _draw_trace(ax, x_mm, zero_mm + cell.trace_mm, f"trace-{number}-{cell.lead}")
            _write(ax, x_mm[0] + 1, zero_mm + cell.label_mm, cell.label, weight="bold")
            if x_mm[0] > LEFT_MM:
                _draw_trace(ax, [x_mm[0]] * 2, [zero_mm - 3, zero_mm + 3], f"border-{number}-{cell.lead}")
    cut = [
        cell.lead
        for row, zero_mm in zip(rows, zeros_mm, strict=True)
        for cell in row
        if zero_mm + cell.top_mm > height_mm or zero_mm + cell.bottom_mm < 0
    ]
    foot = f"25 mm/s · {gain_mm_per_mv:g} mm/mV"
    if cut:
        foot += f" · cut off at the edge: {', '.join(dict.fromkeys(cut))}"
    unusual = bool(cut) or gain_mm_per_mv != MM_PER_MV
    _write(ax, 4, 2, foot, weight="bold" if unusual else "normal", fontsize=8, gid="foot")
    return figure


class Cell(NamedTuple):
    """One lead in one place of the sheet; all in mm, x from its row's begin and y from its zero line."""

    lead: str
    x_mm: ndarray
    trace_mm: ndarray
    label: str
    label_mm: float
    top_mm: float
    bottom_mm: float


def with_derived_leads(signal_mv: Float[ndarray, "leads samples"], leads: Sequence[str]) -> dict[str, ndarray]:
    """Standard leads in their usual order, among them limb leads that follow from two others; then any other."""
    lead_mv = dict(zip(leads, signal_mv, strict=True))
    limb = [lead for lead in LIMB_LEADS if lead in lead_mv][:2]
    if len(limb) == 2:
        from_two = np.linalg.inv([LIMB_LEADS[lead] for lead in limb])
        for lead in LIMB_LEADS:
            if lead not in lead_mv:
                of_first, of_second = np.array(LIMB_LEADS[lead]) @ from_two
                lead_mv[lead] = of_first * lead_mv[limb[0]] + of_second * lead_mv[limb[1]]
    standard = [lead for lead in LEADS_12 if lead in lead_mv]
    return {lead: lead_mv[lead] for lead in [*standard, *(lead for lead in lead_mv if lead not in standard)]}


def _layout(leads: tuple[str, ...], seconds: float) -> list[tuple[str, ...]]:
    if leads[: len(LEADS_12)] != LEADS_12:
        return [(lead,) for lead in leads]
    columns = next(n for n in COLUMNS if n == 1 or seconds / n >= MIN_COLUMN_S)
    rows = len(LEADS_12) // columns
    standard = [LEADS_12[row::rows] for row in range(rows)]
    return [*standard, *([(RHYTHM,)] if columns == COLUMNS[0] else []), *((lead,) for lead in leads[len(LEADS_12) :])]


def _cells(row: tuple[str, ...], trace_mm: dict[str, ndarray], sampling_rate_hz: float, narrow: bool) -> list[Cell]:
    """The leads of a row, one after the other in time; their names stand above what they would hide."""
    samples = len(trace_mm[row[0]])
    edges = np.linspace(0, samples, len(row) + 1).astype(int)
    cells = []
    for lead, start, end in zip(row, edges[:-1], edges[1:], strict=True):
        x_mm, part_mm = np.arange(start, end) / sampling_rate_hz * MM_PER_S, trace_mm[lead][start:end]
        there_mm = part_mm[np.isfinite(part_mm)]
        label = lead if len(there_mm) else f"{lead} (no signal)"
        near_mm = part_mm[(x_mm < x_mm[0] + 2 + 2.6 * len(label)) & np.isfinite(part_mm)]
        usual_mm = 8.0 if narrow else 11.5
        label_mm = max(usual_mm, float(near_mm.max(initial=0)) + 1.5)
        if label_mm > MAX_LABEL_MM:
            label_mm = usual_mm
        top_mm, bottom_mm = float(there_mm.max(initial=0)), float(there_mm.min(initial=0))
        cells.append(Cell(lead, x_mm, part_mm, label, label_mm, top_mm, bottom_mm))
    return cells


def _centred(lead_mv: ndarray) -> ndarray:
    """A lead around its median; a gap where it is not finite."""
    finite_mv = np.where(np.isfinite(lead_mv), lead_mv, np.nan)
    return finite_mv if np.isnan(finite_mv).all() else finite_mv - np.nanmedian(finite_mv)


def _place_rows(rows: list[list[Cell]], gain_mm_per_mv: float) -> tuple[float, list[float]]:
    """Height of the sheet and zero line of every row, all on lines of the grid; large traces get more room."""

    def grid(least: float, wanted: float) -> float:
        return math.ceil(min(max(least, wanted), MAX_ROW_MM) / 5) * 5

    up = [max(max(cell.top_mm, cell.label_mm + 4) for cell in row) for row in rows]
    down = [max(-cell.bottom_mm for cell in row) for row in rows]
    usual_mm = max(NARROW_ROW_MM if len(rows) > MANY_ROWS else ROW_MM, gain_mm_per_mv + 10)
    above = grid(max(ROW_MM * 2 / 3, gain_mm_per_mv + 5), up[0] + 2)
    pitches = [grid(usual_mm, lower + upper) for lower, upper in zip(down, up[1:], strict=False)]
    depth = np.cumsum([above, *pitches])
    height_mm = float(2 * EDGE_MM + depth[-1] + grid(ROW_MM / 3, down[-1] + 2))
    return height_mm, [height_mm - EDGE_MM - float(each) for each in depth]


def _page(width_mm: float, height_mm: float, caption: Sequence[str], shading: Shading | None) -> tuple[Figure, Axes]:
    """A page with the caption, the empty sheet, whose axes are in mm, and the scale of the shading."""
    lines: list[tuple[str, str]] = []
    for number, line in enumerate(caption):
        weight, character_mm = ("normal", 1.85) if number else ("bold", 2.2)
        parts = textwrap.wrap(line.replace(" · ", "\N{NO-BREAK SPACE}· "), int((width_mm - 2 * EDGE_MM) / character_mm))
        lines += [(part, weight) for part in parts]
    caption_mm = len(lines) * CAPTION_LINE_MM + 4 if lines else 0.0
    scale_mm = 0.0 if shading is None else SCALE_MM
    page_mm = caption_mm + height_mm + scale_mm
    figure = Figure((width_mm / MM_PER_INCH, page_mm / MM_PER_INCH))
    ax = figure.add_axes((0, scale_mm / page_mm, 1, height_mm / page_mm))
    ax.set(xlim=(0, width_mm), ylim=(0, height_mm))
    ax.axis("off")
    _draw_grid(ax, width_mm, height_mm)
    for number, (line, weight) in enumerate(lines):
        place = EDGE_MM / width_mm, 1 - (2 + number * CAPTION_LINE_MM) / page_mm
        figure.text(*place, line, va="top", color=INK, fontsize=9, weight=weight, gid=f"caption-{number}")
    if shading is not None:
        bar_mm = min(100.0, width_mm - 2 * LEFT_MM)
        bar = (LEFT_MM / width_mm, (scale_mm - 6) / page_mm, bar_mm / width_mm, 3 / page_mm)
        draw_scale(figure.add_axes(bar), shading)
    return figure, ax


def _draw_grid(ax: Axes, width_mm: float, height_mm: float) -> None:
    ax.add_patch(Rectangle((0, 0), width_mm, height_mm, facecolor=COLOUR["sheet"], edgecolor="none", zorder=0))
    for every_mm, linewidth in ((1, 0.35), (5, 0.6)):
        down = [((x, 0), (x, height_mm)) for x in np.arange(0, width_mm + 0.1, every_mm)]
        across = [((0, y), (width_mm, y)) for y in np.arange(0, height_mm + 0.1, every_mm)]
        colour = COLOUR[f"{every_mm} mm"]
        ax.add_patch(segments(np.array(down + across), edgecolor=colour, linewidth=linewidth, gid=f"grid-{every_mm}mm"))


def _draw_trace(ax: Axes, x_mm: ndarray | list[float], y_mm: ndarray | list[float], name: str) -> None:
    ax.plot(x_mm, y_mm, color=COLOUR["trace"], linewidth=0.9, gid=name)


def _write(ax: Axes, x_mm: float, y_mm: float, text: str, **style: Any) -> None:
    ax.text(x_mm, y_mm, text, color=COLOUR["trace"], bbox=LABEL_BOX, zorder=4, **style)


def _runs(patches: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring patches as (first, one behind the last)."""
    runs: list[tuple[int, int]] = []
    for patch in sorted(set(patches)):
        if runs and runs[-1][1] == patch:
            runs[-1] = (runs[-1][0], patch + 1)
        else:
            runs.append((patch, patch + 1))
    return runs
