"""Label levels: from the codes that a data set carries to lists of class names.

A record's labels at a level are a list of class names, or None if the record is not labelled at that level. An empty
list is a label too: "none of these".
"""

import ast
import json
import re
from collections.abc import Iterable
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

CODE15_CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")


@dataclass(frozen=True)
class HeaderNotes:
    """What the comment lines of a PhysioNet challenge header say of a record."""

    age: float | None
    sex: str | None
    codes: tuple[str, ...]


def read_header_notes(comments: Iterable[str]) -> HeaderNotes:
    """Age in years, sex (`female`/`male`) and diagnosis codes from lines such as `Age: 53`, `Dx: 164889003,426783006`.

    What is not stated (`Age: NaN`, empty `Dx:`) is None or empty; codes are unique and in the order of the header.
    """
    notes: dict[str, str] = {}
    for comment in comments:
        key, colon, value = comment.lstrip("# ").partition(":")
        if colon:
            notes.setdefault(key.strip().lower(), value.strip())
    sex = {"m": "male", "f": "female"}.get(notes.get("sex", "").lower()[:1])
    age = re.fullmatch(r"\d+(\.\d+)?", notes.get("age", ""))
    codes = [code.strip() for code in notes.get("dx", "").split(",")]
    return HeaderNotes(
        float(age[0]) if age else None, sex, tuple(dict.fromkeys(code for code in codes if code.isdigit()))
    )


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
