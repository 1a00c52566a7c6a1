"""GE MUSE XML: base64 samples, lead by lead; usually the eight independent leads.

Axes: L leads, S samples.
"""

import zlib
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from ecgjepa.data.formats.elements import children, decode, samples_of, text_of
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.words import number
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

MAX_EXPONENT = 9


def read_muse(root: Any, name: str, hints: Hints) -> Recording:
    """Read the waveform of type `Rhythm`, not the median beat.

    The rate is SampleBase x 10^SampleExponent, a sample is count x LeadAmplitudeUnitsPerBit. The counts of samples and
    bytes must fit; so must LeadDataCRC32, if it is there and not 0.

    Args:
        root: the element `RestingECG`.
        name: what to call the record.
        hints: what the file does not say.

    Raises:
        RefusedRecordError: `no_signals`, `malformed`, `checksum`, `uncalibrated`, `unknown_sampling_rate`,
            `unknown_unit` or `contradiction`.
    """
    waveforms = list(children(root, "Waveform"))
    types = [text_of(waveform, "WaveformType") or "none" for waveform in waveforms]
    if "RHYTHM" not in map(str.upper, types):
        raise RefusedRecordError(
            name, "no_signals", f"waveforms of type {', '.join(types) or 'none'}, expected one of type Rhythm"
        )
    rhythm = waveforms[[kind.upper() for kind in types].index("RHYTHM")]
    parts = list(children(rhythm, "LeadData"))
    leads = tuple(text_of(part, "LeadID") or "" for part in parts)
    rows = [_lead(part, f"lead {lead}", name) for part, lead in zip(parts, leads, strict=True)]
    if not rows or len({len(row) for row in rows}) > 1 or not len(rows[0]):
        found = ", ".join(f"{lead} {len(row)}" for lead, row in zip(leads, rows, strict=True))
        raise RefusedRecordError(name, "malformed", f"samples of the leads: {found or 'none'}, expected one number")
    settle_leads(name, leads, hints)
    base = number(name, "SampleBase", text_of(rhythm, "SampleBase"))
    exponent = number(name, "SampleExponent", text_of(rhythm, "SampleExponent")) or 0
    if abs(exponent) > MAX_EXPONENT:
        raise RefusedRecordError(
            name, "malformed", f"SampleExponent {exponent:g}, expected -{MAX_EXPONENT} to {MAX_EXPONENT}"
        )
    rate_hz = settle_rate(name, None if base is None else base * 10.0**exponent, hints)
    units = [text_of(part, "LeadAmplitudeUnits") for part in parts]
    return Recording(name, calibrate(name, np.stack(rows), units, hints), leads, rate_hz)


def _lead(part: Any, what: str, name: str) -> Float64[ndarray, "samples"]:
    content = decode(name, what, text_of(part, "WaveFormData"))
    said = {
        key: number(name, f"{key} of {what}", text_of(part, key))
        for key in ("LeadSampleCountTotal", "LeadByteCountTotal", "LeadSampleSize", "LeadDataCRC32")
    }
    size, expected_bytes = said["LeadSampleSize"], said["LeadByteCountTotal"]
    if size not in (None, 2) or expected_bytes not in (None, len(content)):
        raise RefusedRecordError(
            name,
            "malformed",
            f"{what} has {len(content)} bytes, expected {expected_bytes} in samples of 2, said {size}",
        )
    expected = said["LeadSampleCountTotal"]
    counts = samples_of(name, what, content, len(content) // 2 if expected is None else int(expected))
    if said["LeadDataCRC32"] and said["LeadDataCRC32"] != zlib.crc32(content):
        raise RefusedRecordError(
            name, "checksum", f"{what} has the checksum {zlib.crc32(content)}, expected {said['LeadDataCRC32']:.0f}"
        )
    scale = number(name, f"LeadAmplitudeUnitsPerBit of {what}", text_of(part, "LeadAmplitudeUnitsPerBit"))
    if scale is None or scale <= 0:
        raise RefusedRecordError(name, "uncalibrated", f"{what} has the amplitude per bit {scale}, expected above 0")
    return counts * scale
