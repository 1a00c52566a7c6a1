"""Vendors' XML: which vendor's it is, by its root element."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecgjepa.data.formats.elements import parse, tag
from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.formats.muse import read_muse
from ecgjepa.data.formats.philips import read_philips
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

VENDORS: dict[str, Callable[[Any, str, Hints], Recording]] = {"RestingECG": read_muse, "restingecgdata": read_philips}


def read_xml(path: Path, name: str, hints: Hints) -> Recording:
    """Read an XML file of GE MUSE or Philips.

    Raises:
        RefusedRecordError: `not_an_ecg` for any other root element, `malformed`, and what the vendor's reader refuses.
    """
    root = parse(path, name)
    if tag(root) not in VENDORS:
        raise RefusedRecordError(
            name,
            "not_an_ecg",
            f"XML with the root <{tag(root)[:80]}>, expected <RestingECG> (GE MUSE) or <restingecgdata> (Philips)",
        )
    return VENDORS[tag(root)](root, name, hints)
