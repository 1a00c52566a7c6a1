"""Does an exported file compute what its encoder computes? Asked before the file is given to anyone.

Axes: B records, L leads, S samples.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.export.onnx_encoder import ExportError, OnnxEncoder
from ecgjepa.model.encoder import Encoder

TOLERANCE = 1e-4
# R wave at 0: seconds after it, mV, standard deviation in s of P, Q, R, S and T.
WAVES = ((-0.16, 0.12, 0.02), (-0.03, -0.1, 0.01), (0.0, 1.0, 0.012), (0.03, -0.25, 0.01), (0.28, 0.3, 0.05))


def check_parity(file: Path, encoder: Encoder, layer: int | None = None) -> float:
    """The largest difference between file and encoder, over subsets of leads, lengths, batch sizes, noise and ECGs.

    Tokens before the final LayerNorm have no fixed scale: their difference is taken relative to the largest value
    where that is above 1.

    Raises:
        ExportError: a difference above 1e-4, or a number that is not finite; the message says where.
    """
    exported, generator, largest = OnnxEncoder(file), np.random.default_rng(0), 0.0
    for records, leads, patches in cases(encoder.contract.leads, encoder.patches):
        shape = (records, len(leads), patches * encoder.config.patch_samples)
        signal_mv_BLS = ecg_like(shape, encoder.contract.sampling_rate_hz, generator)
        signal_mv_BLS[::2] = generator.standard_normal(signal_mv_BLS[::2].shape)
        with torch.no_grad():
            tokens_BLPD = encoder.forward_features(torch.from_numpy(signal_mv_BLS), leads, layer=layer)
            expected = {"embedding": encoder.pool(tokens_BLPD), "tokens": tokens_BLPD}
        for (output, values), found in zip(
            expected.items(), exported.run(tuple(expected), signal_mv_BLS, leads), strict=True
        ):
            difference = _difference(values.numpy(), found, relative=layer is not None)
            if not difference <= TOLERANCE:  # nor where it is NaN
                raise ExportError(
                    f"the exported encoder computes other numbers: {output} off by {difference:.2g}, expected at most "
                    f"{TOLERANCE:g}, for {records} records of {patches} patches of leads {', '.join(leads)}; no file "
                    "was written"
                )
            largest = max(largest, difference)
    return largest


def cases(leads: tuple[str, ...], patches: int) -> Iterator[tuple[int, tuple[str, ...], int]]:
    """(records, leads, patches) to compare: one lead, two in another order, all; one patch, a tenth, a half, all.

    Every other record is noise, from the first on; the rest is like ECGs.
    """
    one, two, tenth, half = leads[-1:], leads[1::-1], max(patches // 10, 1), max(patches // 2, 1)
    yield from ((4, one, 1), (2, one, half), (1, one, patches))
    yield from ((1, two, 1), (4, two, tenth), (2, two, patches))
    yield from ((1, leads, 1), (3, leads, tenth), (1, leads, half), (2, leads, patches))


def ecg_like(
    shape: tuple[int, int, int], sampling_rate_hz: float, generator: np.random.Generator
) -> Float32[ndarray, "b l s"]:
    """Beats of five Gaussian waves at 50 to 110 per minute, -1 to 2 mV, another amplitude in every lead."""
    records, leads, samples = shape
    beat_s_B1 = 60 / generator.uniform(50, 110, (records, 1))
    time_s_BS = np.arange(samples) / sampling_rate_hz + generator.uniform(0, 1, (records, 1))
    after_r_s_BS = time_s_BS % beat_s_B1 - beat_s_B1 / 2
    beat_mv_BS = sum(mv * np.exp(-(((after_r_s_BS - at_s) / sd_s) ** 2) / 2) for at_s, mv, sd_s in WAVES)
    return (generator.uniform(-1, 2, (records, leads, 1)) * np.asarray(beat_mv_BS)[:, None]).astype(np.float32)


def _difference(expected: ndarray, found: ndarray, relative: bool) -> float:
    if expected.shape != found.shape:
        return float("nan")
    scale = max(1.0, float(np.abs(expected).max())) if relative else 1.0
    return float(np.abs(expected - found).max()) / scale
