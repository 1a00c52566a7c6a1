"""Signal files of WFDB in the formats besides 16 (https://wornell.physionet.org/physiotools/wag/signal-5.htm).

Axes: N samples, those of all leads in turn.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy import ndarray

SAMPLES, AMPLITUDE = 501, 60


def _pack_8(counts_N: ndarray) -> bytes:
    """Differences of two leads; the first sample is in the header."""
    return np.diff(counts_N.reshape(-1, 2), axis=0, prepend=counts_N[None, :2]).astype("i1").tobytes()


def _pack_24(counts_N: ndarray) -> bytes:
    return counts_N.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _pack_212(counts_N: ndarray) -> bytes:
    first, second = (counts_N & 0xFFF).reshape(-1, 2).T
    return np.stack([first & 0xFF, first >> 8 | second >> 8 << 4, second & 0xFF], 1).astype(np.uint8).tobytes()


def _pack_310(counts_N: ndarray) -> bytes:
    first, second, third = (counts_N & 0x3FF).reshape(-1, 3).T
    return np.stack([first << 1 | (third & 0x1F) << 11, second << 1 | third >> 5 << 11], 1).astype("<u2").tobytes()


def _pack_311(counts_N: ndarray) -> bytes:
    first, second, third = (counts_N & 0x3FF).reshape(-1, 3).T
    return (first | second << 10 | third << 20).astype("<u4").tobytes()


PACK: dict[str, Callable[[ndarray], bytes]] = {
    "8": _pack_8,
    "80": lambda counts_N: (counts_N + 128).astype(np.uint8).tobytes(),
    "160": lambda counts_N: (counts_N + 32_768).astype("<u2").tobytes(),
    "61": lambda counts_N: counts_N.astype(">i2").tobytes(),
    "24": _pack_24,
    "32": lambda counts_N: counts_N.astype("<i4").tobytes(),
    "212": _pack_212,
    "310": _pack_310,
    "311": _pack_311,
}


def write_formats(folder: Path) -> None:
    """`f212.hea` and `f212.dat`, and so on: leads I and II, 250 Hz, 200 counts a millivolt."""
    lead_S = np.rint(AMPLITUDE * np.sin(np.arange(SAMPLES) / 9)).astype(np.int64)
    counts_SL = np.stack([lead_S, 1 - lead_S], 1)
    for fmt, pack in PACK.items():
        (folder / f"f{fmt}.dat").write_bytes(pack(counts_SL.reshape(-1)))
        lines = [f"f{fmt} 2 250 {SAMPLES}"]
        for lead, counts_S in zip(("I", "II"), counts_SL.T, strict=True):
            lines.append(f"f{fmt}.dat {fmt} 200(0)/mV 8 0 {counts_S[0]} {counts_S.sum() % 65536} 0 {lead}")
        (folder / f"f{fmt}.hea").write_text("\n".join([*lines, ""]))
