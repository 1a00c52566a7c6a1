"""Tables of text (CSV): a column per lead, a row per sample; rate and unit from the file where it says them.

Axes: L leads, S samples.
"""

import gzip
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from ecgjepa.data.formats.claims import FREE_BYTES, MAX_EXPANSION, check_size
from ecgjepa.data.formats.hints import RATE_TOLERANCE, Hints, calibrate, settle_leads, settle_rate
from ecgjepa.data.formats.words import number
from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import canonical_lead
from ecgjepa.signal import Recording

# A day of twelve leads at 250 Hz is 2 GB as text.
MAX_BYTES = 4 * 2**30
MAX_UNPACKED_BYTES = 512 * 2**20
SEPARATORS = ",;\t"
# The row of names: a patient monitor exports some hundred columns.
MAX_HEADING_BYTES = 2**20
MAX_COLUMNS = 10_000
MAX_TITLE = 200
MAX_COMMENTS = 10_000

_COMMENT = re.compile(r"#\s*(sampling_rate_hz|fs|unit)\s*[:=]\s*(\S+)\s*$", re.IGNORECASE)
_WITH_UNIT = re.compile(r"^(?P<name>.*?)\s*(?:\[(?P<square>[^\]]*)\]|\((?P<round>[^)]*)\))$")
_TIME = re.compile(r"^(time|t|seconds|sec)$")
_TIME_WITH_UNIT = re.compile(r"^(?:time|t)_(s|ms|us)$")
_SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}


@dataclass(frozen=True)
class Column:
    """What the name of a column says: a lead and perhaps its unit, or the time in seconds per count."""

    name: str
    unit: str | None
    seconds: float | None

    @property
    def is_lead(self) -> bool:
        return canonical_lead(self.name) is not None


def read_table(path: Path, name: str, hints: Hints) -> Recording:
    """Read a table with a row of column names; separated by comma, semicolon or tab, with a decimal point.

    A unit may stand in a name, as in `I [mV]`; a column `time`, `time_s` or `time_ms` gives the rate. Lines with `#`
    before the names may say `sampling_rate_hz: 500` and `unit: mV`. Columns of other names are left out; empty cells
    are NaN.

    Raises:
        RefusedRecordError: `not_an_ecg`, `malformed`, `no_signals`, `unknown_sampling_rate`, `unknown_unit`,
            `uncalibrated` or `contradiction`.
    """
    content = _content(path, name)
    said, heading, body = _split(content, name)
    separator = max(SEPARATORS, key=heading.count)
    if "\0" in heading or heading.count(separator) >= MAX_COLUMNS:
        found = "NUL bytes" if "\0" in heading else f"{heading.count(separator) + 1} columns"
        raise RefusedRecordError(
            name, "malformed", f"{found} in the row of names, expected UTF-8 and at most {MAX_COLUMNS} columns"
        )
    columns = [_column(cell) for cell in heading.split(separator)]
    places = [place for place, column in enumerate(columns) if column.is_lead]
    if not places:
        shown = ", ".join(column.name for column in columns[:8]) + ", ..." * (len(columns) > 8)
        raise RefusedRecordError(name, "not_an_ecg", f"no column is named after a lead, nor path, found {shown!r}")
    leads = tuple(columns[place].name for place in places)
    settle_leads(name, leads, hints)
    values_SC = _numbers(body, separator, len(columns), name)
    times = [place for place, column in enumerate(columns) if column.seconds is not None]
    rate_hz = number(name, "sampling_rate_hz", said.get("sampling_rate_hz", said.get("fs")))
    if times:
        rate_hz = _rate_of(values_SC[:, times[0]] * (columns[times[0]].seconds or 1.0), rate_hz, name)
    rate_hz = settle_rate(name, rate_hz, hints)
    units = [columns[place].unit or said.get("unit") for place in places]
    signal_mv = calibrate(name, np.ascontiguousarray(values_SC[:, places].T), units, hints)
    return Recording(name, signal_mv, leads, rate_hz)


def _content(path: Path, name: str) -> bytes:
    check_size(name, path, MAX_BYTES, "a table")
    if path.suffix.lower() != ".gz":
        return path.read_bytes()
    limit = min(MAX_UNPACKED_BYTES, max(FREE_BYTES, MAX_EXPANSION * path.stat().st_size))
    parts, unpacked = [], 0
    with gzip.open(path) as file:
        while part := file.read(2**20):
            parts.append(part)
            unpacked += len(part)
            if unpacked > limit:
                raise RefusedRecordError(
                    name, "malformed", f"unpacks to more than {limit // 2**20} MiB, expected a table of one ECG"
                )
    return b"".join(parts)


def _split(content: bytes, name: str) -> tuple[dict[str, str], str, bytes]:
    """What the comments say, the row of names, and all that follows."""
    said: dict[str, str] = {}
    comments = 0
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    while start < len(content):
        end = content.find(b"\n", start) % (len(content) + 1)
        comments += 1
        if end - start > MAX_HEADING_BYTES or comments > MAX_COMMENTS:
            raise RefusedRecordError(
                name,
                "malformed",
                f"{comments} lines and one of {end - start} bytes before the samples, expected a row of names",
            )
        line = content[start:end].decode("utf-8", errors="replace").strip()
        start = end + 1
        if line.startswith("#"):
            if match := _COMMENT.match(line):
                said[match[1].lower()] = match[2]
        elif line:
            return said, line, content[start:]
    return said, "", b""


def _column(cell: str) -> Column:
    title = cell.strip().strip("\"'").strip()
    match = _WITH_UNIT.match(title) if len(title) <= MAX_TITLE else None
    name, unit = (match["name"], (match["square"] or match["round"] or "").strip()) if match else (title, "")
    if canonical_lead(title) is not None:  # `Lead I (Einthoven)`: no unit
        return Column(title, None, None)
    key = name.lower()
    if plain := _TIME.match(key):
        found = unit.lower() or ("s" if plain[1] in ("time", "t") else plain[1])
        return Column(name, None, _SECONDS_PER_UNIT.get(found))
    if with_unit := _TIME_WITH_UNIT.match(key):
        return Column(name, None, _SECONDS_PER_UNIT[with_unit[1]])
    return Column(name, unit or None, None)


def _numbers(body: bytes, separator: str, columns: int, name: str) -> Float64[ndarray, "samples columns"]:
    import pandas as pd

    first = re.split(rb"[\r\n]", body[: body.find(b"\n") % (len(body) + 1)], maxsplit=1)[0]
    if (found := first.count(separator.encode()) + 1) > columns:  # pandas would take the others for names of the row
        raise RefusedRecordError(name, "malformed", f"{found} cells in the first row, expected {columns}")
    try:
        table = pd.read_csv(
            io.BytesIO(body.rstrip()),  # an empty line within is a gap, not nothing
            skip_blank_lines=False,
            sep=separator,
            header=None,
            names=range(columns),
            dtype=np.float64,
            encoding="latin-1",
            skipinitialspace=True,
        )
    except ValueError as error:  # pandas.errors.ParserError among them
        raise RefusedRecordError(
            name, "malformed", f"expected {columns} numbers with a point a row: {error}"
        ) from error
    if not len(table):
        raise RefusedRecordError(name, "no_signals", "a row of names and no samples below")
    cells = body.count(separator.encode())
    if cells != len(table) * (columns - 1):
        raise RefusedRecordError(
            name,
            "malformed",
            f"{len(table)} rows of {columns} columns with {cells} separators, so a row is cut or torn",
        )
    return table.to_numpy()


def _rate_of(time_S: Float64[ndarray, "samples"], said_hz: float | None, name: str) -> float:
    """The rate of a time column, uniform to 1 % and the decimals it is written with."""
    steps = np.diff(time_S)
    span_s = float(time_S[-1] - time_S[0]) if len(time_S) > 1 else np.nan
    if not (np.isfinite(steps).all() and span_s > 0):
        raise RefusedRecordError(name, "malformed", "a time column that does not rise, expected one time a sample")
    step_s = span_s / len(steps)
    resolution_s = next((10.0**-k for k in range(10) if np.allclose(time_S, time_S.round(k), rtol=0, atol=1e-11)), 0.0)
    uneven = np.abs(steps - step_s) > RATE_TOLERANCE * step_s + min(resolution_s, step_s / 2)
    if uneven.any():
        row = int(uneven.argmax())
        raise RefusedRecordError(
            name,
            "malformed",
            f"a step of {steps[row]:g} s after row {row + 1} of the time column, expected {step_s:g} s",
        )
    rate_hz = 1 / step_s
    if said_hz is not None and not abs(rate_hz - said_hz) <= RATE_TOLERANCE * said_hz:
        raise RefusedRecordError(
            name, "malformed", f"a time column of {rate_hz:g} Hz in a file that says {said_hz:g} Hz"
        )
    if said_hz is not None:
        return said_hz
    whole_hz = round(rate_hz)  # 360.04 Hz, where times are written in whole milliseconds
    return float(whole_hz) if abs(rate_hz - whole_hz) <= rate_hz * (2 * resolution_s / span_s + 1e-9) else rate_hz
