"""The one way from a recording to what a contract asks for: in preparing, training, evaluation and use.

`standardize` gives the whole of it or refuses: for stores. `take_windows` gives what is there, of any length and with
any of the leads: what is missing is left out, never filled. A record that has everything comes out the same from both.

Axes: L leads, S samples.
"""

import functools
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.filtering import apply_filter
from ecgjepa.leads import LIMB_LEADS, canonical_lead
from ecgjepa.resampling import resample
from ecgjepa.signal import DEFAULT_CONTRACT, Recording, SignalContract

Which = Literal["first", "all"]

# Zeros on every lead at an end of a record are padding, not signal; this much of it is forgiven.
PADDING_TOLERANCE_S = 0.03
# A lead that moves less than this between its extremes carries no signal.
FLAT_MV = 1e-6
# A standard 12-lead ECG has a median peak-to-peak amplitude of 1-2 mV; outside of this range the header's gain is in
# doubt.
PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV = (0.05, 20.0)
# Less of a lead, or of a record, is left out: not one heart beat is sure to be in it.
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class Window:
    """What is there of a recording in one window of a contract.

    Attributes:
        signal_mv: (L, S) float32 in mV at the contract's rate, S at most the contract's samples; NaN where a lead is
            missing for a while.
        leads: L names, a part of the contract's, in its order.
        start_s: where the window begins in the recording.
        changes: what was done, in the words of the account: `resampled`, `cropped`, `padding_removed`, `filtered`,
            `derived_limb_leads`, `lead_left_out:V3`, `gap:V3`.
        flags: what to know about it: `flat_lead:V3`, `amplitude_low`, `amplitude_high`.
    """

    signal_mv: Float32[ndarray, "leads samples"]
    leads: tuple[str, ...]
    start_s: float = 0.0
    changes: tuple[str, ...] = field(default=())
    flags: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class StandardizedSignal:
    """A recording brought to a contract, nothing missing.

    Attributes:
        signal_mv: (L, S) float32 in mV, leads and samples as the contract says.
        changes: as of a `Window`.
        flags: as of a `Window`.
    """

    signal_mv: Float32[ndarray, "leads samples"]
    changes: tuple[str, ...] = field(default=())
    flags: tuple[str, ...] = field(default=())


def standardize(recording: Recording, contract: SignalContract = DEFAULT_CONTRACT) -> StandardizedSignal:
    """Bring one recording to the contract, or refuse it by name.

    In this order: pick the leads by name (I and II are derived from any two limb leads), drop zero padding at both
    ends, take the first `contract.seconds`, refuse what is not finite or flat on every lead, resample, filter.

    Raises:
        RefusedRecordError: `missing_lead`, `duplicate_lead`, `short`, `padded`, `not_finite` or `flat`.
    """
    row_of, twice = _rows_of(recording.leads, contract.leads)
    if twice is None and row_of.keys() >= set(contract.leads):
        return _standardize(recording, recording.signal_mv[[row_of[lead] for lead in contract.leads]], contract, False)
    lead_mv, derived = _pick_leads(recording, contract.leads)
    if missing := [lead for lead in contract.leads if lead not in lead_mv]:
        raise RefusedRecordError(
            recording.name,
            "missing_lead",
            f"lead {', '.join(missing)} missing, found {', '.join(recording.leads) or 'none'}",
        )
    return _standardize(recording, np.stack([lead_mv[lead] for lead in contract.leads]), contract, derived)


def _standardize(
    recording: Recording, signal_mv: Float[ndarray, "leads source"], contract: SignalContract, derived: bool
) -> StandardizedSignal:
    """The same for the leads of the contract in its order."""
    rate = recording.sampling_rate_hz
    first, last = _bounds(signal_mv, rate, contract)
    samples, needed = signal_mv.shape[1], round(contract.seconds * rate)
    if last - first < needed:
        padded = f" after {samples - (last - first)} samples of zero padding" if last - first < samples else ""
        raise RefusedRecordError(
            recording.name,
            "padded" if padded and samples >= needed else "short",
            f"{(last - first) / rate:.3f} s{padded}, expected at least {contract.seconds:g} s",
        )
    changes = ["derived_limb_leads"] * derived
    changes += ["padding_removed"] * (first > 0 or last < samples) + ["cropped"] * (samples > needed)
    signal_mv = signal_mv[:, first : first + needed]
    highest_L, lowest_L = signal_mv.max(axis=1), signal_mv.min(axis=1)  # of which one is not finite if a sample is not
    if not (np.isfinite(highest_L) & np.isfinite(lowest_L)).all():
        count, total = int((~np.isfinite(signal_mv)).sum()), signal_mv.size
        raise RefusedRecordError(recording.name, "not_finite", f"{count} of {total} samples are not finite numbers")
    peak_to_peak_L = highest_L - lowest_L
    if (peak_to_peak_L < FLAT_MV).all():
        raise RefusedRecordError(recording.name, "flat", "every lead is constant, expected an ECG")
    flags = [f"flat_lead:{lead}" for lead, mv in zip(contract.leads, peak_to_peak_L, strict=True) if mv < FLAT_MV]
    flags += _amplitude_flags(peak_to_peak_L)
    if needed != contract.samples or rate != contract.sampling_rate_hz:
        changes.append("resampled")
    signal_mv = resample(signal_mv, rate, contract.sampling_rate_hz, contract.samples, contract.resampling)
    signal_mv = _finish(signal_mv, contract, changes)
    return StandardizedSignal(signal_mv, tuple(changes), tuple(flags))


def take_windows(
    recording: Recording, contract: SignalContract = DEFAULT_CONTRACT, which: Which = "first"
) -> list[Window]:
    """What is there of a recording, in windows of the contract's length one after the other.

    Left out are leads that the recording does not have and that do not follow from two limb leads, leads that are
    constant or have no second without a gap in the window, zero padding at both ends, and windows with less than one
    second of signal. Samples that are not finite are gaps.

    Args:
        which: the first window that has anything, or all.

    Raises:
        RefusedRecordError: `missing_lead` (none of the contract's), `duplicate_lead`, `flat`, `not_finite` (no second
            without gaps) or `short` (less than one second).
    """
    if which not in get_args(Which):
        raise ValueError(f"windows: expected one of {get_args(Which)}, found {which!r}")
    lead_mv, derived = _pick_leads(recording, contract.leads, _dead_rows(recording.signal_mv))
    if not lead_mv:
        raise RefusedRecordError(
            recording.name,
            "missing_lead",
            f"found {', '.join(recording.leads) or 'no lead'}, expected at least one of {', '.join(contract.leads)}",
        )
    signal_mv, rate = np.stack(list(lead_mv.values())), recording.sampling_rate_hz
    signal_mv = np.where(np.isfinite(signal_mv), signal_mv, np.float32(np.nan))
    first, last = _bounds(signal_mv, rate, contract)
    least = _least_samples(rate, contract)
    if last - first < least:
        raise RefusedRecordError(
            recording.name, "short", f"{(last - first) / rate:.3f} s, expected at least {least / rate:g} s"
        )
    changes = ["derived_limb_leads"] * derived
    changes += ["padding_removed"] * (first > 0 or last < signal_mv.shape[1])
    windows = []
    for begin, end in _cuts(first, last, rate, contract):
        cropped = ["cropped"] * (which == "first" and end - begin < last - first)
        window = _window(tuple(lead_mv), signal_mv[:, begin:end], begin, rate, contract, [*changes, *cropped])
        if window is not None:
            windows.append(window)
            if which == "first":
                break
    if not windows:
        flat = not np.isnan(signal_mv[:, first:last]).any()
        detail = "every lead is constant" if flat else f"no lead has {least / rate:g} s without a gap"
        raise RefusedRecordError(recording.name, "flat" if flat else "not_finite", f"{detail}, expected an ECG")
    return windows


def _window(
    leads: tuple[str, ...],
    signal_mv: Float[ndarray, "l s"],
    begin: int,
    rate: float,
    contract: SignalContract,
    changes: list[str],
) -> Window | None:
    """The leads that move and have a second of samples, resampled; None if there is none."""
    kept, flags = [], []
    for row, (lead, lead_mv) in enumerate(zip(leads, signal_mv, strict=True)):
        there = lead_mv[~np.isnan(lead_mv)]
        is_flat = len(there) > 0 and bool(np.ptp(there) < FLAT_MV)
        if is_flat or _longest_run(~np.isnan(lead_mv)) < _least_samples(rate, contract):
            changes.append(f"lead_left_out:{lead}")
            flags += [f"flat_lead:{lead}"] * is_flat
        else:
            kept.append(row)
            changes += [f"gap:{lead}"] * (len(there) < len(lead_mv))
    if not kept:
        return None
    signal_mv = signal_mv[kept]
    whole = signal_mv.shape[1] == round(contract.seconds * rate)
    samples = contract.samples if whole else int(signal_mv.shape[1] * contract.sampling_rate_hz / rate + 1e-6)
    if signal_mv.shape[1] != samples or rate != contract.sampling_rate_hz:
        changes.append("resampled")
    flags += _amplitude_flags(np.nanmax(signal_mv, axis=1) - np.nanmin(signal_mv, axis=1))
    signal_mv = resample(signal_mv, rate, contract.sampling_rate_hz, samples, contract.resampling)
    signal_mv = _finish(signal_mv, contract, changes)
    return Window(signal_mv, tuple(leads[row] for row in kept), begin / rate, tuple(changes), tuple(flags))


def _finish(signal_mv: Float[ndarray, "l s"], contract: SignalContract, changes: list[str]) -> Float32[ndarray, "l s"]:
    """The filter of the contract, and the type of its signals."""
    if contract.filter != "none":
        changes.append("filtered")
        signal_mv = apply_filter(signal_mv, contract.sampling_rate_hz, contract.filter)
    return np.ascontiguousarray(signal_mv, dtype=np.float32)


def _dead_rows(signal_mv: Float[ndarray, "l s"]) -> frozenset[int]:
    """Rows that are constant or never finite: an electrode is off."""
    there = [lead_mv[np.isfinite(lead_mv)] for lead_mv in signal_mv]
    return frozenset(row for row, each in enumerate(there) if not len(each) or np.ptp(each) < FLAT_MV)


def _least_samples(rate: float, contract: SignalContract) -> float:
    return min(MIN_SECONDS, contract.seconds) * rate


def _longest_run(is_there_S: Bool[ndarray, "s"]) -> int:
    """Length of the longest run of True."""
    edges = np.flatnonzero(np.diff(is_there_S.astype(np.int8), prepend=0, append=0))
    return int(np.max(edges[1::2] - edges[::2], initial=0))


def _cuts(first: int, last: int, rate: float, contract: SignalContract) -> Iterator[tuple[int, int]]:
    """Begin and end of the windows; a remainder of less than a second is not one."""
    needed, count = round(contract.seconds * rate), 0
    while last - (begin := first + round(count * contract.seconds * rate)) >= _least_samples(rate, contract):
        yield begin, min(begin + needed, last)
        count += 1


def _amplitude_flags(peak_to_peak_L: Float[ndarray, "leads"]) -> list[str]:
    low, high = PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV
    median = statistics.median(peak_to_peak_L.tolist())  # of a few numbers, NumPy's takes ten times as long
    return ["amplitude_low"] * (median < low) + ["amplitude_high"] * (median > high)


def _pick_leads(
    recording: Recording, wanted: tuple[str, ...], dead: frozenset[int] = frozenset()
) -> tuple[dict[str, ndarray], bool]:
    """The wanted leads that are there or follow from two limb leads, in the order wanted; whether any was derived.

    Nothing is derived from the rows in `dead`, and such a lead is derived where it can be.
    """
    row_of, twice = _rows_of(recording.leads, wanted)
    if twice is not None:
        raise RefusedRecordError(recording.name, "duplicate_lead", f"lead {twice} is there twice: {recording.leads}")
    limb = [lead for lead in LIMB_LEADS if lead in row_of and row_of[lead] not in dead][:2]
    lead_mv, derived = {}, False
    for lead in wanted:
        can_be_derived = lead in LIMB_LEADS and len(limb) == 2
        if lead in row_of and not (row_of[lead] in dead and can_be_derived):
            lead_mv[lead] = recording.signal_mv[row_of[lead]]
        elif can_be_derived:  # lead = weights @ (the two limb leads that are there)
            weights = np.array(LIMB_LEADS[lead]) @ np.linalg.inv(np.array([LIMB_LEADS[name] for name in limb]))
            derived_mv = sum(w * recording.signal_mv[row_of[name]] for w, name in zip(weights, limb, strict=True))
            lead_mv[lead], derived = np.asarray(derived_mv, dtype=recording.signal_mv.dtype), True
    return lead_mv, derived


@functools.lru_cache(maxsize=256)  # the records of an archive have few sets of leads
def _rows_of(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[Mapping[str, int], str | None]:
    """Standard lead -> its first row, and a wanted lead that is there twice, if one is."""
    row_of: dict[str, int] = {}
    for row, name in enumerate(names):
        lead = canonical_lead(name)
        if lead in wanted and lead in row_of:
            return row_of, lead
        if lead is not None:
            row_of.setdefault(lead, row)
    return row_of, None


def _bounds(signal_mv: Float[ndarray, "l s"], rate: float, contract: SignalContract) -> tuple[int, int]:
    """Where signal begins and ends between zero padding; a little padding is forgiven if a window becomes whole."""
    samples, needed = signal_mv.shape[1], round(contract.seconds * rate)
    if samples and signal_mv[:, 0].any() and signal_mv[:, -1].any():
        return 0, samples  # no padding, as in nearly all records
    filled = np.flatnonzero(signal_mv.any(axis=0))
    first, last = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, samples)
    tolerance = round(PADDING_TOLERANCE_S * rate)
    if first <= tolerance:
        first = 0
    if samples - last <= tolerance:
        last = samples
    if samples >= needed and needed - tolerance <= last - first < needed:
        first = max(0, min(first, samples - needed))
        last = first + needed
    return first, last
