"""Waves that somebody marked in a WFDB record: one annotation file a lead, `1.i 1.ii ... 1.v6`, as LUDB has them.

Every wave is three annotations: `(` where it begins, `p`, `N` or `t` at its peak, `)` where it ends (Kalyakulina et
al., "LUDB: a new open-access validation tool for electrocardiogram delineation algorithms", IEEE Access 8 (2020)).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ecgjepa.data.formats.claims import check_size
from ecgjepa.errors import RefusedRecordError

WaveKind = Literal["P", "QRS", "T"]

SYMBOLS: dict[str, WaveKind] = {"p": "P", "N": "QRS", "t": "T"}
# Of an annotation file; one of LUDB has some hundred bytes.
MAX_BYTES = 2**24


@dataclass(frozen=True)
class Wave:
    """One wave of a lead; samples of the record as it lies in its file, counted from 0, onset and offset included."""

    kind: WaveKind
    onset: int
    peak: int
    offset: int


def read_waves(header: Path, lead: str) -> list[Wave]:
    """The waves of one lead, in the order of time.

    Args:
        header: of the record (`data/1.hea`, or without suffix).
        lead: standard name; the file is called like it, in small letters.

    Raises:
        RefusedRecordError: `file_absent`, `unreadable`, or `malformed`: another symbol, a wave that is not `(`, symbol,
            `)`, or waves that overlap.
    """
    import wfdb

    stem = header.with_suffix("") if header.suffix == ".hea" else header
    file = stem.with_name(f"{stem.name}.{lead.lower()}")
    name = f"{stem.name}, lead {lead}"
    if not file.is_file():
        raise RefusedRecordError(name, "file_absent", f"no annotation file {file.name}")
    check_size(name, file, MAX_BYTES, f"the annotation file {file.name}")
    try:
        found = wfdb.rdann(str(stem), lead.lower())
        samples, symbols = [int(sample) for sample in found.sample], [str(symbol) for symbol in found.symbol]
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise RefusedRecordError(name, "unreadable", f"{file.name} is no annotation file: {error}") from error
    return _waves(name, samples, symbols)


def write_waves(file: Path, waves: Sequence[Wave]) -> None:
    """Write an annotation file that `read_waves` reads; `wfdb` itself writes none with a name such as `1.v1`.

    Args:
        waves: one after the other, at least one.
    """
    import wfdb

    letter_of = {kind: symbol for symbol, kind in SYMBOLS.items()}
    samples = [sample for wave in waves for sample in (wave.onset, wave.peak, wave.offset)]
    symbols = [symbol for wave in waves for symbol in ("(", letter_of[wave.kind], ")")]
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        wfdb.wrann("record", "waves", np.array(samples), symbols, write_dir=folder)
        Path(folder, "record.waves").replace(file)


def _waves(name: str, samples: list[int], symbols: list[str]) -> list[Wave]:
    if unknown := sorted({*symbols} - {"(", ")", *SYMBOLS}):
        raise RefusedRecordError(name, "malformed", f"symbol {unknown[0]!r}, expected ( {' '.join(SYMBOLS)} )")
    waves: list[Wave] = []
    for first in range(0, len(symbols), 3):
        some = "".join(symbols[first : first + 3])
        if len(some) != 3 or (some[0], some[2]) != ("(", ")") or some[1] not in SYMBOLS:
            raise RefusedRecordError(
                name, "malformed", f"{some!r} at sample {samples[first]}, expected a wave such as '(N)'"
            )
        wave = Wave(SYMBOLS[some[1]], *samples[first : first + 3])
        if not (waves[-1].offset if waves else -1) < wave.onset <= wave.peak <= wave.offset:
            raise RefusedRecordError(
                name, "malformed", f"a {wave.kind} from {wave.onset} over {wave.peak} to {wave.offset} after "
                f"{waves[-1].offset if waves else 'nothing'}, expected waves one after the other"
            )  # fmt: skip
        waves.append(wave)
    return waves
