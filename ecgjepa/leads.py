"""The twelve leads by name, however a file spells them, and the limb leads as combinations of two."""

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
_PREFIX = re.compile(r"^(LEAD|ECG|EKG)[ .:_-]*")


def canonical_lead(name: str) -> str | None:
    """The standard name of a lead, or None if it is none of the standard twelve.

    Understood: any case, `lead II`, `ECG V1`, `DI` (as in CODE-15%), `MLII` (as in the MIT-BIH databases), `V1-REF`.
    Not understood on purpose: an inverted lead such as `-aVR`.
    """
    key = _PREFIX.sub("", name.strip().upper()).removesuffix("-REF")
    return _CANONICAL.get(key)
