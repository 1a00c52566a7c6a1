"""WFDB records of the common layout, straight from the bytes: one signal file of 16-bit samples, fixed gains.

Fifty times faster than the package `wfdb`, which reads everything else; both give identical samples. Format as in
https://wornell.physionet.org/physiotools/wag/header-5.htm and signal-5.htm.

Axes: L leads, S samples.
"""

import math
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, Integer
from numpy import ndarray

from ecgjepa.data.formats.claims import MAX_RECORD_BYTES
from ecgjepa.data.formats.hints import NO_HINTS, Hints, calibrate, settle_leads, settle_rate
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

# name, signals, rate, samples; perhaps time and date. A `/` after the name (segments) or the rate is not the layout.
_RECORD = re.compile(r"([^\s/]+)[ \t]+(\d{1,4})[ \t]+(\d+(?:\.\d+)?)[ \t]+(\d{1,12})(?:[ \t].*)?")
# file, 16 (perhaps one sample a frame, and the byte at which samples begin), gain(baseline)/unit, bits, zero, first
# sample, checksum, block size, name.
_SIGNAL = re.compile(
    r"^([^\s/\\]+)[ \t]+16(?:x1)?(?:\+(\d{1,9}))?[ \t]+(\d+(?:\.\d+)?(?:e[+-]?\d{1,2})?)(?:\((-?\d{1,9})\))?"
    r"(?:/([\w^?%/-]+))?[ \t]+\d{1,9}[ \t]+(-?\d{1,9})[ \t]+(-?\d{1,9})[ \t]+(-?\d{1,9})[ \t]+\d{1,9}"
    r"(?:[ \t]+([^\t\n#]*))?$",
    re.MULTILINE,
)
# A header has some kilobytes; what has more is left to the slow way.
HEADER_AT_ONCE = 2**16
MAX_HEADER_BYTES = 16 * 2**20
MAX_LINE = 1000
MAX_BASELINE = 2**23  # float32 holds the difference from every sample exactly
_INVALID = -32768  # the sample that means "none" in format 16


class _Header(NamedTuple):
    sampling_rate_hz: float
    samples: int
    file: str
    first_byte: int
    gain_L: list[float]
    baseline_L: list[int]
    units: list[str]
    first_value_L: list[int]
    checksum_L: list[int]
    leads: tuple[str, ...]
    comments: tuple[str, ...]


def read_common(path: Path, name: str, hints: Hints = NO_HINTS) -> Recording | None:
    """Read a record of the common layout; None if it is of another one, or its file longer than the header says.

    Raises:
        RefusedRecordError: `unreadable` (fewer samples than stated), `checksum` (other samples than stated), or as
            `calibrate`.
    """
    content = _read_at_once(str(path), HEADER_AT_ONCE + 1)
    header = _parse(content.decode("utf-8", errors="replace")) if len(content) <= HEADER_AT_ONCE else None
    if header is None:
        return None
    samples_LS = _read_samples(os.path.join(os.path.dirname(path), header.file), header, name)
    if samples_LS is None:
        return None
    check_sums(name, samples_LS, header.leads, header.first_value_L, header.checksum_L)
    signal_mv = _to_physical(samples_LS, header)
    rate_hz = settle_rate(name, header.sampling_rate_hz, hints)
    settle_leads(name, header.leads, hints)
    if hints != NO_HINTS or any(unit != "mV" for unit in header.units):
        signal_mv = calibrate(name, signal_mv, header.units, hints)
    return Recording(name, signal_mv, header.leads, rate_hz, header.comments)


def check_sums(
    name: str,
    samples_LS: Integer[ndarray, "leads samples"],
    leads: tuple[str, ...],
    first_value_L: list[int] | None,
    checksum_L: list[int] | None,
) -> None:
    """Hold the samples against what the header says of them: the first ones, and the sums modulo 65,536.

    Raises:
        RefusedRecordError: `checksum`.
    """
    if checksum_L is not None:
        found_L = np.add.reduce(samples_LS.astype(np.int16, copy=False), axis=1, dtype=np.int16)  # wraps as they do
        said_L = [(value + 2**15) % 2**16 - 2**15 for value in checksum_L]
        _refuse_others(name, leads, found_L.tolist(), said_L, "samples add up to")
    if first_value_L is not None and samples_LS.shape[1]:
        _refuse_others(name, leads, samples_LS[:, 0].tolist(), first_value_L, "first sample is")


def _refuse_others(name: str, leads: tuple[str, ...], found_L: list[int], said_L: list[int], what: str) -> None:
    if found_L == said_L:
        return
    k = next(k for k, (found, said) in enumerate(zip(found_L, said_L, strict=True)) if found != said)
    raise RefusedRecordError(
        name,
        "checksum",
        f"{leads[k] or f'signal {k}'}: the {what} {found_L[k]}, the header says {said_L[k]}; "
        "the file is damaged, or another record's",
    )


def _parse(text: str) -> _Header | None:
    lines = [line for raw in text.splitlines() if (line := raw.strip())]
    comments = tuple(line.strip(" \t#") for line in lines if line[0] == "#")
    lines = [line for line in lines if line[0] != "#"]
    if not lines or max(map(len, lines)) > MAX_LINE:
        return None
    record = _RECORD.fullmatch(lines[0])
    if record is None or int(record[2]) != len(lines) - 1 or len(lines) == 1 or int(record[4]) == 0:
        return None
    found = _SIGNAL.findall("\n".join(lines[1:]))
    if len(found) < len(lines) - 1 or len({(each[0], each[1]) for each in found}) != 1:
        return None
    gain_of = {text: float(text) for text in {each[2] for each in found}}
    gains = [gain_of[each[2]] for each in found]
    if not all(0 < gain < math.inf for gain in gains) or found[0][0].lower().endswith(".hea"):
        return None
    baselines = [int(each[3] or each[5]) for each in found]
    if max(map(abs, baselines)) >= MAX_BASELINE:
        return None
    return _Header(
        sampling_rate_hz=float(record[3]),
        samples=int(record[4]),
        file=found[0][0],
        first_byte=int(found[0][1] or 0),
        gain_L=gains,
        baseline_L=baselines,
        units=[each[4] or "mV" for each in found],
        first_value_L=[int(each[6]) for each in found],
        checksum_L=[int(each[7]) for each in found],
        leads=tuple(each[8] or "" for each in found),
        comments=comments,
    )


def _read_samples(path: str, header: _Header, name: str) -> Int16[ndarray, "leads samples"] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None  # the slow way says what is wrong
    expected = header.first_byte + 2 * len(header.leads) * header.samples
    if not stat.S_ISREG(state.st_mode) or state.st_size > min(expected, MAX_RECORD_BYTES):
        return None
    if state.st_size < expected:
        found = max(0, state.st_size - header.first_byte) // (2 * len(header.leads))
        raise RefusedRecordError(name, "unreadable", f"{found} samples in the file, expected {header.samples}")
    content = _read_at_once(path, expected)
    if len(content) < expected:
        return None  # of a file system that gives it in pieces
    samples_SL = np.frombuffer(content, "<i2", offset=header.first_byte).reshape(header.samples, len(header.leads))
    return np.ascontiguousarray(samples_SL.T)


def _read_at_once(path: str, at_most: int) -> bytes:
    """The beginning of a regular file, without the buffers and questions of a Python file."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return os.read(descriptor, at_most)
    finally:
        os.close(descriptor)


def _to_physical(samples_LS: Int16[ndarray, "leads samples"], header: _Header) -> Float32[ndarray, "leads samples"]:
    signal_LS = samples_LS.astype(np.float32)
    if any(header.baseline_L):
        signal_LS -= np.array(header.baseline_L, np.float32)[:, None]
    gain_L1 = np.array(header.gain_L)[:, None]
    if (gain_L1.astype(np.float32) == gain_L1).all():  # then a division in float32 rounds as one in float64 would
        signal_LS /= gain_L1.astype(np.float32)
    else:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and no finite sample
            signal_LS = (signal_LS / gain_L1).astype(np.float32)
    if samples_LS.min() == _INVALID:
        signal_LS[samples_LS == _INVALID] = np.nan
    return signal_LS
