"""WFDB (PhysioNet): a header `.hea` beside its signal files; units from the header.

The common layout is read from the bytes (`wfdb_bytes`), all else by the package `wfdb`, after checks of what its header
claims.
"""

import math
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecgjepa.data.formats.claims import check_claim, check_size
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.wfdb_bytes import MAX_HEADER_BYTES, MAX_LINE, check_sums, read_common
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording

FORMATS = ("8", "16", "24", "32", "61", "80", "160", "212", "310", "311", "508", "516", "524")
_FORMAT = re.compile(r"\d+", re.ASCII)
# gain (perhaps none), baseline, unit
_CALIBRATION = re.compile(r"(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)?(?:\((-?\d{1,15})\))?(?:/(\S*))?", re.ASCII)
# Of which `wfdb` leaves nothing out.
_PLAIN_UNIT = re.compile(r"[\w^?%/-]*", re.ASCII)


class _Header(NamedTuple):
    """What a header says in words that `wfdb` may cut: it leaves out what is not ASCII, and `mV.` is its `mV`.

    Attributes:
        lines: without blanks around them, comments and empty ones left out.
        file_names: signal files, or segments.
        units: None for a record of segments.
        comments: as `wfdb` gives them.
    """

    lines: list[str]
    file_names: set[str]
    units: list[str] | None
    comments: tuple[str, ...]


def read_wfdb(path: Path, name: str, hints: Hints) -> Recording:
    """Read a record of any format that `wfdb` knows (`.dat`, `.mat`, multi-segment).

    Headers that `wfdb` refuses for what the signal does not need (a record name with a suffix, an unreadable date)
    are read without it.

    Args:
        path: the header.
        name: what to call the record.
        hints: only checked: a header says everything.

    Raises:
        RefusedRecordError: `malformed`, `unreadable`, `checksum`, `no_signals`, `unknown_unit`, `uncalibrated` or
            `contradiction`.
    """
    return read_common(path, name, hints) or read_any(path, name, hints)


def read_any(path: Path, name: str, hints: Hints) -> Recording:
    """Read a record of any layout with the package `wfdb`; see `read_wfdb`."""
    import wfdb

    header = _check_header(path, name)
    if absent := sorted(
        file
        for file in header.file_names  # signal files, or the headers of segments by their names
        if not (path.parent / file).exists() and not (path.parent / f"{file}.hea").exists()
    ):
        raise RefusedRecordError(name, "file_absent", f"{absent[0]} is not there, which the header {path.name} names")
    is_segmented = header.units is None
    try:
        if not is_segmented and not "".join(header.lines).isascii():
            record = _read_with_clean_header(path, header)
        else:
            record = wfdb.rdrecord(str(path.with_suffix("")), return_res=32, physical=is_segmented)
    except ValueError:
        record = _read_with_clean_header(path, header)
    if record.d_signal is not None:
        _check_sums(record, name)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and no finite sample
            record.dac(return_res=32, inplace=True)
    if record.p_signal is None or record.n_sig == 0:
        raise RefusedRecordError(name, "no_signals", "the header lists no signals, expected ECG leads")
    if record.p_signal.shape[0] != record.sig_len:
        raise RefusedRecordError(
            name, "unreadable", f"{record.p_signal.shape[0]} samples in the file, expected {record.sig_len}"
        )
    rate_hz = settle_rate(name, float(record.fs), hints)
    leads = tuple(lead or "" for lead in record.sig_name)
    if not is_segmented:
        leads = tuple(_as_written(lead, line) for lead, line in zip(leads, header.lines[1:], strict=True))
    settle_leads(name, leads, hints)
    signal_mv = np.ascontiguousarray(calibrate(name, record.p_signal.T, header.units or record.units, hints))
    return Recording(name, signal_mv, leads, rate_hz, header.comments)


def _as_written(lead: str, line: str) -> str:
    """The name of a lead as it ends a line of the header, of which `wfdb` was given `_ascii`."""
    return line[len(line) - len(lead) :] if _ascii(line).endswith(lead) else lead


def _ascii(text: str) -> str:
    """The same text, `?` for each character that is not ASCII: a lead `IÄ` must not become I."""
    return text.encode("ascii", errors="replace").decode("ascii")


def _check_sums(record: Any, name: str) -> None:
    """What the header says of the samples, where it says it and one frame is one sample."""
    if max(record.samps_per_frame, default=1) == 1 and not any(record.skew or ()):
        said = [None if None in (values or [None]) else values for values in (record.init_value, record.checksum)]
        check_sums(name, record.d_signal.T, tuple(lead or "" for lead in record.sig_name), *said)


def _check_header(header: Path, name: str, *, is_segment: bool = False) -> _Header:
    """Read a header; the files it names must lie beside it."""
    if not header.is_file():
        raise RefusedRecordError(name, "malformed", f"{header.name} is not a regular file, expected a header")
    check_size(name, header, MAX_HEADER_BYTES, f"the header {header.name}")
    text = header.read_text(encoding="utf-8", errors="replace")
    every = [line for raw in text.splitlines() if (line := raw.strip())]
    lines = [line for line in every if line[0] != "#"]
    if not lines:
        raise RefusedRecordError(name, "malformed", f"the header {header.name} is empty")
    if (longest := max(map(len, lines))) > MAX_LINE:
        raise RefusedRecordError(
            name, "malformed", f"a line of {longest} characters in {header.name}, expected at most {MAX_LINE}"
        )
    fields = lines[0].split()
    if len(fields) > 2 and not re.fullmatch(r"\d+\.?\d*(/.*)?", fields[2]):
        raise RefusedRecordError(name, "malformed", f"sampling rate {fields[2]!r} in the header, expected a number")
    if len(fields) > 3 and not re.fullmatch(r"\d{1,15}", fields[3]):
        raise RefusedRecordError(name, "malformed", f"number of samples {fields[3]!r} in the header, expected a count")
    below = [line.split() for line in lines[1:]]
    file_names = {words[0] for words in below} - {"~"}
    for file_name in file_names:
        if Path(file_name).name != file_name:
            raise RefusedRecordError(
                name, "malformed", f"the header names the file {file_name!r}, expected one in its own folder"
            )
        if (header.parent / file_name).exists() and not (header.parent / file_name).is_file():
            raise RefusedRecordError(name, "malformed", f"{file_name!r} is not a regular file")
    segments = fields[0].partition("/")[2]
    units = None
    if "/" in fields[0]:
        _check_segments(header, name, segments, fields, below, is_segment)
    else:
        units = [_check_signal(name, words, is_segment=is_segment) for words in below]
    _check_claim(header, name, fields, below, is_segmented=units is None)
    comments = tuple(line.strip(" \t#") for line in every if line[0] == "#")
    return _Header(lines, file_names, units, comments)


def _check_signal(name: str, words: list[str], *, is_segment: bool) -> str:
    """The unit of a signal line, which says nothing that `wfdb` would take for something else.

    It reads as much of a word as it understands and goes on behind, and takes 200 for a gain of none or 0.
    """
    if words[0].lower().endswith(".hea"):
        raise RefusedRecordError(name, "malformed", f"{words[0]!r} is a header, expected a signal file")
    fmt = _FORMAT.match(words[1]) if len(words) > 1 else None
    is_layout = is_segment and words[:2] == ["~", "0"]  # a segment of no samples: the signals that others have
    if fmt is None or (fmt[0] not in FORMATS and not is_layout):
        raise RefusedRecordError(
            name, "malformed", f"format {' '.join(words[1:2])[:80]!r}, expected one of {', '.join(FORMATS)}"
        )
    if is_segment and not " ".join(words).isascii():
        raise RefusedRecordError(name, "malformed", f"{' '.join(words)[:80]!r} in a segment's header, expected ASCII")
    calibration = _CALIBRATION.fullmatch(words[2] if len(words) > 2 else "")
    if calibration is None or abs(int(calibration[2] or 0)) >= 2**31:
        raise RefusedRecordError(
            name, "malformed", f"{words[2][:80]!r} in the header, expected counts per unit as in 200(0)/mV"
        )
    if not 0 < float(calibration[1] or 0) < math.inf:
        found = f"gain {calibration[1][:80]}" if calibration[1] else "no gain"
        raise RefusedRecordError(name, "uncalibrated", f"{found} in the header, expected counts per unit above 0")
    unit = calibration[3] or "mV"
    if is_segment and not _PLAIN_UNIT.fullmatch(unit):
        raise RefusedRecordError(name, "unknown_unit", f"unit {unit[:80]!r}, expected one of mV, uV, V, nV")
    return unit


def _check_segments(
    header: Path, name: str, count: str, fields: list[str], below: list[list[str]], is_segment: bool
) -> None:
    """A segment is a record of its own; it may not consist of segments again, nor be of another rate or other leads."""
    if is_segment or not re.fullmatch(r"\d{1,9}", count) or int(count) != len(below):
        where = "within a segment" if is_segment else f"of which {len(below)} are named"
        raise RefusedRecordError(name, "malformed", f"the header {header.name} has {count} segments {where}")
    is_fixed = bool(below) and below[0][1:2] != ["0"]  # else the first segment is a layout, of which others have parts
    for segment in sorted({words[0] for words in below} - {"~"}):
        segment_header = header.with_name(f"{segment}.hea")
        if not segment_header.exists():
            continue
        own = _check_header(segment_header, name, is_segment=True).lines[0].split()
        if (is_fixed and own[1:2] != fields[1:2]) or _rate(own) != _rate(fields):
            raise RefusedRecordError(
                name,
                "malformed",
                f"segment {segment} of {' '.join(own[1:3])} (signals, rate), the record of {' '.join(fields[1:3])}",
            )


def _rate(fields: list[str]) -> float:
    """Samples a second of a record line, 250 where it does not say."""
    return float(fields[2].partition("/")[0]) if len(fields) > 2 else 250.0


def _check_claim(header: Path, name: str, fields: list[str], below: list[list[str]], *, is_segmented: bool) -> None:
    """Hold the counts of the record line against the lines below it and the size of the files."""
    channels = int(fields[1]) if len(fields) > 1 and fields[1].isdecimal() else 0
    samples = int(fields[3]) if len(fields) > 3 else 0
    named = {words[0] for words in below}
    if is_segmented:
        formats, files = [], [file for file in header.parent.iterdir() if file.stem in named]
    else:
        if channels != len(below):
            raise RefusedRecordError(name, "unreadable", f"the header says {channels} signals, describes {len(below)}")
        formats, files = [words[1] for words in below if len(words) > 1], [header.with_name(file) for file in named]
    # `16x4:100+24`: samples per frame, skew and byte at which the samples begin.
    per_frame = max([int(match[1]) for text in formats if (match := re.search(r"x(\d+)", text))], default=1)
    skew = max([int(match[1]) for text in formats if (match := re.search(r":(\d+)", text))], default=0)
    held = sum(file.stat().st_size for file in files if file.is_file())
    check_claim(name, 4 * channels * (samples * per_frame + skew), held, f"the header {header.name}")


def _read_with_clean_header(path: Path, header: _Header) -> Any:
    """Let wfdb read the signal beside a header in ASCII whose record line is reduced to what the signal needs."""
    import wfdb

    clean_line = " ".join(["record", *header.lines[0].split()[1:4]])
    with tempfile.TemporaryDirectory() as folder:
        for file_name in header.file_names:
            (Path(folder) / file_name).symlink_to((path.parent / file_name).resolve())
        clean = "\n".join([clean_line, *map(_ascii, header.lines[1:]), ""])
        Path(folder, "record.hea").write_text(clean, encoding="ascii")
        return wfdb.rdrecord(str(Path(folder, "record")), return_res=32, physical=header.units is None)
