"""An audit as one page that anybody can open: no outside request, no script, the picture inline."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

import ecgjepa
from ecgjepa.audit import summary
from ecgjepa.audit.run import Audit
from ecgjepa.audit.summary import Range
from ecgjepa.files import write_text
from ecgjepa.leads import LEADS_12

PAGE = "page.html"
# Of the picture, in its own units. A source has one thin bar in every lead.
LEFT, RIGHT, TOP, BAR, GAP, COLOURS = 48, 780, 26, 9, 9, 6
TICKS_MV = (1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True)
class Bar:
    """One lead of one source: from 5 to 95 %, and the median; `y` is its middle."""

    x: float
    width: float
    median_x: float
    y: float
    colour: int
    words: str


@dataclass(frozen=True)
class Picture:
    """Bars by lead on a logarithmic axis of mV."""

    height: float
    bars: tuple[Bar, ...]
    leads: tuple[tuple[str, float], ...]
    ticks: tuple[tuple[str, float], ...]


def write_page(audit: Audit, out: Path, what: str, seed: int, already_refused: dict[str, int] | None = None) -> None:
    """Write the page; a file that is there is replaced.

    Args:
        what: that was looked at.
        already_refused: of a store, what was refused when it was prepared.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda count: f"{count:,}"
    ranges = summary.amplitudes(audit)
    page = environment.from_string(files("ecgjepa.audit").joinpath(PAGE).read_text(encoding="utf-8"))
    html = page.render(
        what=what,
        head=summary.head_line(audit, what, seed),
        audit=audit,
        sources=summary.sources(audit),
        warnings=summary.scale_warnings(audit, ranges),
        amplitudes=summary.amplitude_table(ranges, audit.inputs.sources),
        picture=draw_ranges(ranges, audit.inputs.sources) if ranges else None,
        refused=summary.refused(audit),
        noted=summary.noted(audit),
        by_lead=summary.by_lead(audit),
        same=summary.same_lines(audit),
        share=summary.share,
        already_refused=already_refused or {},
        version=ecgjepa.__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    write_text(out, html)


def draw_ranges(ranges: Sequence[Range], sources: Sequence[str]) -> Picture:
    """Where every bar goes; leads from top to bottom, within a lead the sources in their order."""
    low = math.log10(min(each.low_mv for each in ranges)) - 0.03
    high = math.log10(max(each.high_mv for each in ranges)) + 0.03
    scale = (RIGHT - LEFT) / (high - low)

    def place(mv: float) -> float:
        return round(LEFT + scale * (math.log10(mv) - low), 1)

    shown = [source for source in sources if any(each.source == source for each in ranges)]
    step = BAR * len(shown) + GAP
    leads = [lead for lead in LEADS_12 if any(each.lead == lead for each in ranges)]
    bars = []
    for each in ranges:
        colour = shown.index(each.source)
        x, end = place(each.low_mv), place(each.high_mv)
        y = TOP + step * leads.index(each.lead) + BAR * (colour + 0.5)
        words = f"{each.source}, {each.lead}: {each.median_mv:.3g} mV ({each.low_mv:.2g} to {each.high_mv:.2g})"
        bars.append(Bar(x, round(end - x, 1), place(each.median_mv), y, sources.index(each.source) % COLOURS, words))
    return Picture(
        TOP + step * len(leads) + 8,
        tuple(bars),
        tuple((lead, TOP + step * row + BAR * len(shown) / 2) for row, lead in enumerate(leads)),
        tuple((f"{mv:g}", place(mv)) for mv in TICKS_MV if low <= math.log10(mv) <= high),
    )
