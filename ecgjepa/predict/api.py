"""Arrays -> what a classifier says of them.

Axes: N records, L leads, S samples, K classes.
"""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor

from ecgjepa.errors import RefusedRecordError
from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.finetune.predicting import outputs_of_head, pooled_windows
from ecgjepa.model.embedding import name_leads, to_array
from ecgjepa.patches import Windows, take_embeddable
from ecgjepa.predict.model import reading_contract
from ecgjepa.predict.predictor import average_of_windows
from ecgjepa.signal import Recording
from ecgjepa.units import to_mv


def predict_signals(
    classifier: LoadedClassifier,
    signal: ndarray | Tensor,
    *,
    sampling_rate_hz: float,
    leads: Sequence[str] | None = None,
    unit: str = "mV",
    gain_per_mv: float | None = None,
    windows: Windows = "mean",
    batch_size: int = 16,
) -> Float64[ndarray, "..."]:
    """Probabilities, or values of a regression: (L, S) -> (K,), and (N, L, S) -> (N, K).

    For research, not for diagnosis. What is missing of the contract's leads and seconds is left out, never filled.

    Args:
        signal: one record or several of the same leads and length, an array or a tensor.
        leads: names of the rows; the twelve in the usual order, or the contract's, if None.
        unit: `mV`, `uV`, `V`, `nV`, or `adc` with `gain_per_mv`.
        windows: of what is longer than the contract's seconds: the `mean`, weighted by tokens, or the `first` alone.
        batch_size: windows that run at once.

    Raises:
        RefusedRecordError: a record that cannot be brought to the contract.
        ValueError: a shape, name or option that does not fit.
    """
    encoder, head = classifier.encoder, classifier.head
    if windows not in ("mean", "first"):
        raise ValueError(f"windows: expected 'mean' or 'first', found {windows!r}; predict_files gives all of them")
    values = to_array(signal)
    if values.ndim not in (2, 3) or 0 in values.shape:
        found = f"signal of shape {values.shape}, expected (leads, samples) or (records, leads, samples)"
        raise ValueError(f"predict: {found}")
    names = name_leads(leads, values.shape[-2], encoder.contract)
    contract, patch_samples = reading_contract(classifier), encoder.config.patch_samples
    pool = head.attention_pool()
    pool = None if pool is None else pool.to(encoder.position_LPD.device)
    said = []
    for row, record in enumerate(values[None] if values.ndim == 2 else values):
        name = "signal" if values.ndim == 2 else f"signal[{row}]"
        recording = Recording(name, to_mv(name, record, unit, gain_per_mv=gain_per_mv), names, sampling_rate_hz)
        taken = take_embeddable(recording, contract, patch_samples, windows)
        if any("amplitude_high" in window.flags for window in taken):
            warnings.warn(f"predict: {name} is larger than any ECG, is its unit {unit}?", UserWarning, stacklevel=2)
        said.append((name, taken))
    flat = [window for _, taken in said for window in taken]
    features_WD = pooled_windows(encoder, pool, flat, batch_size)
    outputs, start = [], 0
    for name, taken in said:
        own_WD = features_WD[start : start + len(taken)]
        start += len(taken)
        if not np.isfinite(own_WD).all():
            raise RefusedRecordError(name, "not_finite_embedding", "the encoder gives numbers that are not finite")
        outputs.append(average_of_windows(outputs_of_head(head, own_WD), taken, patch_samples))
    return outputs[0] if values.ndim == 2 else np.stack(outputs)
