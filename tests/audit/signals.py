"""ECG-like signals without a fault, to put one into, and folders of them."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from ecgjepa.leads import LEADS_12, LIMB_LEADS
from tests.data.archives import write_wfdb

RATE_HZ = 500


def beats(seed: int = 0, samples: int = 5000, rate_hz: float = RATE_HZ, size_mv: float = 1.0) -> ndarray:
    """(12, S) float32 in mV: narrow and wide bumps 1.2 times a second, limb leads as Einthoven has them, some noise."""
    chance = np.random.default_rng(seed)
    phase_s = (np.arange(samples) / rate_hz + chance.uniform(0, 0.8)) % 0.83
    qrs, t_wave = (np.exp(-(((phase_s - at) / width) ** 2) / 2) for at, width in ((0.3, 0.012), (0.55, 0.04)))
    shapes = {lead: chance.uniform(0.6, 1.4) * qrs + chance.uniform(0.1, 0.3) * t_wave for lead in LEADS_12}
    for lead, (of_i, of_ii) in LIMB_LEADS.items():
        shapes[lead] = of_i * shapes["I"] + of_ii * shapes["II"]
    noise = chance.normal(0, 2e-3, (12, samples))  # a few counts, else the ends are zero padding
    return (size_mv * np.stack(list(shapes.values())) + noise).astype(np.float32)


def write_records(folder: Path, names: list[str], size_mv: float = 1.0, seed: int = 0) -> list[Path]:
    """WFDB records, each of its own seed."""
    return [write_wfdb(folder, name, beats(seed + k, size_mv=size_mv).T) for k, name in enumerate(names)]
