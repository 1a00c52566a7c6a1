"""Heart rate of the records of a store, measured from their signals.

QRS complexes are found by XQRS of the package `wfdb` (band-pass 5-20 Hz, moving wave integration, adaptive threshold),
in lead II or, where that is flat or shows fewer than three beats, in the next lead of `LEAD_ORDER`. The rate is 60 over
the median interval between them, so that a beat that is missed, or found twice, does not count for much. One core takes
about 15 s for 1,000 records of 10 s.

Axes: N records, L leads, S samples, B beats.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, Float64, Int64
from numpy import ndarray

from ecgjepa.data.preparing.engines import local
from ecgjepa.data.store import SIGNALS, Store
from ecgjepa.files import atomic_path
from ecgjepa.windows import FLAT_MV

LEAD_ORDER = ("II", "I", "V5", "V6", "V4", "V3", "V2", "V1", "aVF", "aVR", "III", "aVL")
MIN_BEATS = 3
PLAUSIBLE_BPM = (20.0, 300.0)
# Changes with how it is measured, so that nothing measured otherwise is found in a cache.
VERSION = 1
_RECORDS_A_PIECE = 256


def heart_rate(
    signal_mv_LS: Float[ndarray, "leads samples"], leads: Sequence[str], sampling_rate_hz: float
) -> tuple[float, str] | None:
    """Beats per minute, and the lead in which they were counted; None where no lead shows three at a plausible rate."""
    for lead in (lead for lead in LEAD_ORDER if lead in leads):
        lead_mv_S = signal_mv_LS[list(leads).index(lead)]
        if not np.isfinite(lead_mv_S).all() or np.ptp(lead_mv_S) < FLAT_MV:
            continue
        beats_B = find_beats(lead_mv_S, sampling_rate_hz)
        if len(beats_B) < MIN_BEATS:
            continue
        bpm = float(60 * sampling_rate_hz / np.median(np.diff(beats_B)))
        return (bpm, lead) if PLAUSIBLE_BPM[0] <= bpm <= PLAUSIBLE_BPM[1] else None
    return None


def find_beats(lead_mv_S: Float[ndarray, "samples"], sampling_rate_hz: float) -> Int64[ndarray, "beats"]:
    """Samples of the QRS complexes of one lead, rising."""
    from wfdb.processing import XQRS

    detector = XQRS(sig=np.asarray(lead_mv_S, dtype=np.float64), fs=sampling_rate_hz)
    detector.detect(verbose=False)
    return np.asarray(detector.qrs_inds, dtype=np.int64)


def measure_heart_rates(
    store: Store, *, workers: int = 1, cache_dir: Path | str | None = None
) -> Float64[ndarray, "records"]:
    """Beats per minute of every row of a store; NaN where there is none, see `heart_rate`.

    Args:
        workers: processes; with one, this process does it.
        cache_dir: a folder in which the result is kept for a store with the same signals.

    Raises:
        ValueError: the store has none of the leads, or the cache holds something else.
        PrepareError: a process was ended from outside.
    """
    if not set(LEAD_ORDER) & set(store.contract.leads):
        raise ValueError(f"heart rate: the store has leads {store.contract.leads}, expected one of {LEAD_ORDER}")
    cached = None if cache_dir is None else Path(cache_dir) / f"heart_rate-{_key(store)}.parquet"
    if cached is not None and cached.is_file():
        return _read(cached, len(store))
    pieces = range(-(-len(store) // _RECORDS_A_PIECE))
    work = functools.partial(_measure_piece, store)
    measured = dict(local(work, pieces, min(workers, len(pieces))))
    found = [each for number in pieces for each in measured[number]]
    bpm_N = np.array([np.nan if each is None else each[0] for each in found], dtype=np.float64)
    if cached is not None:
        cached.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame({"bpm": bpm_N, "lead": [None if each is None else each[1] for each in found]})
        with atomic_path(cached) as path:
            table.to_parquet(path, index=False)
    return bpm_N


def _measure_piece(store: Store, number: int) -> list[tuple[float, str] | None]:
    rows = np.arange(number * _RECORDS_A_PIECE, min((number + 1) * _RECORDS_A_PIECE, len(store)))
    signals_mv: Float32[ndarray, "n l s"] = store.signals_mv(rows)
    return [heart_rate(each, store.contract.leads, store.contract.sampling_rate_hz) for each in signals_mv]


def _key(store: Store) -> str:
    """A name for signals and method: the checksum of the rows, which does not know their leads and rate."""
    leads = "".join(store.contract.leads)
    return f"{store.info['checksums'][SIGNALS][:16]}-{leads}-{store.contract.sampling_rate_hz}-v{VERSION}"


def _read(cached: Path, records: int) -> Float64[ndarray, "records"]:
    try:
        bpm_N = pd.read_parquet(cached, columns=["bpm"])["bpm"].to_numpy(dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{cached} cannot be read as heart rates: {error}; remove it to measure again") from error
    if len(bpm_N) != records:
        raise ValueError(f"{cached} has {len(bpm_N)} rows, expected {records}; remove it to measure again")
    return bpm_N
