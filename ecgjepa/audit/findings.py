"""One record -> what there is of it, what is odd about it, and whether `prepare` would refuse it.

Axes: L leads, S samples.
"""

import os
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from ecgjepa.audit.quality import (
    einthoven_error,
    mains_share,
    not_finite,
    peak_to_peak_mv,
    rails,
    spectrum,
    wander_share,
    without_padding,
)
from ecgjepa.data.listings.listing import hints_of, printable
from ecgjepa.data.preparing.chunks import quantise
from ecgjepa.data.readers import SUFFIXES, read
from ecgjepa.data.store import signal_hash
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import canonical_lead
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.units import MV_PER_UNIT
from ecgjepa.windows import FLAT_MV, PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV, standardize

# Of 2,620 records of PTB-XL 1.3 % have a lead with more of 50 Hz, 0.04 % of 60 Hz, 29 % with more of wander.
MAINS_HZ, MAINS_SHARE, WANDER_SHARE = (50, 60), 0.02, 0.5
# In six of the same records a lead is held at an extreme for 24 to 116 ms; in 99.5 % none is for more than 14 ms.
CLIPPED_S, SATURATED_S = 0.02, 0.2
# Rounding makes at most 0.01 in the same records; an inverted lead more than 1.
EINTHOVEN_ERROR = 0.1

# What is noted of a record, in the order of the report, and what it means.
NOTED = {
    "not_finite": "samples that are no numbers, in any part of the record",
    "flat": "a lead is constant",
    "clipped": f"a lead is held at its largest or smallest value for {1000 * CLIPPED_S:g} ms or more, with steps to it",
    "saturated": f"the same for {SATURATED_S:g} s or more at once",
    "beyond_store": "samples beyond 32.767 mV, which is all that a store holds",
    **{
        f"mains_{hz}_hz": f"{100 * MAINS_SHARE:g} % or more of a lead's power above 0.5 Hz is within 1 Hz of {hz} Hz"
        for hz in MAINS_HZ
    },
    "wander": f"{100 * WANDER_SHARE:g} % or more of a lead's power is below 0.5 Hz",
    "einthoven": f"II is not I + III: the difference is {100 * EINTHOVEN_ERROR:g} % of the three or more",
    "amplitude_low": "median peak-to-peak amplitude below 0.05 mV: the gain is in doubt",
    "amplitude_high": "median peak-to-peak amplitude above 20 mV: the gain is in doubt",
    "duplicate": "another record has the same signal, once both are standardised",
}
# Signal lines of a WFDB header: file, format, gain(baseline)/unit.
_UNIT = re.compile(r"^\S+[ \t]+\d+(?:x\d+)?(?::\d+)?(?:\+\d+)?[ \t]+[^\s/]+(?:/(\S+))?", re.MULTILINE)


@dataclass(frozen=True)
class Findings:
    """What was found in one record.

    Attributes:
        kind: format of the file by its suffix, `store`, or `none` where there is no file.
        unit: as a WFDB header states it, `none` where there is no file, else `not stated here`.
        reason, detail: why `prepare` would refuse it; None if it would not.
        sampling_rate_hz, seconds, leads: None where the file could not be read.
        noted: what is odd -> the leads that are, or none where it concerns the record.
        amplitude_mv: peak-to-peak amplitude by lead, see `peak_to_peak_mv`.
        signal_hash: 16 bytes of what the row in a store would be.
        has_einthoven: whether I, II and III are there to be compared.
    """

    kind: str
    unit: str = "not stated here"
    reason: str | None = None
    detail: str = ""
    sampling_rate_hz: float | None = None
    seconds: float | None = None
    leads: tuple[str, ...] | None = None
    noted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    amplitude_mv: dict[str, float] = field(default_factory=dict)
    signal_hash: bytes | None = None
    has_einthoven: bool = False


def look_at_file(row: dict[str, Any], contract: SignalContract) -> Findings:
    """Read one record of a listing and look at it; what `prepare` would refuse comes back with the reason.

    Args:
        row: of a listing, see `ecgjepa.data.listings.listing`.
    """
    if row["path"] is None:
        return Findings("none", "none", reason="file_absent", detail="the table lists it, its file is not there")
    path = os.fsdecode(row["path"])
    about: dict[str, Any] = {"kind": _format_of(path)}
    if path.endswith(".hea"):
        about["unit"] = _stated_unit(path)
    try:
        recording = read(path, row["row"], row["record"], hints_of(row))
    except RefusedRecordError as refusal:
        return Findings(**about, reason=refusal.reason, detail=printable(refusal.detail))
    about |= look_at(recording, contract)
    try:
        standardized = standardize(recording, contract)
    except RefusedRecordError as refusal:
        return Findings(**about, reason=refusal.reason, detail=printable(refusal.detail))
    signal_uv, beyond = quantise(standardized.signal_mv)
    about["noted"] |= {"beyond_store": ()} if beyond else {}
    return Findings(**about, signal_hash=signal_hash(signal_uv))


def look_at(recording: Recording, contract: SignalContract) -> dict[str, Any]:
    """The findings that do not depend on whether the record is refused, as keywords of `Findings`.

    Measured are the standard leads, in the part that `prepare` takes: the first seconds of the contract after zero
    padding. That samples are numbers is asked of the whole record.
    """
    rate_hz, names = recording.sampling_rate_hz, [canonical_lead(name) for name in recording.leads]
    row_of = {name: names.index(name) for name in names if name is not None}
    about: dict[str, Any] = {
        "sampling_rate_hz": rate_hz,
        "seconds": recording.signal_mv.shape[1] / rate_hz,
        "leads": tuple(name or "other" for name in names),
        "noted": {},
    }
    if not row_of or not recording.signal_mv.shape[1]:
        return about
    signal_mv = recording.signal_mv[list(row_of.values())].astype(np.float32, copy=False)
    window_mv = without_padding(signal_mv)[:, : max(2, round(contract.seconds * rate_hz))]
    leads = tuple(row_of)
    with np.errstate(invalid="ignore", over="ignore"):  # of samples that are no numbers, or no millivolts
        noted, amplitude_mv = measure(window_mv, leads, rate_hz)
        noted |= dict.fromkeys(_amplitude(window_mv[[lead in contract.leads for lead in leads]]), ())
    if (broken_L := not_finite(signal_mv)).any():
        noted = {"not_finite": _named(leads, broken_L)} | noted
    about |= {"noted": noted, "amplitude_mv": amplitude_mv, "has_einthoven": {"I", "II", "III"} <= set(leads)}
    return about


def measure(
    window_mv: Float[ndarray, "leads samples"], leads: tuple[str, ...], rate_hz: float
) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """What is odd about which leads of a window, and the amplitude of each that has one."""
    samples = window_mv.shape[1]
    is_flat_L = np.ptp(window_mv, axis=1) < FLAT_MV
    rail_L, longest_L = rails(window_mv, rate_hz)
    spectrum_LF = spectrum(window_mv)
    found = {"flat": is_flat_L, "clipped": rail_L >= CLIPPED_S, "saturated": longest_L >= SATURATED_S}
    for hz in MAINS_HZ:
        found[f"mains_{hz}_hz"] = mains_share(spectrum_LF, samples, rate_hz, float(hz)) >= MAINS_SHARE
    found["wander"] = wander_share(spectrum_LF, samples, rate_hz) >= WANDER_SHARE
    noted = {name: _named(leads, is_L) for name, is_L in found.items() if is_L.any()}
    if {"I", "II", "III"} <= set(leads):
        error = einthoven_error(*(window_mv[leads.index(lead)] for lead in ("I", "II", "III")))
        noted |= {"einthoven": ("I", "II", "III")} if error >= EINTHOVEN_ERROR else {}
    size_L = peak_to_peak_mv(window_mv, rate_hz)
    measurable_L = np.isfinite(size_L) & ~is_flat_L
    return noted, {lead: float(mv) for lead, mv, good in zip(leads, size_L, measurable_L, strict=True) if good}


def look_at_row(signal_mv: Float[ndarray, "leads samples"], contract: SignalContract) -> Findings:
    """Look at one row of a store; nothing is refused, since it was not when it was prepared."""
    about = look_at(Recording("", signal_mv, contract.leads, float(contract.sampling_rate_hz)), contract)
    signal_uv, _ = quantise(signal_mv)
    at_end_L = (np.abs(signal_uv) >= np.iinfo(np.int16).max).any(axis=1)
    about["noted"] |= {"beyond_store": _named(contract.leads, at_end_L)} if at_end_L.any() else {}
    return Findings("store", "uV", **about, signal_hash=signal_hash(signal_uv))


def _amplitude(window_mv: Float[ndarray, "leads samples"]) -> list[str]:
    """As `standardize` flags it; nothing where no lead moves."""
    size_L = np.ptp(window_mv, axis=1)
    if not (size_L >= FLAT_MV).any():
        return []
    median_mv, (low_mv, high_mv) = np.median(size_L), PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV
    return ["amplitude_low"] * bool(median_mv < low_mv) + ["amplitude_high"] * bool(median_mv > high_mv)


def _named(leads: tuple[str, ...], is_L: ndarray) -> tuple[str, ...]:
    return tuple(lead for lead, is_it in zip(leads, is_L, strict=True) if is_it)


def _format_of(path: str) -> str:
    name = os.path.basename(path).lower()
    return max((suffix for suffix in SUFFIXES if name.endswith(suffix)), key=len, default="other")


def _stated_unit(path: str) -> str:
    """The units in a WFDB header, as it spells them; `other` for what is no unit of amplitude."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip() and line[0] != "#"]
    except OSError:
        return "not stated here"
    units = {match[1] or "mV" for line in lines[1:] if (match := _UNIT.match(line)) is not None}
    known = {unit if unit.lower() in MV_PER_UNIT else "other" for unit in units}
    return ", ".join(sorted(known)) or "not stated here"
