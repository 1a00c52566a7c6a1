"""What a file does not say about itself and has to be told; what it does say must not be contradicted.

Axes: L leads, S samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12, canonical_lead
from ecgjepa.units import ADC, MV_PER_UNIT, mv_per_unit, to_mv

# Files round the rate (499.8 Hz for 500 Hz); the file's value is taken.
RATE_TOLERANCE = 0.01


@dataclass(frozen=True)
class Hints:
    """What a file does not say about itself; what the file does say and contradicts is refused.

    Attributes:
        sampling_rate_hz: samples per second.
        leads: names in the order of the file's channels.
        unit: `mV`, `uV`, `V`, `nV`, or `adc` for counts of a converter.
        gain_per_mv: counts per mV, for `adc`.

    Raises:
        ValueError: a value that no file could have.
    """

    sampling_rate_hz: float | None = None
    leads: Sequence[str] | None = None
    unit: str | None = None
    gain_per_mv: float | None = None

    def __post_init__(self) -> None:
        rate, gain = self.sampling_rate_hz, self.gain_per_mv
        if isinstance(self.leads, str):
            raise ValueError(f"hints: leads must be a list of names, found the text {self.leads!r}")
        if self.leads is not None:
            object.__setattr__(self, "leads", tuple(self.leads))
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"hints: sampling_rate_hz must be a positive number, found {rate}")
        if self.leads is not None and (not self.leads or len(set(self.leads)) != len(self.leads)):
            raise ValueError(f"hints: leads must be distinct names, found {self.leads}")
        if self.unit is not None and self.unit.strip().lower() not in {*MV_PER_UNIT, ADC}:
            raise ValueError(f"hints: unit must be one of mV, uV, V, nV, adc, found {self.unit!r}")
        if gain is not None and not (math.isfinite(gain) and gain > 0):
            raise ValueError(f"hints: gain_per_mv must be a positive number, found {gain}")


NO_HINTS = Hints()


def settle_rate(record: str, found_hz: float | None, hints: Hints) -> float:
    """The file's sampling rate, else the one told.

    Raises:
        RefusedRecordError: `unknown_sampling_rate`, or `contradiction` where both are there and differ by over 1 %.
    """
    told_hz = hints.sampling_rate_hz
    if found_hz is None:
        if told_hz is None:
            raise RefusedRecordError(
                record,
                "unknown_sampling_rate",
                "the file does not say its rate, expected --sampling-rate-hz (sampling_rate_hz=)",
            )
        return float(told_hz)
    if told_hz is not None and not abs(found_hz - told_hz) <= RATE_TOLERANCE * told_hz:
        raise RefusedRecordError(record, "contradiction", f"the file says {found_hz:g} Hz, told {told_hz:g} Hz")
    return float(found_hz)


def settle_leads(record: str, found: Sequence[str] | None, hints: Hints) -> tuple[str, ...] | None:
    """The file's lead names, else those told, else None.

    Raises:
        RefusedRecordError: `contradiction` where a lead that was told is not among the file's.
    """
    if found is None:
        return None if hints.leads is None else tuple(hints.leads)
    there = {canonical_lead(name) or name for name in found}
    if absent := [name for name in hints.leads or () if (canonical_lead(name) or name) not in there]:
        raise RefusedRecordError(
            record, "contradiction", f"the file has the leads {', '.join(found)}, told {', '.join(absent)} as well"
        )
    return tuple(found)


def settle_unit(record: str, found: str | None, hints: Hints) -> str:
    """The file's unit, else the one told; never guessed.

    Raises:
        RefusedRecordError: `unknown_unit`, or `contradiction` where both are there and differ.
    """
    if found is None or not found.strip():
        if hints.unit is None:
            raise RefusedRecordError(
                record, "unknown_unit", "the file does not say its unit, expected --unit (unit=) mV, uV, V, nV or adc"
            )
        return hints.unit
    if hints.unit is not None and _size(record, found) != _size(record, hints.unit):
        raise RefusedRecordError(record, "contradiction", f"the file says {found}, told {hints.unit}")
    return found


def calibrate(
    record: str, values: Shaped[ndarray, "leads samples"], units: Sequence[str | None] | str | None, hints: Hints
) -> Float32[ndarray, "leads samples"]:
    """Amplitudes in mV: (L, S) of any number type -> (L, S) float32.

    Args:
        record: name for messages.
        values: as the file holds them.
        units: what the file says, for all leads or for each; None where it does not say.
        hints: unit and gain where the file does not say.

    Raises:
        RefusedRecordError: as `settle_unit` and `ecgjepa.units.to_mv`.
    """
    each = [units] * len(values) if units is None or isinstance(units, str) else list(units)
    settled = [settle_unit(record, unit, hints) for unit in each]
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinite, and no finite sample
        if len(set(settled)) == 1:
            return to_mv(record, values, settled[0], gain_per_mv=hints.gain_per_mv)
        rows = [
            to_mv(record, row, unit, gain_per_mv=hints.gain_per_mv) for row, unit in zip(values, settled, strict=True)
        ]
    return np.stack(rows) if rows else np.zeros(values.shape, np.float32)


def leads_last(record: str, shape: tuple[int, int], leads: tuple[str, ...] | None) -> tuple[bool, tuple[str, ...]]:
    """Whether a two-dimensional array is (S, L) and not (L, S), and the names of its leads.

    The axis of the leads is known by their number. Without names, twelve channels are taken to be in the field's usual
    order: I, II, III, aVR, aVL, aVF, V1-V6.

    Raises:
        RefusedRecordError: `unknown_leads`, or `malformed` where neither axis has as many entries as there are names.
    """
    if leads is None:
        if len(LEADS_12) not in shape:
            raise RefusedRecordError(
                record, "unknown_leads", f"the file does not name its leads, shape {shape}, expected --leads (leads=)"
            )
        leads = LEADS_12
    if len(leads) not in shape:
        raise RefusedRecordError(record, "malformed", f"shape {shape}, expected {len(leads)} leads on one axis")
    return shape[0] != len(leads), leads


def _size(record: str, unit: str) -> float | str:
    return ADC if unit.strip().lower() == ADC else mv_per_unit(record, unit)
