"""The signal contract: which leads, at which rate, for how long, in which unit. And a recording as it was found.

Axes: L leads, S samples.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from jaxtyping import Float
from numpy import ndarray

from ecgjepa.errors import RefusedRecordError
from ecgjepa.filtering import Filter, check_filter
from ecgjepa.leads import LEADS_8, LEADS_12
from ecgjepa.resampling import Resampling

# Below, no QRS is left; above, the header is in error.
PLAUSIBLE_SAMPLING_RATE_HZ = (50.0, 20_000.0)

# No encoder takes an hour at once.
MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class SignalContract:
    """What a model expects of its input: leads by name, sampling rate, duration, mV, how to resample and to filter.

    No filter is applied in pretraining, and no normalisation ever (arXiv:2410.08559, section 4.1). A fine-tuned encoder
    may ask for a filter, see `ecgjepa.filtering`.
    """

    leads: tuple[str, ...] = LEADS_8
    sampling_rate_hz: int = 250
    seconds: float = 10.0
    unit: Literal["mV"] = "mV"
    resampling: Resampling = "polyphase"
    filter: Filter = "none"

    def __post_init__(self) -> None:
        unknown = [lead for lead in self.leads if lead not in LEADS_12]
        if unknown or not self.leads or len(set(self.leads)) != len(self.leads):
            raise ValueError(f"contract: leads must be distinct names of {LEADS_12}, found {self.leads}")
        if self.unit != "mV":
            raise ValueError(f"contract: unit must be 'mV', found {self.unit!r}")
        if self.resampling not in get_args(Resampling):
            raise ValueError(f"contract: resampling must be one of {get_args(Resampling)}, found {self.resampling!r}")
        check_filter(self.filter, self.sampling_rate_hz)
        possible = self.sampling_rate_hz > 0 and 0 < self.seconds <= MAX_SECONDS
        if not possible or not self._whole_samples():
            raise ValueError(
                f"contract: sampling_rate_hz and seconds must be positive, at most {MAX_SECONDS:g} s, "
                "and give a whole number of samples, "
                f"found {self.sampling_rate_hz} Hz and {self.seconds} s"
            )

    def _whole_samples(self) -> bool:
        return float(self.sampling_rate_hz * self.seconds).is_integer()

    @property
    def samples(self) -> int:
        """Samples per lead."""
        return int(self.sampling_rate_hz * self.seconds)

    def to_dict(self) -> dict[str, Any]:
        """JSON values. Without a filter there is no key of that name, as in files that are older than it."""
        values = {**asdict(self), "leads": list(self.leads)}
        return values if self.filter != "none" else {name: values[name] for name in values if name != "filter"}

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
        object.__setattr__(self, "sampling_rate_hz", float(self.sampling_rate_hz))
        low, high = PLAUSIBLE_SAMPLING_RATE_HZ
        if not low <= self.sampling_rate_hz <= high:
            found = f"sampling rate {self.sampling_rate_hz} Hz, expected {low:g} to {high:g} Hz"
            raise RefusedRecordError(self.name, "malformed", found)
