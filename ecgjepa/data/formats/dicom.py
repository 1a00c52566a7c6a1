"""DICOM waveforms (12-lead, general and ambulatory ECG; PS3.3 C.10.9), read by the package `pydicom`.

Axes: L leads, C channels, S samples.
"""

import math
import mmap
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from ecgjepa.data.formats.claims import MAX_RECORD_BYTES, check_size
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.packages import optional
from ecgjepa.data.formats.words import number
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12, canonical_lead
from ecgjepa.signal import Recording

# Leads bear the same numbers in ISO/IEEE 11073-10102 (`MDC 2:1`) and SCP-ECG (`SCPECG 5.6.3-9-1`); DICOM CID 3001.
LEAD_OF_NUMBER = dict(zip((1, 2, 61, 62, 63, 64, 3, 4, 5, 6, 7, 8), LEADS_12, strict=True))
_CODE = {"MDC": re.compile(r"2:(\d+)"), "SCPECG": re.compile(r"5\.6\.3-9-(\d+)")}
_TYPES = {"SB": "i1", "UB": "u1", "SS": "i2", "US": "u2", "SL": "i4", "UL": "u4"}
_CORRECTION = "ChannelSensitivityCorrectionFactor"
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def read_dicom(path: Path, name: str, hints: Hints) -> Recording:
    """Read the ECG of a waveform: of the groups with leads the original rhythm, not the median beat, and the longest.

    A sample is count x sensitivity x correction factor + baseline, in the unit of the sensitivity; padding is NaN.
    Channels that are no lead are left out. Pixel data is never read.

    Raises:
        RefusedRecordError: `missing_package`, `not_an_ecg`, `unreadable`, `malformed`, `no_signals`, `uncalibrated`,
            `unknown_unit` or `contradiction`.
    """
    pydicom = optional(name, "pydicom", "dicom")
    check_size(name, path, MAX_RECORD_BYTES, "a DICOM file")
    # A memory map reads no more than there is, whatever length an element claims.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[128:132] != b"DICM":
            raise RefusedRecordError(name, "not_an_ecg", "no DICOM file: `DICM` is missing at byte 128")
        if _DEFLATED in content[:4096]:
            raise RefusedRecordError(name, "unreadable", "a deflated DICOM file, expected one that is not compressed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are not needed; those that are, are checked here
            dataset = pydicom.dcmread(content, stop_before_pixels=True)
            if "WaveformSequence" not in dataset:
                kind = getattr(dataset.get("SOPClassUID"), "name", "an object of no class")
                raise RefusedRecordError(name, "not_an_ecg", f"{kind} without waveforms, expected an ECG")
            order = ">" if dataset.original_encoding[1] is False else "<"
            return _recording(_choose(dataset.WaveformSequence, name), order, name, hints)


def _choose(groups: Sequence[Any], name: str) -> Any:
    with_leads = [group for group in groups if any(_lead(channel, name) for channel in _channels(group))]
    if not with_leads:
        raise RefusedRecordError(
            name, "not_an_ecg", f"none of {len(groups)} groups of waveforms has a channel that is a lead"
        )
    labels = [str(group.get("MultiplexGroupLabel", "")).upper() for group in with_leads]
    rhythms = [
        group for group, label in zip(with_leads, labels, strict=True) if "MEDIAN" not in label and "BEAT" not in label
    ]
    if not rhythms:
        raise RefusedRecordError(name, "no_signals", f"groups of leads {', '.join(labels)}, expected a rhythm")
    return max(
        rhythms,
        key=lambda group: (
            group.get("WaveformOriginality") != "DERIVED",
            int(group.get("NumberOfWaveformSamples") or 0),
        ),
    )


def _channels(group: Any) -> list[Any]:
    return list(group.get("ChannelDefinitionSequence") or [])


def _lead(channel: Any, name: str) -> str | None:
    """The lead by its code, else by what the code is said to mean; None for any other channel."""
    source = next(iter(channel.get("ChannelSourceSequence") or []), None)
    if source is None:
        return canonical_lead(str(channel.get("ChannelLabel", "")))
    meaning, code = str(source.get("CodeMeaning", "")), str(source.get("CodeValue", "")).strip()
    pattern = _CODE.get(str(source.get("CodingSchemeDesignator", "")).strip().upper().replace("-", ""))
    by_meaning = canonical_lead(meaning)
    if pattern is None or (match := pattern.fullmatch(code)) is None:
        return by_meaning
    by_code = LEAD_OF_NUMBER.get(int(match[1]))
    if by_code and by_meaning and by_code != by_meaning:
        raise RefusedRecordError(name, "malformed", f"a channel of code {code}, lead {by_code}, that means {meaning!r}")
    return by_code


def _recording(group: Any, order: str, name: str, hints: Hints) -> Recording:
    channels = _channels(group)
    samples, count = int(group.get("NumberOfWaveformSamples") or 0), int(group.get("NumberOfWaveformChannels") or 0)
    if samples < 1 or count != len(channels):
        raise RefusedRecordError(
            name, "malformed", f"{samples} samples of {count} channels, of which {len(channels)} are described"
        )
    counts_CS = _counts(group, (samples, count), order, name)
    valid_CS = counts_CS != _padding(group, counts_CS.dtype)
    rows, units, leads = [], [], []
    for channel, counts_S, valid_S in zip(channels, counts_CS, valid_CS, strict=True):
        if (lead := _lead(channel, name)) is None:
            continue
        sensitivity = number(name, "ChannelSensitivity", channel.get("ChannelSensitivity"))
        if sensitivity is None:
            raise RefusedRecordError(name, "uncalibrated", f"lead {lead} has no sensitivity, expected a number above 0")
        correction, baseline = (number(name, key, channel.get(key)) for key in (_CORRECTION, "ChannelBaseline"))
        factor = sensitivity * (1.0 if correction is None else correction)
        if not 0 < factor < math.inf:
            raise RefusedRecordError(
                name, "uncalibrated", f"lead {lead} has the sensitivity {factor:g}, expected above 0"
            )
        values_S = counts_S * factor + (baseline or 0.0)
        rows.append(np.where(valid_S, values_S, np.nan))
        unit = next(iter(channel.get("ChannelSensitivityUnitsSequence") or []), None)
        units.append(None if unit is None else str(unit.get("CodeValue", "")))
        leads.append(lead)
    settle_leads(name, leads, hints)
    rate_hz = settle_rate(name, number(name, "SamplingFrequency", group.get("SamplingFrequency")), hints)
    return Recording(name, calibrate(name, np.stack(rows), units, hints), tuple(leads), rate_hz)


def _counts(group: Any, shape: tuple[int, int], order: str, name: str) -> Shaped[ndarray, "channels samples"]:
    kind, bits = str(group.get("WaveformSampleInterpretation")), group.get("WaveformBitsAllocated")
    if kind not in _TYPES or bits != 8 * np.dtype(_TYPES[kind]).itemsize:
        raise RefusedRecordError(
            name, "malformed", f"samples of type {kind} in {bits} bits, expected one of {', '.join(_TYPES)}"
        )
    dtype = np.dtype(order + _TYPES[kind])
    content, expected = group.get("WaveformData") or b"", shape[0] * shape[1] * dtype.itemsize
    if len(content) not in (expected, expected + expected % 2):  # an odd number of bytes is filled up
        raise RefusedRecordError(
            name,
            "unreadable",
            f"{len(content)} bytes of waveform, {expected} expected of {shape[0]} x {shape[1]} samples",
        )
    return np.frombuffer(content, dtype, shape[0] * shape[1]).reshape(shape).T


def _padding(group: Any, dtype: Any) -> float:
    """The count that stands for no sample; NaN, which no count equals, if there is none."""
    value = group.get("WaveformPaddingValue")
    if isinstance(value, bytes) and len(value) >= dtype.itemsize:
        return float(np.frombuffer(value, dtype, 1)[0])
    return float("nan")
