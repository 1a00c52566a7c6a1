"""The other way round of `ecgjepa.data.formats.xli`: counts of leads -> chunks as Philips devices write them."""

import struct
from collections.abc import Sequence

import numpy as np
from numpy import ndarray


def pack_leads(counts_LS: ndarray, leads: Sequence[str]) -> bytes:
    """One chunk per lead; III, aVR, aVL and aVF as what is left of them when I and II are taken off."""
    stored = counts_LS.astype(np.int64)
    row = {lead: counts_LS[i].astype(np.int64) for i, lead in enumerate(leads)}
    for i, lead in enumerate(leads):
        if lead == "III":
            stored[i] = row["II"] - row["I"] - row["III"]
        elif lead in ("aVR", "aVL", "aVF"):
            twice = {
                "aVR": lambda: -(row["I"] + row["II"]),
                "aVL": lambda: row["I"] - row["III"],
                "aVF": lambda: row["II"] + row["III"],
            }[lead]()
            stored[i] = np.sign(twice) * (np.abs(twice) // 2) - row[lead]
    return b"".join(pack_lead(lead) for lead in stored)


def pack_lead(counts_S: ndarray) -> bytes:
    """A header of 8 bytes and the codes of one lead; at least three samples."""
    difference_S = 2 * counts_S[1:-1] - counts_S[:-2] - counts_S[2:]
    words_S = np.concatenate([counts_S[:2], difference_S[1:] + 64, [0]])
    if max(np.abs(words_S).max(), abs(difference_S[0])) > 32_767:
        raise ValueError("XLI holds second differences of 16 bits")
    words_S = words_S.astype(np.int16).view(np.uint16)
    codes = lzw_codes((words_S >> 8).astype(np.uint8).tobytes() + (words_S & 0xFF).astype(np.uint8).tobytes())
    packed = pack_codes(codes)
    return struct.pack("<ihh", len(packed), 1, int(difference_S[0])) + packed


def lzw_codes(content: bytes) -> list[int]:
    """Codes of 10 bits: strings are learned up to code 1022, then 1023 ends the chunk."""
    code_of = {bytes([value]): value for value in range(256)}
    codes, current = [], b""
    for value in content:
        longer = current + bytes([value])
        if longer in code_of:
            current = longer
            continue
        codes.append(code_of[current])
        if len(code_of) < 1023:
            code_of[longer] = len(code_of)
        current = bytes([value])
    return [*codes, code_of[current], 1023]


def pack_codes(codes: Sequence[int]) -> bytes:
    """10 bits each, the most significant first; the last byte is filled up with zeros."""
    bits_KB = (np.array(codes)[:, None] >> np.arange(10)[::-1]) & 1
    return np.packbits(bits_KB.astype(np.uint8).reshape(-1)).tobytes()
