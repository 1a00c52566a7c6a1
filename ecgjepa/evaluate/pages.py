"""Templates of pages that anybody can open: everything escaped, no outside request, no script, figures inline."""

import math
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

from ecgjepa.evaluate.plots import to_svg

DATASETS = {
    "ptbxl": "PTB-XL",
    "shaoxing": "Chapman-Shaoxing-Ningbo",
    "code15": "CODE-15%",
    "cpsc": "CPSC2018",
}


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows, or no figure and why."""

    caption: str
    svg: Markup | None = None


def picture(figure: Figure, name: str, description: str, caption: str) -> Picture:
    """A figure for a page; see `to_svg`."""
    return Picture(caption, Markup(to_svg(figure, name, description)))


def page_template(name: str) -> Template:
    """A template of this folder, with the filters for numbers and times."""
    loader = PackageLoader("ecgjepa.evaluate", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": format_number,
        "score": format_score,
        "signed": _signed,
        "duration": _duration,
        "moment": _moment,
    }
    return environment.get_template(name)


def format_number(value: float) -> str:
    """Whole numbers with commas, others with four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def format_score(value: float | None) -> str:
    """Three decimals; a dash where there is no score."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _moment(iso: str) -> str:
    return iso.replace("T", " ").replace("+00:00", " UTC")
