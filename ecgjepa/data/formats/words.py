"""What a file says about itself as an attribute, a key or a comment: numbers, texts and lists of lead names."""

import math
from typing import Any

import numpy as np

from ecgjepa.errors import RefusedRecordError


def number(record: str, key: str, value: Any) -> float | None:
    """One finite number of an array, a text or a number; None stays None.

    Raises:
        RefusedRecordError: `malformed`.
    """
    if value is None:
        return None
    try:
        first = np.asarray(value).reshape(-1)[0] if np.size(value) == 1 else ""
        found = math.nan if np.iscomplexobj(first) else float(first)
    except (ValueError, TypeError):
        found = math.nan
    if not math.isfinite(found):
        raise RefusedRecordError(record, "malformed", f"{key} {_shown(value)}, expected a number")
    return found


def text(record: str, key: str, value: Any) -> str | None:
    """One text, of bytes or characters; None stays None.

    Raises:
        RefusedRecordError: `malformed`.
    """
    found = _texts(value)
    if found is not None and len(found) != 1:
        raise RefusedRecordError(record, "malformed", f"{key} {_shown(value)}, expected one text")
    return found[0] if found else None


def lead_names(record: str, value: Any) -> tuple[str, ...] | None:
    """Names of leads: a list of texts, or one text with commas or spaces between; None stays None.

    Raises:
        RefusedRecordError: `malformed`.
    """
    found = _texts(value)
    if found is None:
        return None
    if len(found) == 1:
        separator = "," if "," in found[0] else None
        found = [part.strip() for part in found[0].split(separator)]
    if not found or not all(found):
        raise RefusedRecordError(record, "malformed", f"leads {_shown(value)}, expected names")
    return tuple(found)


def _texts(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [
        each.decode("utf-8", errors="replace") if isinstance(each, bytes) else str(each)
        for each in np.asarray(value).reshape(-1).tolist()
    ]


def _shown(value: Any) -> str:
    return repr(value)[:80]
