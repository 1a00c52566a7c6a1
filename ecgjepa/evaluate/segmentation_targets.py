"""Which wave every sample of a store belongs to, from the annotation files beside the records.

A sample of the file is the sample of the store at the same time: the mask goes through the same cut and the same change
of rate as the signal did. What lies before the first and after the last wave of a lead is not annotated, and counts
neither in learning nor in scores, as is usual with LUDB, whose cardiologists left out the ends of the records.

Axes: N records of the store that take part, L leads and S samples of its contract.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int8, Int64, Shaped
from numpy import ndarray

from ecgjepa.data.formats.annotations import Wave, WaveKind, read_waves
from ecgjepa.data.listings.splits import split_of_patient
from ecgjepa.data.readers import read
from ecgjepa.data.store import Store
from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.divided_records import DividedRecords, leaving_out, patients_of, splits_of
from ecgjepa.windows import take_windows

# Values of a mask; the numbers from 0 are the places of `WAVE_CLASSES`.
NOT_ANNOTATED, NONE = -1, 0
WAVE_CLASSES = ("none", "P", "QRS", "T")
_VALUES: dict[WaveKind, int] = {"P": 1, "QRS": 2, "T": 3}
# Of train, validation and test, where a store has no split.
SHARES = (5 / 8, 1 / 8, 1 / 4)
# What is read again must be what was prepared, up to the rounding of the store, whose samples do not reach further.
_SAME_MV, LIMIT_MV = 0.002, 32.767
_SHOWN = 5


@dataclass(frozen=True)
class SegmentationTargets(DividedRecords):
    """Records of a store whose waves are marked.

    Attributes:
        rows_N, patients_N, split_N, left_out, warnings: as of `DividedRecords`.
        mask_NLS: places in `WAVE_CLASSES`, or `NOT_ANNOTATED`.
    """

    rows_N: Int64[ndarray, "n"]
    mask_NLS: Int8[ndarray, "n l s"]
    patients_N: Shaped[ndarray, "n"]
    split_N: Shaped[ndarray, "n"]
    left_out: dict[str, int]
    warnings: tuple[str, ...] = ()


def read_segmentation(store: Store, folder: Path | str, *, seed: int = 0) -> SegmentationTargets:
    """Masks from a folder as LUDB has it, `data/1.hea` beside `data/1.i`, `data/1.ii`, ...

    A lead whose annotation file is absent or refused is not annotated, which a warning says; a record without an
    annotated lead is left out and counted.

    Args:
        store: of the records in the folder; they are called like their headers.
        folder: the data set, or its folder `data`.
        seed: of the split by a hash of the patient's name (5/8 train, 1/8 validation, 1/4 test), which is made where
            the store has none.

    Raises:
        ValueError: no record of the store is there or annotated, or one has another signal in the folder.
    """
    root = Path(folder) / "data" if (Path(folder) / "data").is_dir() else Path(folder)
    records = store.records["record"].tolist()
    mask_NLS = np.full(store.signals.shape, NOT_ANNOTATED, np.int8)
    absent_N = np.zeros(len(store), dtype=bool)
    refusals: list[str] = []
    for row, record in enumerate(records):
        header = root / f"{record}.hea"
        if not header.is_file():
            absent_N[row] = True
            continue
        mask_NLS[row], refused = _mask(store, row, header)
        refusals += refused
    if absent_N.all():
        raise ValueError(f"waves: none of the store's records ({', '.join(records[:3])}) is in {root}")
    unmarked_N = (mask_NLS == NOT_ANNOTATED).all(axis=(1, 2)) & ~absent_N
    splits_N, warnings = splits_of(store), []
    if not splits_N.any():
        splits_N = np.array([split_of_patient(name, seed, SHARES) for name in patients_of(store)], dtype=object)
        warnings.append(f"The store has no split: patients were divided 5/8, 1/8, 1/4 by a hash of seed {seed}.")
    if refusals:
        more = ", ..." if len(refusals) > _SHOWN else ""
        warnings.append(f"{len(refusals)} leads count as not annotated: {', '.join(refusals[:_SHOWN])}{more}")
    every = SegmentationTargets(np.arange(len(store)), mask_NLS, patients_of(store), splits_N, {}, tuple(warnings))
    targets = leaving_out(every, {"not in the folder": absent_N, "no lead annotated": unmarked_N})
    if not len(targets):
        first = f"; {refusals[0]}" if refusals else ""
        raise ValueError(f"waves: no record in {root} has an annotated lead and a split: {targets.left_out}{first}")
    return targets


def wave_mask(
    waves: Sequence[Wave], start_s: float, source_rate_hz: float, sampling_rate_hz: float, samples: int
) -> Int8[ndarray, "samples"]:
    """The waves of a lead as a mask of another window and rate.

    Each sample of the mask is looked up in the file at the nearest sample.

    Args:
        waves: in samples of the file, one after the other.
        start_s: where the window begins in the file.
        source_rate_hz: of the file.
        sampling_rate_hz: of the mask.
        samples: of the mask.
    """
    if not waves:
        return np.full(samples, NOT_ANNOTATED, np.int8)
    time_s_S = start_s + np.arange(samples) / sampling_rate_hz
    source_S = np.floor(time_s_S * source_rate_hz + 0.5).astype(np.int64)
    mask_S = np.where((source_S < waves[0].onset) | (source_S > waves[-1].offset), NOT_ANNOTATED, NONE)
    for wave in waves:
        first, last = np.searchsorted(source_S, [wave.onset, wave.offset + 1])
        mask_S[first:last] = _VALUES[wave.kind]
    return mask_S.astype(np.int8)


def _mask(store: Store, row: int, header: Path) -> tuple[Int8[ndarray, "l s"], list[str]]:
    """The mask of one record, and what was refused of it."""
    contract = store.contract
    recording = read(header)
    window = take_windows(recording, contract)[0]
    signal_mv_LS = store.signals_mv([row])[0]
    same = [contract.leads.index(lead) for lead in window.leads]
    if not np.allclose(np.clip(window.signal_mv, -LIMIT_MV, LIMIT_MV), signal_mv_LS[same], atol=_SAME_MV):
        raise ValueError(f"waves: record {header.stem} in {header.parent} has another signal than in {store.path}")
    mask_LS = np.full(signal_mv_LS.shape, NOT_ANNOTATED, np.int8)
    refused: list[str] = []
    for place, lead in enumerate(contract.leads):
        try:
            waves = read_waves(header, lead)
        except RefusedRecordError as refusal:
            refused.append(str(refusal))
            continue
        mask_LS[place] = wave_mask(
            waves, window.start_s, recording.sampling_rate_hz, contract.sampling_rate_hz, contract.samples
        )
    return mask_LS, refused
