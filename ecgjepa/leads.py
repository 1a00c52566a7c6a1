"""The twelve leads by name, however a file spells them, and the limb leads as combinations of two."""

import functools
import re

LEADS_12 = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEADS_8 = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")

# Einthoven and Goldberger: every limb lead as a combination (of I, of II).
LIMB_LEADS = {
    "I": (1.0, 0.0),
    "II": (0.0, 1.0),
    "III": (-1.0, 1.0),
    "aVR": (-0.5, -0.5),
    "aVL": (1.0, -0.5),
    "aVF": (-0.5, 1.0),
}

_CANONICAL = {lead.upper(): lead for lead in LEADS_12}
_CANONICAL |= {prefix + lead: lead for prefix in ("D", "ML") for lead in ("I", "II", "III")}
# No name of a lead is as long; a search in a million blanks would take minutes.
MAX_NAME = 200
# What files put before and after the name of a lead. A hyphen with a space before it is a sign: `ECG -aVR` is inverted.
_PREFIX = re.compile(r"^(?:MDC_ECG_LEAD_|(?:(?:LEAD|ECG|EKG)(?:[ .:_]+|-)?)+)")
_SUFFIX = re.compile(r"(?:-REF|, AUGMENTED VOLTAGE, (?:RIGHT|LEFT|FOOT)|\s*\((?:EINTHOVEN|GOLDBERGER|WILSON)\))$")


@functools.lru_cache(maxsize=1024)
def canonical_lead(name: str) -> str | None:
    """The standard name of a lead, or None if it is none of the standard twelve.

    Understood: any case, `lead II`, `ECG V1`, `EKG Lead I`, `DI` (as in CODE-15%), `MLII` (as in the MIT-BIH
    databases), `V1-REF`, `MDC_ECG_LEAD_V1` (ISO/IEEE 11073), `Lead I (Einthoven)` and
    `aVR, augmented voltage, right` (DICOM). Not understood on purpose: an inverted lead such as `-aVR` or `ECG -aVR`.
    """
    if len(name) > MAX_NAME:
        return None
    key = _SUFFIX.sub("", _PREFIX.sub("", name.strip().upper()))
    return _CANONICAL.get(key)
