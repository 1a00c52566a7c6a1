"""A stretch of a recording as a picture: on paper at its own sampling rate, with a caption, as a file.

Axes: L leads, S samples.
"""

import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.paper import MM_PER_MV, ecg_paper
from ecgjepa.evaluate.plots import styled
from ecgjepa.evaluate.shading import Shading
from ecgjepa.files import atomic_path
from ecgjepa.leads import LEADS_12, LIMB_LEADS, canonical_lead
from ecgjepa.signal import Recording

# What matplotlib would write about the time and itself.
UNWANTED_METADATA = {
    ".png": ("Software",),
    ".svg": ("Creator", "Date", "Format", "Type"),
    ".pdf": ("Creator", "Producer", "CreationDate"),
}
PNG_DOTS_PER_INCH = 200
MAX_SECONDS = 60.0
MAX_COMMENTS = 12
# Half the gain for a lead that would fill ten large squares from its lowest to its highest point, double for leads that
# all stay within one. Of 100 records of PTB-XL, 5 get half the gain and none the double.
LARGE_MV, SMALL_MV = 5.0, 0.5
LARGE_GAIN_MM_PER_MV, SMALL_GAIN_MM_PER_MV = 5.0, 20.0


def take_stretch(recording: Recording, start_s: float, seconds: float) -> Recording:
    """A part of a recording, shorter where the recording ends.

    Raises:
        ValueError: no sample lies in it, or it is longer than a minute.
    """
    rate, samples = recording.sampling_rate_hz, recording.signal_mv.shape[1]
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{recording.name}: {seconds:g} s to draw, expected more than 0 and at most {MAX_SECONDS:g} s")
    first, count = round(start_s * rate), round(seconds * rate)
    if not (0 <= first < samples and count):
        raise ValueError(
            f"{recording.name}: {seconds:g} s from {start_s:g} s, found {samples / rate:g} s in the recording"
        )
    return replace(recording, signal_mv=recording.signal_mv[:, first : first + count])


def draw_recording(
    recording: Recording,
    *,
    start_s: float = 0.0,
    seconds: float = 10.0,
    gain_mm_per_mv: float | None = None,
    comments: bool = False,
    notes: Sequence[str] = (),
    shading: Shading | None = None,
) -> Figure:
    """A stretch of a recording on paper, as it is: no filter, no resampling, every lead that is there.

    Args:
        start_s: where the stretch begins.
        seconds: its length, at most a minute; what the recording has if that is less.
        gain_mm_per_mv: 10 where None, but 5 if a lead spans more than 5 mV, and 20 if all span less than 0.5 mV.
        comments: show the header's free text, which may name the patient.
        notes: further lines of the caption.
        shading: see `ecg_paper`; only its leads are drawn.

    Raises:
        ValueError: no sample lies in the stretch, the gain is not above 0, or there is no lead.
    """
    stretch = take_stretch(recording, start_s, seconds)
    leads = name_leads(stretch.leads)
    if not leads:
        raise RefusedRecordError(recording.name, "no_signals", "no lead to draw")
    gain = automatic_gain(stretch.signal_mv) if gain_mm_per_mv is None else gain_mm_per_mv
    if not 1 <= gain <= 100:
        raise ValueError(f"gain: {gain:g} mm/mV, expected 1 to 100")
    rate, total_s = recording.sampling_rate_hz, recording.signal_mv.shape[1] / recording.sampling_rate_hz
    end_s = start_s + stretch.signal_mv.shape[1] / rate
    drawn = _describe_leads(leads)
    if shading is not None:
        drawn = f"{len(leads)} leads, drawn are the encoder's: {', '.join(shading.leads)}"
    facts = [drawn, f"{rate:g} Hz", f"{start_s:g} to {end_s:g} s of {total_s:g} s"]
    if gain != MM_PER_MV:
        facts.append(f"{gain:g} mm/mV")
    caption = [recording.name, " · ".join(facts), *notes]
    if comments:
        shown = [line.strip() for line in recording.comments if line.strip()]
        caption += shown[:MAX_COMMENTS] + [f"and {len(shown) - MAX_COMMENTS} more lines"] * (len(shown) > MAX_COMMENTS)
    return ecg_paper(stretch.signal_mv, leads, rate, gain_mm_per_mv=gain, caption=caption, shading=shading)


def automatic_gain(signal_mv: Float[ndarray, "leads samples"]) -> float:
    """10 mm/mV, or 5 or 20 where the traces would not fit, or hardly be seen."""
    finite = [lead_mv[np.isfinite(lead_mv)] for lead_mv in signal_mv]
    # All but one sample in a thousand, so that a spike decides nothing.
    spans = [np.diff(np.percentile(lead_mv, [0.05, 99.95]))[0] for lead_mv in finite if len(lead_mv)]
    largest = max(spans, default=1.0)
    if largest > LARGE_MV:
        return LARGE_GAIN_MM_PER_MV
    return SMALL_GAIN_MM_PER_MV if 0 < largest < SMALL_MV else MM_PER_MV


def name_leads(leads: Sequence[str]) -> tuple[str, ...]:
    """Standard names where there are any, else those of the file; a name that comes again has a number."""
    names: list[str] = []
    for lead in leads:
        name = canonical_lead(lead) or lead.strip() or "?"
        again = sum(other.split(" #")[0] == name for other in names)
        names.append(f"{name} #{again + 1}" if again else name)
    return tuple(names)


@styled
def save_figure(figure: Figure, path: Path, overwrite: bool = False) -> None:
    """Write a figure as `.png`, `.svg` or `.pdf`, at its size in print; the same figure gives the same file.

    Raises:
        ValueError: another suffix.
        FileExistsError: the file exists and `overwrite` is False.
    """
    check_target(path, overwrite)
    suffix, buffer = path.suffix.lower(), io.BytesIO()
    metadata = dict.fromkeys(UNWANTED_METADATA[suffix])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # a box stands in its place
        figure.savefig(buffer, format=suffix[1:], dpi=PNG_DOTS_PER_INCH, facecolor="white", metadata=metadata)
    content = buffer.getvalue()
    if suffix == ".svg":  # a hundredth of a point is 4 µm
        content = re.sub(rb'(?<= d=")[^"]+', lambda found: re.sub(rb"(\.\d\d)\d+", rb"\1", found[0]), content)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def check_target(path: Path, overwrite: bool) -> None:
    """Whether a picture can be written there; see `save_figure`."""
    if path.suffix.lower() not in UNWANTED_METADATA:
        raise ValueError(f"{path}: pictures are {', '.join(UNWANTED_METADATA)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; --overwrite replaces it")


def _describe_leads(leads: tuple[str, ...]) -> str:
    limb = [lead for lead in LIMB_LEADS if lead in leads]
    derived = [lead for lead in LIMB_LEADS if lead not in leads] if len(limb) >= 2 else []
    others = [lead for lead in leads if lead not in LEADS_12]
    names = ", ".join(leads) if len(leads) - len(others) < len(LEADS_12) else ", ".join(["12 leads", *others])
    return names + (f" ({', '.join(derived)} computed from {limb[0]} and {limb[1]})" if derived else "")
