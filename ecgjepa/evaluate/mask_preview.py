"""Figures, one below the other, as one picture or page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy import ndarray

import ecgjepa
from ecgjepa.evaluate.pages import page_template, picture
from ecgjepa.evaluate.plots import to_svg
from ecgjepa.files import atomic_path, write_text

SUFFIXES = (".svg", ".png", ".html")
DOTS_PER_INCH = 150
GAP_INCH = 0.15


@dataclass(frozen=True)
class Panel:
    """A figure of a preview: a short name for its ids, and what it shows."""

    name: str
    figure: Figure
    caption: str


def check_preview(path: Path, overwrite: bool) -> None:
    """Whether a preview can be written there.

    Raises:
        ValueError: another suffix.
        FileNotFoundError: there is no such folder.
        FileExistsError: the file exists and `overwrite` is False.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path}: previews are {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it")


def write_preview(
    path: Path, panels: Sequence[Panel], *, title: str, lead: str, command: str = "", overwrite: bool = False
) -> None:
    """Write panels one below the other: an SVG, a PNG, or an HTML page with title, lead and captions.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: see `check_preview`.
    """
    check_preview(path, overwrite)
    suffix = path.suffix.lower()
    if suffix == ".svg":
        write_text(path, stacked_svg(panels))
    elif suffix == ".png":
        buffer = io.BytesIO()
        imsave(buffer, stacked_pixels([panel.figure for panel in panels]), format="png", dpi=DOTS_PER_INCH)
        with atomic_path(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    else:
        pictures = [picture(panel.figure, panel.name, panel.caption, panel.caption) for panel in panels]
        page = page_template("masks.html").render(
            title=title, lead=lead, pictures=pictures, command=command, version=ecgjepa.__version__
        )
        write_text(path, page)


def stacked_svg(panels: Sequence[Panel]) -> str:
    """One SVG on white with the panels' own inside it; 72 units are an inch."""
    width = max(float(panel.figure.get_size_inches()[0]) for panel in panels)
    parts, top = [], GAP_INCH
    for panel in panels:
        own_width, own_height = (float(size) for size in panel.figure.get_size_inches())
        svg = re.sub(r"var\(--[\w-]+, (#\w+)\)", r"\1", to_svg(panel.figure, panel.name, panel.caption))
        parts.append(svg.replace("<svg", f'<svg x="{36 * (width - own_width):.2f}" y="{72 * top:.2f}"', 1))
        top += own_height + GAP_INCH
    size = f'width="{72 * width:.2f}pt" height="{72 * top:.2f}pt" viewBox="0 0 {72 * width:.2f} {72 * top:.2f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {size}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"]) + "\n"


def stacked_pixels(figures: Sequence[Figure]) -> UInt8[ndarray, "height width 3"]:
    """The figures on white, each in the middle."""
    drawn = []
    for figure in figures:
        figure.set_dpi(DOTS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba()).astype(float)
        opacity = pixels[..., 3:] / 255
        drawn.append((pixels[..., :3] * opacity + 255 * (1 - opacity)).round().astype(np.uint8))
    gap = round(GAP_INCH * DOTS_PER_INCH)
    width = max(image.shape[1] for image in drawn)
    whole = np.full((sum(len(image) + gap for image in drawn) + gap, width, 3), 255, np.uint8)
    top = gap
    for image in drawn:
        left = (width - image.shape[1]) // 2
        whole[top : top + len(image), left : left + image.shape[1]] = image
        top += len(image) + gap
    return whole
