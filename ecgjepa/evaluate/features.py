"""From the rows of a store to features of a frozen encoder.

Axes: N records, L leads, S samples, D width.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from tqdm import tqdm

from ecgjepa.data.store import Store
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract


def contract_warnings(store: SignalContract, encoder: SignalContract) -> list[str]:
    """Whether an encoder may read a store: nothing to say if the contracts agree, one line if only resampling differs.

    Polyphase and FFT resampling give nearly the same signal away from the ends, so the features mean the same.

    Raises:
        ValueError: leads (or their order), sampling rate, seconds or unit differ.
    """
    for name in ("leads", "sampling_rate_hz", "seconds", "unit"):
        found, expected = getattr(store, name), getattr(encoder, name)
        if found != expected:
            raise ValueError(f"contract: the store has {name} {found}, the encoder expects {expected}")
    if store.resampling == encoder.resampling:
        return []
    return [f"The store was resampled by {store.resampling}, the encoder was trained on {encoder.resampling}."]


def embed_rows(
    encoder: Encoder,
    store: Store,
    rows: Sequence[int] | ndarray,
    *,
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
    description: str = "embedding",
) -> Float32[ndarray, "n d"]:
    """Mean-pooled features of some rows of a store, (N, D) float32, in the order of the rows.

    Computed in float32 whatever the device: with random weights two records differ by a few thousandths, which
    bfloat16 rounds away. One batch of signals is in memory at a time. The encoder moves to `device` and
    stays there.

    Args:
        description: stands before the progress bar.

    Raises:
        ValueError: no row, contracts that do not agree (see `contract_warnings`), or a feature that is not finite.
    """
    rows = np.asarray(rows, dtype=np.int64)
    if not len(rows) or batch_size < 1:
        raise ValueError(f"embedding: {len(rows)} rows in batches of {batch_size}, expected at least one of each")
    contract_warnings(store.contract, encoder.contract)
    device = torch.device(device)
    encoder = encoder.to(device=device, dtype=torch.float32)
    was_training, features = encoder.training, []
    encoder.eval()
    try:
        with (
            torch.inference_mode(),
            torch.autocast(device.type, enabled=False),
            tqdm(total=len(rows), desc=description, unit=" records", disable=not progress) as bar,
        ):
            for start in range(0, len(rows), batch_size):
                batch = rows[start : start + batch_size]
                signal_mv_BLS = torch.from_numpy(store.signals_mv(batch)).to(device)
                features.append(encoder(signal_mv_BLS).cpu().numpy())
                bar.update(len(batch))
    finally:
        encoder.train(was_training)
    features_ND = np.concatenate(features)
    if not (finite_N := np.isfinite(features_ND).all(axis=1)).all():
        first = store.records["record"].iloc[rows[np.argmin(finite_N)]]
        raise ValueError(
            f"features: {int((~finite_N).sum())} of {len(rows)} records have features that are not finite, "
            f"the first is {first}"
        )
    return features_ND
