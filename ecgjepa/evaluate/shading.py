"""Colours behind the traces of an ECG: one value per lead and stretch of time, and the bar that says what they mean.

Larger values cover more of the sheet, so that grid and trace stay visible on all of them. Both scales keep their order
for every kind of colour vision.

Axes: L leads, P stretches of equal length.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy import ndarray

SHEET = "#fffaf6"
NUMBERS_PT = 8
# Red, green, blue, and how much of what lies below is covered.
LIGHT_TO_DARK = LinearSegmentedColormap.from_list("light-to-dark", [(0.11, 0.43, 0.68, a) for a in (0.0, 0.75)], N=64)
AGAINST_AND_FOR = LinearSegmentedColormap.from_list(
    "against-and-for",
    [
        (0.0, (0.36, 0.27, 0.62, 0.8)),
        (0.5, (0.36, 0.27, 0.62, 0.0)),
        (0.5, (0.88, 0.45, 0.0, 0.0)),
        (1.0, (0.88, 0.45, 0.0, 0.85)),
    ],
    N=65,
)
# Smaller differences than a fifth of the largest value do not use the whole scale.
MIN_SPAN = 0.2


@dataclass(frozen=True)
class Shading:
    """What is shaded behind the traces.

    Attributes:
        value_LP: (L, P); NaN where there is nothing to say.
        leads: L names.
        seconds: length of a stretch in time.
        label: what a value is, with its unit.
        start_s: where the first stretch begins in what is drawn.
        diverging: whether the values have a sign; the colours then lie around 0.
    """

    value_LP: Float[ndarray, "l p"]
    leads: Sequence[str]
    seconds: float
    label: str
    start_s: float = 0.0
    diverging: bool = False

    @property
    def colours(self) -> tuple[Colormap, Normalize]:
        """From the least to the largest value; around 0 if diverging."""
        value = self.value_LP[np.isfinite(self.value_LP)]
        largest = float(np.abs(value).max(initial=0.0)) or 1.0
        if self.diverging:
            return AGAINST_AND_FOR, Normalize(-largest, largest)
        return LIGHT_TO_DARK, Normalize(min(float(value.min(initial=largest)), (1 - MIN_SPAN) * largest), largest)


def shade_row(
    ax: Axes, shading: Shading, lead: str, left_mm: float, mm_per_s: float, bottom_mm: float, top_mm: float
) -> None:
    """One rectangle per stretch of a lead, `shade-LEAD-NUMBER`, between grid and trace."""
    colour_of, norm = shading.colours
    width_mm = shading.seconds * mm_per_s
    first_mm = left_mm + shading.start_s * mm_per_s
    for number, value in enumerate(shading.value_LP[list(shading.leads).index(lead)]):
        if np.isfinite(value):
            box = Rectangle((first_mm + number * width_mm, bottom_mm), width_mm, top_mm - bottom_mm)
            box.set(facecolor=colour_of(norm(value)), linewidth=0, zorder=1.5, gid=f"shade-{lead}-{number}")
            ax.add_patch(box)


def draw_scale(ax: Axes, shading: Shading) -> None:
    """The bar of the colours, with its numbers and its label, across the whole of `ax`."""
    colour_of, norm = shading.colours
    bar = ax.figure.colorbar(ScalarMappable(norm, colour_of), cax=ax, orientation="horizontal")
    bar.outline.set_visible(False)
    ax.set_facecolor(SHEET)
    bar.locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], symmetric=shading.diverging)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:+g}" if shading.diverging and value else f"{value:g}")
    bar.update_ticks()
    ax.grid(visible=False)
    ax.tick_params(labelsize=NUMBERS_PT, length=2, pad=1.5)
    ax.set_xlabel(shading.label, fontsize=NUMBERS_PT, labelpad=1.5, loc="left")
    ax.set_gid("scale")
