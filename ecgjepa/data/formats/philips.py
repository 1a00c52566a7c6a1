"""Philips XML (SierraECG 1.03, PhilipsECG 1.04): base64 samples, lead after lead, plain or compressed by XLI.

Axes: L leads, S samples.
"""

from typing import Any

import numpy as np
from jaxtyping import Int, Int16
from numpy import ndarray

from ecgjepa.data.formats.claims import check_claim
from ecgjepa.data.formats.elements import decode, find, samples_of, text_of
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.words import number
from ecgjepa.data.formats.xli import unpack_leads
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12, canonical_lead
from ecgjepa.signal import Recording

VERSIONS = ("1.03", "1.04")
STANDARD_LEADS = ("STD-12", "10-WIRE")
# The resolution has no unit in the file; devices write 5, which is uV, as their pulse of 1 mV is 200 counts high.
PLAUSIBLE_RESOLUTION_UV = (0.1, 100.0)
# A file of at most 16 MiB holds fewer.
MAX_SAMPLES = 1e9


def read_philips(root: Any, name: str, hints: Hints) -> Recording:
    """Read `parsedwaveforms`, not the representative beats.

    XLI stores III, aVR, aVL and aVF as what is left of them when I and II are taken off; they are put together again.

    Args:
        root: the element `restingecgdata`.
        name: what to call the record.
        hints: what the file does not say.

    Raises:
        RefusedRecordError: `malformed`, `no_signals`, `uncalibrated`, `unknown_sampling_rate`, `unknown_leads` or
            `contradiction`.
    """
    version = text_of(root, "documentinfo", "documentversion") or "none"
    if not version.startswith(VERSIONS):
        raise RefusedRecordError(
            name, "malformed", f"Philips XML of version {version}, expected {' or '.join(VERSIONS)}"
        )
    data = find(root, "waveforms", "parsedwaveforms")
    if data is None:
        raise RefusedRecordError(name, "no_signals", "no element waveforms/parsedwaveforms, expected the ECG there")
    about = find(root, "dataacquisition", "signalcharacteristics")

    def said(attribute: str, element: str) -> float | None:
        """A number, of the data itself or of the chapter on the acquisition."""
        value = data.get(attribute)
        value = text_of(about, element) if value is None and about is not None else value
        return number(name, element, value)

    rate_hz = settle_rate(name, said("samplespersecond", "samplingrate"), hints)
    leads = settle_leads(name, _leads(data, about, name), hints)
    if not leads:
        raise RefusedRecordError(name, "unknown_leads", "neither leadlabels nor acquisitiontype STD-12 in the file")
    duration_ms = number(name, "durationperchannel", data.get("durationperchannel"))
    if duration_ms is None or duration_ms <= 0 or said("bitspersample", "bitspersample") not in (None, 16):
        raise RefusedRecordError(
            name, "malformed", f"durationperchannel {duration_ms}, expected milliseconds and samples of 16 bits"
        )
    samples = duration_ms * rate_hz / 1000
    if not samples < MAX_SAMPLES:
        raise RefusedRecordError(
            name, "malformed", f"durationperchannel claims {samples:g} samples, expected below {MAX_SAMPLES:g}"
        )
    counts = _counts(data, leads, round(samples), name)
    resolution_uv = said("resolution", "signalresolution")
    low, high = PLAUSIBLE_RESOLUTION_UV
    if resolution_uv is None or not low <= resolution_uv <= high:
        raise RefusedRecordError(
            name, "uncalibrated", f"a resolution of {resolution_uv}, expected {low:g} to {high:g} uV per count"
        )
    offset = said("signaloffset", "signaloffset") or 0.0
    return Recording(name, calibrate(name, (counts - offset) * resolution_uv, "uV", hints), leads, rate_hz)


def _leads(data: Any, about: Any, name: str) -> tuple[str, ...] | None:
    labels = (data.get("leadlabels") or "").split()
    count = number(name, "numberofleads", data.get("numberofleads"))
    if labels:
        if count is not None and not 0 < count <= len(labels):
            raise RefusedRecordError(name, "malformed", f"numberofleads {count:g} for the labels {' '.join(labels)}")
        return tuple(labels[: None if count is None else int(count)])
    standard = about is not None and text_of(about, "acquisitiontype") in STANDARD_LEADS
    return LEADS_12 if standard else None


def _counts(data: Any, leads: tuple[str, ...], samples: int, name: str) -> Int[ndarray, "leads samples"]:
    if data.get("dataencoding") != "Base64":
        raise RefusedRecordError(name, "malformed", f"samples in {data.get('dataencoding')}, expected Base64")
    content = decode(name, "parsedwaveforms", data.text)
    method = data.get("compressmethod") or data.get("compression") or "Uncompressed"
    if data.get("compressflag") == "False" or method == "Uncompressed":
        return samples_of(name, "parsedwaveforms", content, len(leads) * samples).reshape(len(leads), samples)
    if method != "XLI":
        raise RefusedRecordError(name, "malformed", f"samples compressed by {method}, expected XLI")
    check_claim(name, 2 * len(leads) * samples, len(content), "durationperchannel")
    return _whole(unpack_leads(name, content, len(leads), samples), leads, name)


def _whole(stored: Int16[ndarray, "leads samples"], leads: tuple[str, ...], name: str) -> Int[ndarray, "leads samples"]:
    """Put III, aVR, aVL and aVF together; halves are cut towards zero, as in the one real file at hand."""
    place = {canonical_lead(lead): row for row, lead in enumerate(leads)}
    derived = [lead for lead in ("III", "aVR", "aVL", "aVF") if lead in place]
    if not derived:
        return stored
    if absent := [lead for lead in ("I", "II", "III") if lead not in place]:
        raise RefusedRecordError(
            name, "malformed", f"XLI data of {', '.join(derived)} without {', '.join(absent)}, from which they are made"
        )
    whole = stored.astype(np.int64)
    lead_i, lead_ii = whole[place["I"]], whole[place["II"]]
    lead_iii = whole[place["III"]] = lead_ii - lead_i - whole[place["III"]]
    expected = {"aVR": -(lead_i + lead_ii), "aVL": lead_i - lead_iii, "aVF": lead_ii + lead_iii}
    for lead, twice in expected.items():
        if lead in place:
            whole[place[lead]] = np.trunc(twice / 2).astype(np.int64) - whole[place[lead]]
    return whole
