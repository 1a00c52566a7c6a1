"""The signal contract: which leads, at which rate, for how long, in which unit; and the one way to get there.

Every signal enters through `standardize()`: in preparing, training, evaluation and serving.

Axes: L leads, S samples.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_8, LEADS_12, LIMB_LEADS, canonical_lead

Resampling = Literal["polyphase", "fft"]

# Zeros on every lead at an end of a record are padding, not signal; this much of it is forgiven.
PADDING_TOLERANCE_S = 0.03
# A lead that moves less than this between its extremes carries no signal.
FLAT_MV = 1e-6
# A standard 12-lead ECG has a median peak-to-peak amplitude of 1-2 mV; outside of this range the header's gain is in
# doubt.
PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV = (0.05, 20.0)

# Below, no QRS is left; above, the header is in error.
PLAUSIBLE_SAMPLING_RATE_HZ = (50.0, 20_000.0)


@dataclass(frozen=True)
class SignalContract:
    """What a model expects of its input: leads by name, sampling rate, duration, mV, and how to resample.

    No filter and no normalisation is applied (arXiv:2410.08559, section 4.1).
    """

    leads: tuple[str, ...] = LEADS_8
    sampling_rate_hz: int = 250
    seconds: float = 10.0
    unit: Literal["mV"] = "mV"
    resampling: Resampling = "polyphase"

    def __post_init__(self) -> None:
        unknown = [lead for lead in self.leads if lead not in LEADS_12]
        if unknown or not self.leads or len(set(self.leads)) != len(self.leads):
            raise ValueError(f"contract: leads must be distinct names of {LEADS_12}, found {self.leads}")
        if self.unit != "mV":
            raise ValueError(f"contract: unit must be 'mV', found {self.unit!r}")
        if self.resampling not in get_args(Resampling):
            raise ValueError(f"contract: resampling must be one of {get_args(Resampling)}, found {self.resampling!r}")
        if not (self.sampling_rate_hz > 0 and self.seconds > 0) or not self._whole_samples():
            raise ValueError(
                "contract: sampling_rate_hz and seconds must be positive and give a whole number of samples, "
                f"found {self.sampling_rate_hz} Hz and {self.seconds} s"
            )

    def _whole_samples(self) -> bool:
        return float(self.sampling_rate_hz * self.seconds).is_integer()

    @property
    def samples(self) -> int:
        """Samples per lead."""
        return int(self.sampling_rate_hz * self.seconds)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "leads": list(self.leads)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "SignalContract":
        """Raises ValueError for a key that no contract has, or a value out of range."""
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(set(values) - known):
            raise ValueError(f"contract: unknown keys {unknown}, expected some of {sorted(known)}")
        return cls(**{**values, "leads": tuple(values.get("leads", LEADS_8))})


DEFAULT_CONTRACT = SignalContract()
PUBLISHED_CONTRACT = SignalContract(resampling="fft")


@dataclass(frozen=True)
class Recording:
    """One ECG as a reader found it, in mV, before anything was done to it.

    Attributes:
        name: what the record is called in every message and table.
        signal_mv: (L, S) samples in mV; NaN where the file says a sample is invalid.
        leads: L names as written in the file.
        sampling_rate_hz: samples per second, 50 to 20,000.
        comments: free text lines of the header (age, sex, diagnoses).
    """

    name: str
    signal_mv: Float[ndarray, "leads samples"]
    leads: tuple[str, ...]
    sampling_rate_hz: float
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.signal_mv.ndim != 2 or len(self.leads) != self.signal_mv.shape[0]:
            raise RefusedRecordError(
                self.name,
                "malformed",
                f"{len(self.leads)} lead names for a signal of shape {self.signal_mv.shape}, expected (leads, samples)",
            )
        low, high = PLAUSIBLE_SAMPLING_RATE_HZ
        if not low <= self.sampling_rate_hz <= high:
            found = f"sampling rate {self.sampling_rate_hz} Hz, expected {low:g} to {high:g} Hz"
            raise RefusedRecordError(self.name, "malformed", found)


@dataclass(frozen=True)
class StandardizedSignal:
    """A recording brought to a contract.

    Attributes:
        signal_mv: (L, S) float32 in mV, leads and samples as the contract says.
        changes: what was done, in the words of the account: `resampled`, `cropped`, `padding_removed`,
            `derived_limb_leads`.
        flags: what to know about it: `flat_lead:V3`, `amplitude_low`, `amplitude_high`.
    """

    signal_mv: Float32[ndarray, "leads samples"]
    changes: tuple[str, ...] = field(default=())
    flags: tuple[str, ...] = field(default=())


def standardize(recording: Recording, contract: SignalContract = DEFAULT_CONTRACT) -> StandardizedSignal:
    """Bring one recording to the contract, or refuse it by name.

    In this order: pick the leads by name (I and II are derived from any two limb leads), drop zero padding at both
    ends, take the first `contract.seconds`, refuse what is not finite or flat on every lead, resample.

    Raises:
        RefusedRecordError: `missing_lead`, `duplicate_lead`, `short`, `padded`, `not_finite` or `flat`.
    """
    changes: list[str] = []
    signal_mv, derived = _select_leads(recording, contract.leads)
    if derived:
        changes.append("derived_limb_leads")
    signal_mv = _take_window(recording, signal_mv, contract, changes)
    if not np.isfinite(signal_mv).all():
        count, total = int((~np.isfinite(signal_mv)).sum()), signal_mv.size
        raise RefusedRecordError(recording.name, "not_finite", f"{count} of {total} samples are not finite numbers")
    peak_to_peak_L = np.ptp(signal_mv, axis=1)
    if (peak_to_peak_L < FLAT_MV).all():
        raise RefusedRecordError(recording.name, "flat", "every lead is constant, expected an ECG")
    flags = [f"flat_lead:{lead}" for lead, mv in zip(contract.leads, peak_to_peak_L, strict=True) if mv < FLAT_MV]
    low, high = PLAUSIBLE_MEDIAN_PEAK_TO_PEAK_MV
    if (median := float(np.median(peak_to_peak_L))) < low:
        flags.append("amplitude_low")
    elif median > high:
        flags.append("amplitude_high")
    if signal_mv.shape[1] != contract.samples or recording.sampling_rate_hz != contract.sampling_rate_hz:
        signal_mv = resample(signal_mv, recording.sampling_rate_hz, contract)
        changes.append("resampled")
    return StandardizedSignal(np.ascontiguousarray(signal_mv, dtype=np.float32), tuple(changes), tuple(flags))


def resample(
    signal_mv: Float[ndarray, "leads source"], sampling_rate_hz: float, contract: SignalContract
) -> Float[ndarray, "leads target"]:
    """Resample a whole window, (L, any) -> (L, contract.samples).

    `polyphase`: anti-aliasing FIR filter at the exact ratio of the rates; the line through first and last sample is
    taken out before and put back after, so that an offset makes no ringing at the ends. `fft`:
    `scipy.signal.resample`, as the published code does; it takes the window to be periodic.
    """
    from scipy.signal import resample as resample_fft
    from scipy.signal import resample_poly

    if contract.resampling == "fft":
        return resample_fft(signal_mv, contract.samples, axis=1)
    ratio = Fraction(contract.sampling_rate_hz) / Fraction(sampling_rate_hz).limit_denominator(100)
    resampled = resample_poly(signal_mv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    missing = contract.samples - resampled.shape[1]
    # The number of source samples is rounded, so the result may be one sample off.
    return np.pad(resampled, ((0, 0), (0, missing)), mode="edge") if missing > 0 else resampled[:, : contract.samples]


def _select_leads(recording: Recording, wanted: Sequence[str]) -> tuple[ndarray, bool]:
    row_of: dict[str, int] = {}
    for row, name in enumerate(recording.leads):
        lead = canonical_lead(name)
        if lead in wanted and lead in row_of:
            raise RefusedRecordError(recording.name, "duplicate_lead", f"lead {lead} is there twice: {recording.leads}")
        if lead is not None:
            row_of.setdefault(lead, row)
    missing = [lead for lead in wanted if lead not in row_of]
    if not missing:
        return recording.signal_mv[[row_of[lead] for lead in wanted]], False
    limb = [lead for lead in LIMB_LEADS if lead in row_of][:2]
    if any(lead not in LIMB_LEADS for lead in missing) or len(limb) < 2:
        raise RefusedRecordError(
            recording.name,
            "missing_lead",
            f"lead {', '.join(missing)} missing, found {', '.join(recording.leads) or 'none'}",
        )
    to_limb = np.array([LIMB_LEADS[lead] for lead in limb])
    rows = []
    for lead in wanted:
        if lead in row_of:
            rows.append(recording.signal_mv[row_of[lead]])
        else:  # lead = weights @ (the two limb leads that are there)
            weights = np.array(LIMB_LEADS[lead]) @ np.linalg.inv(to_limb)
            rows.append(sum(w * recording.signal_mv[row_of[name]] for w, name in zip(weights, limb, strict=True)))
    return np.stack(rows).astype(recording.signal_mv.dtype, copy=False), True


def _take_window(recording: Recording, signal_mv: ndarray, contract: SignalContract, changes: list[str]) -> ndarray:
    rate, samples = recording.sampling_rate_hz, signal_mv.shape[1]
    needed = round(contract.seconds * rate)
    filled = np.flatnonzero(signal_mv.any(axis=0))
    first, last = (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, samples)
    tolerance = round(PADDING_TOLERANCE_S * rate)
    if first <= tolerance:
        first = 0
    if samples - last <= tolerance:
        last = samples
    if last - first + tolerance < needed:
        padded = f" after {samples - (last - first)} samples of zero padding" if last - first < samples else ""
        raise RefusedRecordError(
            recording.name,
            "padded" if padded and samples >= needed else "short",
            f"{(last - first) / rate:.2f} s{padded}, expected at least {contract.seconds:g} s",
        )
    first = max(0, min(first, samples - needed))
    if samples < needed:
        raise RefusedRecordError(
            recording.name, "short", f"{samples / rate:.3f} s, expected at least {contract.seconds:g} s"
        )
    if first or last < samples:
        changes.append("padding_removed")
    if samples > needed:
        changes.append("cropped")
    return signal_mv[:, first : first + needed]
