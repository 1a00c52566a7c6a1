"""XLI, the compression of Philips ECGs: per lead a chunk of second differences, packed by LZW with codes of 10 bits.

From the public description at github.com/sixlettervariables/sierra-ecg-tools/wiki. A chunk is a header of 8 bytes
(int32 length, int16 that is always 1, int16 first difference), then the codes, most significant bit first; they unpack
to the high bytes of all samples, then the low bytes.

Axes: S samples, K codes.
"""

import struct

import numpy as np
from jaxtyping import Int16
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError

HEADER = struct.Struct("<ihh")
CODE_BITS = 10
# Strings are learned up to code 1022; 1023 ends a chunk.
END_CODE = 2**CODE_BITS - 1
OFFSET = 64


def unpack_leads(name: str, content: bytes, leads: int, samples: int) -> Int16[ndarray, "{leads} {samples}"]:
    """The first leads of a file, as stored: (L, S) counts.

    Args:
        name: for messages.
        content: chunks, one a lead; further ones are left out.
        leads: L, at least 1.
        samples: S, what each chunk must hold.

    Raises:
        RefusedRecordError: `malformed`.
    """
    rows, start = [], 0
    for lead in range(leads):
        if start + HEADER.size > len(content):
            raise RefusedRecordError(name, "malformed", f"XLI data of {lead} leads, expected {leads}")
        size, _, first = HEADER.unpack_from(content, start)
        start += HEADER.size
        if not 0 < size <= len(content) - start:
            raise RefusedRecordError(
                name, "malformed", f"XLI chunk {lead} claims {size} bytes, {len(content) - start} are left"
            )
        unpacked = unpack(name, content[start : start + size], 2 * samples)
        high, low = np.frombuffer(unpacked, np.uint8).reshape(2, samples)
        rows.append(integrate(name, high.astype(np.uint16) << 8 | low, first))
        start += size
    return np.stack(rows)


def unpack(name: str, packed: bytes, expected: int) -> bytes:
    """LZW with codes of 10 bits, which must give the bytes expected.

    Raises:
        RefusedRecordError: `malformed` for a code that is not learned yet, or another number of bytes.
    """
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    bits_KB = bits[: len(bits) // CODE_BITS * CODE_BITS].reshape(-1, CODE_BITS)
    strings = [bytes([value]) for value in range(256)]
    unpacked, previous = bytearray(), b""
    for code in (bits_KB @ (1 << np.arange(CODE_BITS)[::-1])).tolist():
        if code == END_CODE:
            break
        if code < len(strings):
            current = strings[code]
        elif code == len(strings) and previous:
            current = previous + previous[:1]
        else:
            raise RefusedRecordError(name, "malformed", f"XLI code {code}, of which {len(strings)} are known")
        if previous and len(strings) < END_CODE:
            strings.append(previous + current[:1])
        unpacked += current
        previous = current
        if len(unpacked) > expected:
            break
    if len(unpacked) != expected:
        raise RefusedRecordError(
            name, "malformed", f"an XLI chunk of {len(unpacked)} bytes or more, expected {expected}"
        )
    return bytes(unpacked)


def integrate(name: str, words: ndarray, first: int) -> Int16[ndarray, "samples"]:
    """Samples from the two first ones and negative second differences, which are stored a place early and 64 too high.

    Raises:
        RefusedRecordError: `malformed` where a sample leaves 16 bits.
    """
    stored_S = words.astype(np.int16).astype(np.int64)
    if len(stored_S) < 3:
        return stored_S.astype(np.int16)
    second_S = -np.concatenate([[first], stored_S[2:-1] - OFFSET])
    slope_S = np.cumsum(np.concatenate([[stored_S[1] - stored_S[0]], second_S]))
    samples_S = np.cumsum(np.concatenate([[stored_S[0]], slope_S]))
    if np.abs(samples_S).max() > np.iinfo(np.int16).max:
        raise RefusedRecordError(name, "malformed", f"an XLI sample of {np.abs(samples_S).max()}, expected 16 bits")
    return samples_S.astype(np.int16)
