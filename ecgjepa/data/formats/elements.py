"""Elements of an XML file by name, whatever their namespace, and the samples in them."""

import base64
import binascii
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from ecgjepa.data.formats.claims import check_size
from ecgjepa.errors import RefusedRecordError

# An ECG of ten seconds has 0.2 to 2 MB.
MAX_BYTES = 16 * 2**20
# It has some thousand tags; each costs ten times its size in memory.
MAX_TAGS = 200_000


def parse(path: Path, name: str) -> Any:
    """The root element; entities, which can grow without bound, are refused.

    Raises:
        RefusedRecordError: `malformed`.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException  # type: ignore[import-untyped]
    from defusedxml.ElementTree import parse as parse_safely  # type: ignore[import-untyped]

    check_size(name, path, MAX_BYTES, "an XML file")
    content = path.read_bytes()
    for sign, what in ((b"<", "tags"), (b"=", "attributes")):
        if (found := content.count(sign)) > MAX_TAGS:
            raise RefusedRecordError(name, "malformed", f"XML with {found} {what}, expected at most {MAX_TAGS}")
    try:
        return parse_safely(io.BytesIO(content)).getroot()
    except ParseError as error:
        raise RefusedRecordError(name, "malformed", f"no whole XML file: {error}") from error
    except DefusedXmlException as error:
        raise RefusedRecordError(name, "malformed", f"XML with entities, which are not read: {error}") from error


def tag(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def children(element: Any, key: str) -> Iterator[Any]:
    """The elements of a name right below another."""
    return (child for child in element if tag(child) == key)


def find(element: Any, *keys: str) -> Any | None:
    """The first element down a path of names; None if there is none."""
    for key in keys:
        element = next(children(element, key), None)
        if element is None:
            return None
    return element


def text_of(element: Any, *keys: str) -> str | None:
    """The text of the first element down a path of names; None if there is none, or it is empty."""
    found = find(element, *keys)
    return None if found is None or found.text is None else found.text.strip() or None


def decode(name: str, what: str, value: str | None) -> bytes:
    """Bytes of base64 with any white space between.

    Raises:
        RefusedRecordError: `malformed`.
    """
    try:
        return base64.b64decode("".join((value or "").split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedRecordError(name, "malformed", f"{what} is no base64: {error}") from error


def samples_of(name: str, what: str, content: bytes, expected: int) -> Int16[ndarray, "samples"]:
    """Little-endian 16-bit samples, as many as the file says.

    Raises:
        RefusedRecordError: `malformed`.
    """
    if len(content) != 2 * expected:
        raise RefusedRecordError(
            name, "malformed", f"{what} has {len(content)} bytes, expected {expected} samples of 2"
        )
    return np.frombuffer(content, "<i2").astype(np.int16)
