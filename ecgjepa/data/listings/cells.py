"""The cell of a user's table, as text, -> a value; what cannot be one says what was expected.

Every function raises ValueError with what was found and what was expected; the table adds file, line and column. A cell
is text, or the texts of a Parquet list. Empty cells do not come here.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from ecgjepa.units import ADC, MV_PER_UNIT

Cell = str | tuple[str, ...]

MAX_AGE = 150.0
SPLIT_WORDS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
SEX_WORDS = {"m": "male", "male": "male", "f": "female", "female": "female"}
UNKNOWN_SEX = frozenset({"u", "unknown", "other"})
# How an empty list is written, in a table of text: "none of these".
NO_LABEL = "[]"
# What a program writes for nothing when it takes nothing for a word.
_NOTHING = frozenset({"nan", "<na>", "none", "null"})
# A whole number as a program writes it once a cell of its column is empty; `,` where numbers have a decimal comma.
_WHOLE, _WHOLE_WITH_COMMA = re.compile(r"(-?\d+)\.0+", re.ASCII), re.compile(r"(-?\d+)[.,]0+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def one_spelling(text: str) -> str:
    """A name as it is compared: without blanks around it, and in the composed form of Unicode (NFC)."""
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def name(cell: Cell) -> str:
    """A record, in one spelling."""
    text = one_spelling(_text(cell, "a name"))
    if text.lower() in _NOTHING - {"none", "null"}:
        raise ValueError(f"found {text!r}, expected a name or an empty cell")
    return text


def patient(cell: Cell) -> str:
    """A patient, in one spelling; `12.0` is the patient `12`, as programs write it beside empty cells.

    `None` and `null` are nobody's names, and would make one patient of all who have none.
    """
    text = one_spelling(_text(cell, "a name"))
    if text.lower() in _NOTHING:
        raise ValueError(f"found {text!r}, expected a name or an empty cell")
    whole = _WHOLE.fullmatch(text)
    return whole[1] if whole else text


def patient_with_comma(cell: Cell) -> str:
    """As `patient`; `12,0` is `12` as well."""
    text = patient(cell)
    whole = _WHOLE_WITH_COMMA.fullmatch(text)
    return whole[1] if whole else text


def group(cell: Cell) -> str:
    """A device or a site, as `patient`, and with one blank where a program wrote several (`CS100    3`)."""
    return " ".join(patient(cell).split())


def path(cell: Cell) -> str:
    """A path."""
    text = _text(cell, "a path")
    if text.lower() in _NOTHING:
        raise ValueError(f"found {text!r}, expected a path")
    return text


def number(cell: Cell) -> float:
    """A finite number with a decimal point."""
    text = _text(cell, "a number")
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"found {text!r}, expected a number or an empty cell")
    return float(text)


def number_with_comma(cell: Cell) -> float:
    """A finite number with a decimal point or comma, as tables separated by semicolons have it."""
    text = _text(cell, "a number")
    return number(text.replace(",", ".") if "." not in text else text)


def split(cell: Cell) -> str:
    """`train`, `validation` (also `val`, `valid`, `dev`) or `test`, in any case."""
    text = _text(cell, "a split")
    if text.lower() not in SPLIT_WORDS:
        raise ValueError(f"found {text!r}, expected train, validation (val, valid, dev), test or an empty cell")
    return SPLIT_WORDS[text.lower()]


def sex(cell: Cell) -> str | None:
    """`male`, `female` (also `m`, `f`); None for `unknown`, `u` and `other`."""
    text = _text(cell, "a sex")
    if text.lower() in UNKNOWN_SEX:
        return None
    if text.lower() not in SEX_WORDS:
        raise ValueError(f"found {text!r}, expected male (m), female (f), unknown or an empty cell")
    return SEX_WORDS[text.lower()]


def labels(cell: Cell) -> list[str]:
    """Class names separated by `;` or `|`, or a list of them; `[]` is none of them, which is a label too."""
    if isinstance(cell, tuple):
        if any(not part or part.lower() in _NOTHING for part in cell):
            raise ValueError(f"found {list(cell)}, expected a list of names")
        return list(dict.fromkeys(cell))
    if cell.replace(" ", "") == NO_LABEL:
        return []
    names = [part.strip() for part in re.split("[;|]", cell)]
    names = list(dict.fromkeys(part for part in names if part))
    if not names or any(part.lower() in _NOTHING or part[0] in "[{" for part in names):
        raise ValueError(
            f"found {cell!r}, expected names separated by ; or |, {NO_LABEL} for none of them, "
            "or an empty cell for a record that nobody labelled"
        )
    return names


def leads(cell: Cell) -> tuple[str, ...]:
    """Distinct names of leads."""
    names = cell if isinstance(cell, tuple) else split_leads(cell)
    if not all(names) or not names or len(set(names)) != len(names):
        raise ValueError(f"found {cell!r}, expected distinct names such as I, II, V1: leads must be distinct")
    return names


def unit(cell: Cell) -> str:
    """A unit of amplitude."""
    text = _text(cell, "a unit")
    if text.lower() not in {*MV_PER_UNIT, ADC}:
        raise ValueError(f"found {text!r}, unit must be one of mV, uV, V, nV, adc")
    return text


def split_leads(text: str) -> tuple[str, ...]:
    """Names of leads as people type them: `I,II,V1` or `I II V1`."""
    return tuple(text.replace(",", " ").split())


def parsers(decimal_comma: bool) -> dict[str, Callable[[Cell], Any]]:
    """Column -> how its cells are read; columns of labels are read by `labels`."""
    real = number_with_comma if decimal_comma else number
    return {
        "path": path,
        "record": name,
        "row": _within(real, 0, 2**62, whole=True),
        "patient": patient_with_comma if decimal_comma else patient,
        "split": split,
        "fold": _within(real, -(2**62), 2**62, whole=True),
        "age": _within(real, 0, MAX_AGE),
        "sex": sex,
        "device": group,
        "site": group,
        "sampling_rate_hz": _positive(real),
        "leads": leads,
        "unit": unit,
        "gain_per_mv": _positive(real),
    }


def _within(real: Callable[[Cell], float], low: float, high: float, *, whole: bool = False) -> Callable[[Cell], Any]:
    def read(cell: Cell) -> float | int:
        value = real(cell)
        if not low <= value <= high or (whole and not value.is_integer()):
            kind = f"a whole number from {low:g}" if whole else f"{low:g} to {high:g}"
            raise ValueError(f"found {cell}, expected {kind}")
        return int(value) if whole else value

    return read


def _positive(real: Callable[[Cell], float]) -> Callable[[Cell], float]:
    def read(cell: Cell) -> float:
        value = real(cell)
        if value <= 0:
            raise ValueError(f"found {cell}, expected a number above 0")
        return value

    return read


def _text(cell: Cell, expected: str) -> str:
    if not isinstance(cell, str):
        raise ValueError(f"found a list, expected {expected}")
    return cell
