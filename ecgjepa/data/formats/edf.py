"""EDF and EDF+ (Kemp et al. 1992, 2003), read by the package `edfio`.

Axes: L leads, S samples.
"""

import itertools
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from ecgjepa.data.formats.claims import MAX_RECORD_BYTES, check_claim, check_size
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.packages import optional
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import canonical_lead
from ecgjepa.signal import Recording

ANNOTATIONS = b"EDF Annotations"
# The header: 256 bytes on the recording, then every field of all signals before the next field.
_MAIN_BYTES, _LABEL_BYTES, _BYTES_BEFORE_COUNTS, _COUNT_BYTES = 256, 16, 216, 8
_ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)\x14")


def read_edf(path: Path, name: str, hints: Hints) -> Recording:
    """Read the signals whose label is a lead (`I`, `ECG I`, `EKG V1`); annotations and other signals are left out.

    The gaps of a discontinuous file (EDF+D) become NaN.

    Raises:
        RefusedRecordError: `missing_package`, `unreadable` (cut, or counts that do not fit), `not_an_ecg`, `malformed`
            (leads of several rates), `unknown_unit`, `uncalibrated` or `contradiction`.
    """
    edfio = optional(name, "edfio", "edf")
    check_size(name, path, MAX_RECORD_BYTES, "an EDF file")
    with path.open("rb") as file:
        if (version := file.read(8)).strip() != b"0":
            raise RefusedRecordError(name, "not_an_ecg", f"a file of version {version!r}, expected EDF, version 0")
    with warnings.catch_warnings(record=True) as caught:  # edfio only warns of a file that is cut
        warnings.simplefilter("always")
        edf = edfio.read_edf(path, header_encoding="latin-1")
    if caught:
        raise RefusedRecordError(name, "unreadable", f"edfio: {caught[0].message}")
    signals = [signal for signal in edf.signals if canonical_lead(signal.label) is not None]
    if not signals:
        labels = ", ".join(signal.label for signal in edf.signals)[:80]
        raise RefusedRecordError(name, "not_an_ecg", f"no signal is labelled as a lead, found {labels or 'none'}")
    if len({signal.sampling_frequency for signal in signals}) > 1:
        found = ", ".join(f"{signal.label} {signal.sampling_frequency:g} Hz" for signal in signals)
        raise RefusedRecordError(name, "malformed", f"leads of several sampling rates, expected one: {found}")
    leads = tuple(signal.label for signal in signals)
    settle_leads(name, leads, hints)
    rate_hz = settle_rate(name, signals[0].sampling_frequency, hints)
    values = np.stack([_physical(signal, name) for signal in signals])
    if edf.reserved.startswith("EDF+D"):
        starts = [round(onset_s * rate_hz) for onset_s in _onsets_s(path, name)]
        values = _with_gaps(values, starts, path.stat().st_size, name)
    signal_mv = calibrate(name, values, [signal.physical_dimension or None for signal in signals], hints)
    return Recording(name, signal_mv, leads, rate_hz)


def _physical(signal: Any, name: str) -> Float64[ndarray, "samples"]:
    is_finite = math.isfinite(signal.physical_max - signal.physical_min)
    if signal.digital_min >= signal.digital_max or signal.physical_min == signal.physical_max or not is_finite:
        raise RefusedRecordError(
            name, "uncalibrated", f"{signal.label} maps {signal.digital_range} to {signal.physical_range}"
        )
    return signal.data


def _with_gaps(
    values: Float64[ndarray, "leads samples"], starts: list[int], held_bytes: int, name: str
) -> Float64[ndarray, "leads longer"]:
    """Put each data record where it began, NaN between them.

    Args:
        values: the data records one after the other.
        starts: sample at which each data record begins.
        held_bytes: size of the file.
        name: for messages.
    """
    size = values.shape[1] // len(starts)
    places = [start - starts[0] for start in starts]
    for place, following in itertools.pairwise(places):
        if following - place < size - 1:  # onsets are rounded
            raise RefusedRecordError(
                name,
                "malformed",
                f"a data record begins at sample {following}, {size} samples after {place} or later expected",
            )
    check_claim(name, 4 * len(values) * (places[-1] + size), held_bytes, "the time of the last data record")
    spread = np.full((len(values), places[-1] + size), np.nan)
    for number, place in enumerate(places):
        spread[:, place : place + size] = values[:, number * size : (number + 1) * size]
    return spread


def _onsets_s(path: Path, name: str) -> list[float]:
    """When each data record began, from the first text of the first annotation signal; edfio does not give it."""
    content = path.read_bytes()
    signals = int(content[_MAIN_BYTES - 4 : _MAIN_BYTES])
    labels = [_MAIN_BYTES + _LABEL_BYTES * i for i in range(signals)]
    counts = [_MAIN_BYTES + _BYTES_BEFORE_COUNTS * signals + _COUNT_BYTES * i for i in range(signals)]
    names = [content[at : at + _LABEL_BYTES].strip() for at in labels]
    sizes = [2 * int(content[at : at + _COUNT_BYTES]) for at in counts]
    if ANNOTATIONS not in names:
        raise RefusedRecordError(name, "malformed", "a discontinuous file without times of its data records")
    own = names.index(ANNOTATIONS)
    first = _MAIN_BYTES * (signals + 1) + sum(sizes[:own])
    onsets = [_ONSET.match(content, at, at + sizes[own]) for at in range(first, len(content), sum(sizes))]
    if not all(onsets):
        raise RefusedRecordError(name, "malformed", "a discontinuous file, in which a data record has no time")
    return [float(onset[1]) for onset in onsets if onset]
