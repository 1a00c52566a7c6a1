"""Units of amplitude: whatever a file or an array is in, in millivolts; what is not known is refused by name."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Shaped
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError

MV_PER_UNIT = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nv": 1e-6}
# Long spellings of standards and vendors.
MV_PER_UNIT |= {"millivolt": 1.0, "millivolts": 1.0, "microvolt": 1e-3, "microvolts": 1e-3, "volt": 1e3, "volts": 1e3}
ADC = "adc"


def mv_per_unit(record: str, unit: str) -> float:
    """How many mV one `unit` is: mV, uV (µV), V or nV, in any case.

    Raises:
        RefusedRecordError: `unknown_unit`.
    """
    try:
        return MV_PER_UNIT[unit.strip().lower()]
    except KeyError:
        raise RefusedRecordError(record, "unknown_unit", f"unit {unit!r}, expected one of mV, uV, V, nV") from None


def to_mv(
    record: str,
    values: Shaped[ndarray, "*shape"],
    unit: str,
    *,
    gain_per_mv: float | Sequence[float] | None = None,
    baseline: float | Sequence[float] = 0.0,
) -> Float32[ndarray, "*shape"]:
    """Amplitudes in mV, float32.

    Args:
        record: name for messages.
        values: numbers of any type, (..., L, S).
        unit: `mV`, `uV`, `V`, `nV`, or `adc` for counts of a converter.
        gain_per_mv: counts per mV, one number or one per lead; needed for `adc`, and for nothing else.
        baseline: counts at 0 mV, one number or one per lead.

    Raises:
        RefusedRecordError: `unknown_unit`; `uncalibrated` for counts without a gain, or a gain of zero; `malformed` for
            values that are no real numbers, or a gain where none belongs.
    """
    if values.dtype.kind not in "iuf":
        raise RefusedRecordError(record, "malformed", f"samples of type {values.dtype}, expected real numbers")
    if unit.strip().lower() != ADC:
        if gain_per_mv is not None:
            raise RefusedRecordError(record, "malformed", f"a gain for samples in {unit}, expected unit {ADC!r}")
        factor = mv_per_unit(record, unit)
        return values.astype(np.float32) if factor == 1 else (values * np.float64(factor)).astype(np.float32)
    gain_L = np.asarray(0.0 if gain_per_mv is None else gain_per_mv, dtype=np.float64)
    if not (np.isfinite(gain_L).all() and (gain_L > 0).all()):
        raise RefusedRecordError(
            record, "uncalibrated", f"converter counts with gain {gain_per_mv}, expected counts per mV above 0"
        )
    per_lead = [np.asarray(each, dtype=np.float64) for each in (gain_L, baseline)]
    gain, zero = (each[:, None] if each.ndim else each for each in per_lead)
    return ((values - zero) / gain).astype(np.float32)
