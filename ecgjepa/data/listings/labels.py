"""Label levels: from the codes that a data set carries to lists of class names.

A record's labels at a level are a list of class names, or None if the record is not labelled at that level. An empty
list is a label too: "none of these".
"""

import ast
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# SNOMED CT codes of the nine classes of CPSC2018 (Liu et al. 2018; codes as in the PhysioNet/CinC Challenge 2020).
CPSC2018_CLASSES = {
    "59118001": "RBBB",
    "164884008": "PVC",
    "164889003": "AF",
    "164909002": "LBBB",
    "164931005": "STE",
    "270492004": "IAVB",
    "284470004": "PAC",
    "426783006": "NSR",
    "429622005": "STD",
}

# The 27 scored diagnoses of the PhysioNet/CinC Challenge 2020 (Alday et al., Physiol Meas 41 (2020) 124003), SNOMED CT
# code -> abbreviation. Three pairs are scored as one: complete and unspecified right bundle branch block (here RBBB),
# atrial and supraventricular premature beats (PAC), two codes of ventricular ones (PVC). So 24 classes.
CHALLENGE2020_CLASSES = {
    "270492004": "IAVB",
    "164889003": "AF",
    "164890007": "AFL",
    "426627000": "Brady",
    "713427006": "RBBB",
    "59118001": "RBBB",
    "713426002": "IRBBB",
    "445118002": "LAnFB",
    "39732003": "LAD",
    "164909002": "LBBB",
    "251146004": "LQRSV",
    "698252002": "NSIVCB",
    "10370003": "PR",
    "284470004": "PAC",
    "63593006": "PAC",
    "427172004": "PVC",
    "17338001": "PVC",
    "164947007": "LPR",
    "111975006": "LQT",
    "164917005": "QAb",
    "47665007": "RAD",
    "427393009": "SA",
    "426177001": "SB",
    "426783006": "NSR",
    "427084000": "STach",
    "164934002": "TAb",
    "59931005": "TInv",
}

CODE15_CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")


@dataclass(frozen=True)
class HeaderNotes:
    """What the comment lines of a header say of a record: of the PhysioNet challenges, or of LUDB."""

    age: float | None
    sex: str | None
    codes: tuple[str, ...]
    rhythm: str | None = None


def read_header_notes(comments: Iterable[str]) -> HeaderNotes:
    """Age in years, sex (`female`/`male`) and diagnosis codes from lines such as `Age: 53`, `Dx: 164889003,426783006`.

    LUDB writes `<age>: 53`, `<sex>: F` and `Rhythm: Sinus rhythm.`, of which the dot is left out. What
    is not stated (`Age: NaN`, empty `Dx:`) is None or empty; codes are unique and in the order of the header.
    """
    notes: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.lstrip("# ").partition(":")
        if colon:
            notes.setdefault(key.strip(" \t<>").lower(), value.strip())
    sex = {"m": "male", "f": "female"}.get(notes.get("sex", "").lower()[:1])
    age = re.fullmatch(r"\d+(\.\d+)?", notes.get("age", ""))
    codes = [code.strip() for code in notes.get("dx", "").split(",")]
    codes = list(dict.fromkeys(code for code in codes if code.isdigit()))
    return HeaderNotes(float(age[0]) if age else None, sex, tuple(codes), notes.get("rhythm", "").rstrip(". ") or None)


def ptbxl_levels(statements: "pd.DataFrame") -> dict[str, dict[str, str]]:
    """For each of the six levels of the PTB-XL benchmark (Strodthoff et al. 2021): code -> class name.

    Args:
        statements: `scp_statements.csv`, indexed by code.
    """
    diagnostic = statements[statements["diagnostic"] == 1]
    form, rhythm = (statements.index[statements[kind] == 1] for kind in ("form", "rhythm"))
    return {
        "all": {code: code for code in statements.index},
        "diagnostic": {code: code for code in diagnostic.index},
        "subdiagnostic": diagnostic["diagnostic_subclass"].dropna().to_dict(),
        "superdiagnostic": diagnostic["diagnostic_class"].dropna().to_dict(),
        "form": {code: code for code in form},
        "rhythm": {code: code for code in rhythm},
    }


def read_scp_codes(text: str) -> tuple[str, ...]:
    """Codes of a cell such as `{'NORM': 100.0, 'SR': 0.0}`; raises ValueError if it is not of that form."""
    try:
        try:
            codes = json.loads(text.replace("'", '"'))  # much the same language, and read ten times faster
        except ValueError:
            codes = ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:  # the last for endless brackets
        raise ValueError(f"scp_codes {text[:200]!r}, expected the form {{'NORM': 100.0}}") from error
    if not isinstance(codes, dict):
        raise ValueError(f"scp_codes {text[:200]!r}, expected the form {{'NORM': 100.0}}")
    return tuple(codes)


def ptbxl_labels(codes: Iterable[str], class_of: dict[str, str]) -> list[str] | None:
    """Class names of one record at one level: every code whatever its likelihood; None if the level has none of them.

    Args:
        codes: those of `read_scp_codes`.
        class_of: one level of `ptbxl_levels()`.
    """
    return sorted({class_of[code] for code in codes if code in class_of}) or None


def cpsc2018_labels(codes: Iterable[str]) -> list[str] | None:
    """The CPSC2018 classes among the codes of one record; None if there are none."""
    return sorted({CPSC2018_CLASSES[code] for code in codes if code in CPSC2018_CLASSES}) or None


def snomed_labels(notes: HeaderNotes) -> list[str] | None:
    """The diagnosis codes of a header; None if there are none."""
    return sorted(notes.codes) or None


def challenge2020_labels(notes: HeaderNotes) -> list[str] | None:
    """The scored classes of the challenge of 2020 among the codes of a header; None if it has no code at all."""
    if not notes.codes:
        return None
    return sorted({CHALLENGE2020_CLASSES[code] for code in notes.codes if code in CHALLENGE2020_CLASSES})


def rhythm_labels(notes: HeaderNotes) -> list[str] | None:
    """The rhythm that a header of LUDB states."""
    return None if notes.rhythm is None else [notes.rhythm]


# What the headers of any folder of WFDB records may say: level -> labels.
HEADER_LEVELS: dict[str, Callable[[HeaderNotes], list[str] | None]] = {
    "snomed": snomed_labels,
    "challenge2020": challenge2020_labels,
}
