"""WFDB (PhysioNet): a header `.hea` beside its signal files; units from the header.

The common layout is read from the bytes (`wfdb_bytes`), all else by the package `wfdb`, after checks of what its header
claims.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.data.formats.claims import check_claim
from ecgjepa.data.formats.hints import Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.wfdb_bytes import check_sums, read_common
from ecgjepa.errors import RefusedRecordError
from ecgjepa.signal import Recording


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

    record_line, file_names = _check_header(path, name)
    if absent := sorted(
        file
        for file in file_names  # signal files, or the headers of segments by their names
        if not (path.parent / file).exists() and not (path.parent / f"{file}.hea").exists()
    ):
        raise RefusedRecordError(name, "file_absent", f"{absent[0]} is not there, which the header {path.name} names")
    is_segmented = "/" in record_line.split()[0]
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")), return_res=32, physical=is_segmented)
    except ValueError:
        record = _read_with_clean_header(path, record_line, file_names)
    if record.d_signal is not None:
        _check_sums(record, name)
        record.dac(return_res=32, inplace=True)
    if record.p_signal is None or record.n_sig == 0:
        raise RefusedRecordError(name, "no_signals", "the header lists no signals, expected ECG leads")
    if record.p_signal.shape[0] != record.sig_len:
        raise RefusedRecordError(
            name, "unreadable", f"{record.p_signal.shape[0]} samples in the file, expected {record.sig_len}"
        )
    rate_hz = settle_rate(name, float(record.fs), hints)
    leads = tuple(lead or "" for lead in record.sig_name)
    settle_leads(name, leads, hints)
    signal_mv = np.ascontiguousarray(calibrate(name, record.p_signal.T, record.units, hints))
    return Recording(name, signal_mv, leads, rate_hz, tuple(record.comments))


def _check_sums(record: Any, name: str) -> None:
    """What the header says of the samples, where it says it and one frame is one sample."""
    if max(record.samps_per_frame, default=1) == 1 and not any(record.skew or ()):
        said = [None if None in (values or [None]) else values for values in (record.init_value, record.checksum)]
        check_sums(name, record.d_signal.T, tuple(record.sig_name), *said)


def _check_header(header: Path, name: str, *, is_segment: bool = False) -> tuple[str, set[str]]:
    """The record line and the names of the files it names, which must lie beside the header."""
    text = header.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        raise RefusedRecordError(name, "malformed", f"the header {header.name} is empty")
    fields = lines[0].split()
    if len(fields) > 2 and not re.fullmatch(r"\d+\.?\d*(/.*)?", fields[2]):
        raise RefusedRecordError(name, "malformed", f"sampling rate {fields[2]!r} in the header, expected a number")
    if len(fields) > 3 and not fields[3].isdecimal():
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
    if segments:
        _check_segments(header, name, segments, below, is_segment)
    elif any(len(words) > 2 and re.match(r"0+(\.0*)?(?![\d.])", words[2]) for words in below):
        raise RefusedRecordError(name, "uncalibrated", "gain 0 in the header: its amplitude is not known")
    _check_claim(header, name, fields, below, is_segmented=bool(segments))
    return lines[0], file_names


def _check_segments(header: Path, name: str, count: str, below: list[list[str]], is_segment: bool) -> None:
    """A segment is a record of its own; it may not consist of segments again."""
    if is_segment or not count.isdecimal() or int(count) != len(below):
        where = "within a segment" if is_segment else f"of which {len(below)} are named"
        raise RefusedRecordError(name, "malformed", f"the header {header.name} has {count} segments {where}")
    for segment in sorted({words[0] for words in below} - {"~"}):
        segment_header = header.with_name(f"{segment}.hea")
        if segment_header.is_file():
            _check_header(segment_header, name, is_segment=True)


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


def _read_with_clean_header(header: Path, record_line: str, file_names: set[str]):  # type: ignore[no-untyped-def]
    """Let wfdb read the signal beside a copy of the header whose record line is reduced to what the signal needs."""
    import wfdb

    text = header.read_text(encoding="utf-8", errors="replace")
    clean_line = " ".join(["record", *record_line.split()[1:4]])
    with tempfile.TemporaryDirectory() as folder:
        for file_name in file_names:
            (Path(folder) / file_name).symlink_to((header.parent / file_name).resolve())
        Path(folder, "record.hea").write_text(text.replace(record_line, clean_line, 1), encoding="utf-8")
        is_segmented = "/" in record_line.split()[0]
        return wfdb.rdrecord(str(Path(folder, "record")), return_res=32, physical=is_segmented)
