"""Less than the whole signal: some of the leads, or noise over all of them.

Axes: B records, L leads, S samples, T tokens of a record, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from scipy.fft import irfft, rfftfreq
from torch import Tensor

from ecgjepa.data.store import Store
from ecgjepa.evaluate.frozen import fingerprint_of
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import accelerate
from ecgjepa.signal import SignalContract

# Shares of the power of the noise: baseline wander below 0.5 Hz, muscle, mains at 50 Hz.
WANDER, MUSCLE, MAINS = 0.5, 0.4, 0.1
WANDER_HZ, MAINS_HZ = 0.5, 50.0
# Of the hump of muscle noise: half its height near 8 and 50 Hz.
MUSCLE_HZ = 20.0


class LeadSubset:
    """An encoder of ours that is given some of the leads only: the tokens of the others do not exist.

    Args:
        encoder: takes all leads of its contract.
        leads: those to keep, names of the contract.

    Raises:
        ValueError: a lead that the contract does not have, none, or one twice.
    """

    def __init__(self, encoder: Encoder, leads: Sequence[str]) -> None:
        unknown = [lead for lead in leads if lead not in encoder.contract.leads]
        if unknown or not leads or len(set(leads)) != len(leads):
            raise ValueError(f"leads {tuple(leads)}, expected distinct ones of {encoder.contract.leads}")
        self.encoder = encoder
        self.leads = tuple(lead for lead in encoder.contract.leads if lead in leads)
        self._rows = [encoder.contract.leads.index(lead) for lead in self.leads]

    @property
    def contract(self) -> SignalContract:
        """Of the whole signal, from which the leads are taken."""
        return self.encoder.contract

    @property
    def width(self) -> int:
        return self.encoder.width

    def __call__(self, signal_mv_BLS: Float[Tensor, "b l s"]) -> Float[Tensor, "b d"]:
        return self.encoder(signal_mv_BLS[:, self._rows], self.leads)

    def tokens(self, signal_mv_BLS: Float[Tensor, "b l s"]) -> Float[Tensor, "b t d"]:
        """Features of the patches of the leads that are there."""
        return self.encoder.forward_features(signal_mv_BLS[:, self._rows], self.leads).flatten(1, 2)

    def to(self, device: Any) -> "LeadSubset":
        self.encoder.to(device)
        return self

    def accelerated(self) -> "LeadSubset":
        """The same, faster on a processor."""
        return LeadSubset(accelerate(self.encoder, "fp32", device="cpu"), self.leads)

    def weights_sha256(self) -> str:
        """Of the encoder with its sizes, and the leads."""
        return f"{fingerprint_of(self.encoder)} {' '.join(self.leads)}"


@dataclass(frozen=True)
class NoisyStore(Store):
    """A store whose signals are read with noise over them, a function of (seed, row).

    Attributes:
        snr_db: power of the signal (around its median, the mean over all leads of the record) over that of the noise,
            in decibels.
        seed: of the noise.
    """

    snr_db: float = 20.0
    seed: int = 0

    @classmethod
    def over(cls, store: Store, snr_db: float, seed: int) -> "NoisyStore":
        """The same records with noise."""
        return cls(store.path, store.info, store.contract, store.signals, snr_db, seed)

    def read_into(
        self,
        rows: Sequence[int] | ndarray,
        out_mv: Float32[ndarray, "room leads samples"],
        places: Sequence[int] | ndarray | None = None,
    ) -> None:
        """As of a store, with noise."""
        rows = np.asarray(rows, dtype=np.int64)
        places = np.arange(len(rows)) if places is None else np.asarray(places, dtype=np.int64)
        super().read_into(rows, out_mv, places)
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            rng = np.random.default_rng([self.seed, row])
            out_mv[place] += noise_of(out_mv[place], self.contract.sampling_rate_hz, self.snr_db, rng)


def noise_of(
    signal_mv: Float32[ndarray, "leads samples"], sampling_rate_hz: float, snr_db: float, rng: np.random.Generator
) -> Float32[ndarray, "leads samples"]:
    """Baseline wander, muscle noise and mains, independent in every lead, of a power that follows from the signal's.

    Half of the power lies below 0.5 Hz, 40 % in a hump around 20 Hz, a tenth at 50 Hz. The power is the same in
    all leads, so that a lead with small waves is disturbed more.
    """
    leads, samples = signal_mv.shape
    centred_mv = signal_mv - np.median(signal_mv, axis=1, keepdims=True)
    power = float(np.mean(centred_mv.astype(np.float64) ** 2)) * 10 ** (-snr_db / 10)
    frequency_hz_F = rfftfreq(samples, 1 / sampling_rate_hz)
    wander_F = ((frequency_hz_F > 0) & (frequency_hz_F <= WANDER_HZ)).astype(float)
    muscle_F = frequency_hz_F / (1 + (frequency_hz_F / MUSCLE_HZ) ** 2)
    noise = np.sqrt(WANDER) * _of_unit_power(wander_F, leads, samples, rng)
    noise += np.sqrt(MUSCLE) * _of_unit_power(muscle_F, leads, samples, rng)
    phase_L = rng.uniform(0, 2 * np.pi, (leads, 1))
    time_s_S = np.arange(samples) / sampling_rate_hz
    noise += np.sqrt(2 * MAINS) * np.sin(2 * np.pi * MAINS_HZ * time_s_S + phase_L)
    return (np.sqrt(power) * noise).astype(np.float32)


def _of_unit_power(amplitude_F: ndarray, leads: int, samples: int, rng: np.random.Generator) -> ndarray:
    """Gaussian noise of the given amplitude spectrum whose mean square is 1 in every lead."""
    spectrum_LF = amplitude_F * (rng.standard_normal((leads, len(amplitude_F), 2)) @ [1, 1j])
    noise_LS = irfft(spectrum_LF, samples, axis=1)
    return noise_LS / np.sqrt(np.mean(noise_LS**2, axis=1, keepdims=True))
