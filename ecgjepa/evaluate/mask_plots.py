"""What masks hide: numbers and figures of many masks.

Axes: N masks, P patches in time, L leads, S samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy import ndarray

from ecgjepa.evaluate.paper import ecg_paper
from ecgjepa.evaluate.plots import INK, PALETTE, WIDTH_INCH, styled

STRIPS = 3  # masks that are shown on a strip of one lead, beside the one on the sheet
STRIP_LEAD = "II"
RASTER_MASKS = 32


@dataclass(frozen=True)
class MaskNumbers:
    """Of many masks.

    Attributes:
        masks, patches: how many.
        mean_share: of the patches that are hidden.
        low_share, high_share: nine of ten masks lie between them.
        visible: least, mean and largest number of patches that are seen.
        neighbours: mean number of hidden patches in a row.
        coverage: least and largest share of masks that hide a patch.
    """

    masks: int
    patches: int
    mean_share: float
    low_share: float
    high_share: float
    visible: tuple[int, float, int]
    neighbours: float
    coverage: tuple[float, float]

    def describe(self) -> str:
        """One sentence each."""
        least, mean, most = self.visible
        return (
            f"{self.masks:,} masks of {self.patches} patches hide {self.mean_share:.1%} of them on the average, "
            f"nine of ten masks {self.low_share:.1%} to {self.high_share:.1%}. "
            f"Visible are {mean:.1f} patches, {least} to {most}; hidden ones come {self.neighbours:.1f} in a row. "
            f"A patch is hidden by {self.coverage[0]:.1%} to {self.coverage[1]:.1%} of the masks."
        )


def mask_numbers(hidden_NP: Bool[ndarray, "n p"]) -> MaskNumbers:
    """What is to be known of masks in numbers."""
    count_N, patches = hidden_NP.sum(axis=1), hidden_NP.shape[1]
    low, high = np.percentile(count_N / patches, [5, 95])
    begins = hidden_NP & ~np.pad(hidden_NP, ((0, 0), (1, 0)))[:, :-1]
    coverage_P = hidden_NP.mean(axis=0)
    return MaskNumbers(
        masks=len(hidden_NP),
        patches=patches,
        mean_share=float(count_N.mean() / patches),
        low_share=float(low),
        high_share=float(high),
        visible=(int(patches - count_N.max()), float(patches - count_N.mean()), int(patches - count_N.min())),
        neighbours=float(hidden_NP.sum() / max(1, begins.sum())),
        coverage=(float(coverage_P.min()), float(coverage_P.max())),
    )


def masked_sheets(
    signal_mv: Float[ndarray, "leads samples"],
    leads: Sequence[str],
    sampling_rate_hz: float,
    hidden_NP: Bool[ndarray, "n p"],
    patch_seconds: float,
    caption: Sequence[str] = (),
) -> list[Figure]:
    """An ECG with the first mask, and a strip of one lead with each of the next three."""
    strip = list(leads).index(STRIP_LEAD) if STRIP_LEAD in leads else 0
    figures = []
    for number, hidden_P in enumerate(hidden_NP[: 1 + STRIPS]):
        shown, names = (signal_mv, leads) if number == 0 else (signal_mv[[strip]], [leads[strip]])
        figures.append(
            ecg_paper(
                shown,
                names,
                sampling_rate_hz,
                np.flatnonzero(hidden_P).tolist(),
                patch_seconds,
                caption=caption if number == 0 else (),
            )
        )
    return figures


@styled
def mask_raster(hidden_NP: Bool[ndarray, "n p"], patch_seconds: float, title: str) -> Figure:
    """The first 32 masks, a row each: dark where a patch is hidden."""
    shown_NP = hidden_NP[:RASTER_MASKS]
    figure = Figure((WIDTH_INCH, 0.6 + 0.11 * len(shown_NP)), layout="constrained")
    ax = figure.add_subplot()
    seconds = shown_NP.shape[1] * patch_seconds
    ax.imshow(
        shown_NP,
        cmap=ListedColormap(["#eef1f4", PALETTE[0]]),
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="none",
        extent=(0, seconds, len(shown_NP), 0),
        gid="raster",
    )
    ax.hlines(np.arange(1, len(shown_NP)), 0, seconds, color="white", linewidth=0.8)
    ax.set(title=title, xlabel="seconds", yticks=())
    ax.grid(visible=False)
    return figure


@styled
def coverage_figure(coverage_P: Float[ndarray, "p"], expected_P: Float[ndarray, "p"], patch_seconds: float) -> Figure:
    """Share of masks that hide each patch, and the calculated one as a line."""
    figure = Figure((WIDTH_INCH, 2.4), layout="constrained")
    ax = figure.add_subplot()
    edges_s = np.arange(len(coverage_P) + 1) * patch_seconds
    width_s = 0.82 * patch_seconds
    ax.bar(edges_s[:-1] + 0.09 * patch_seconds, coverage_P, width=width_s, align="edge", color=PALETTE[0], gid="found")
    ax.stairs(expected_P, edges_s, baseline=None, color=INK, linewidth=1.4, gid="expected", label="calculated")
    ax.set(xlim=(0, edges_s[-1]), ylim=(0, 1), title="Share of masks that hide the patch", xlabel="seconds")
    ax.set_yticks((0, 0.5, 1))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ax.grid(visible=False, axis="x")
    ax.legend(loc="upper right", ncols=2)
    return figure
