"""From the rows of a store to features of a frozen encoder of any origin.

Axes: N records, B records of a batch, L leads, S samples, T tokens of a record, D width.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from ecgjepa.data.store import Store
from ecgjepa.evaluate.frozen import FrozenEncoder, accelerated, gives_tokens, running
from ecgjepa.filtering import apply_filter
from ecgjepa.signal import SignalContract

Pooling = Literal["mean", "mean_std"]


def contract_warnings(store: SignalContract, encoder: SignalContract) -> list[str]:
    """Whether an encoder may read a store: nothing to say if the contracts agree, a line for each small difference.

    Polyphase and FFT resampling give nearly the same signal away from the ends, so the features mean the same. A filter
    of the encoder is applied to the signals of a store that was prepared without.

    Raises:
        ValueError: leads (or their order), sampling rate, seconds or unit differ, or the store has another filter.
    """
    for name in ("leads", "sampling_rate_hz", "seconds", "unit"):
        found, expected = getattr(store, name), getattr(encoder, name)
        if found != expected:
            raise ValueError(f"contract: the store has {name} {found}, the encoder expects {expected}")
    found, expected = store.filter, encoder.filter
    if found not in ("none", expected):
        raise ValueError(
            f"contract: the store has filter {found}, the encoder expects {expected}; what is filtered out cannot be "
            "brought back, so prepare a store without a filter"
        )
    warnings = []
    if store.resampling != encoder.resampling:
        warnings.append(
            f"The store was resampled by {store.resampling}, the encoder was trained on {encoder.resampling}."
        )
    if found != expected:
        warnings.append(f"The encoder's filter ({expected}) is applied to the signals of the store, which has none.")
    return warnings


def embed_rows(
    encoder: FrozenEncoder,
    store: Store,
    rows: Sequence[int] | ndarray,
    *,
    pooling: Pooling = "mean",
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    progress: bool = True,
    description: str = "embedding",
) -> Float32[ndarray, "n d"]:
    """Features of some rows of a store, (N, D) float32, in the order of the rows.

    Computed in float32 whatever the device, see `running`. One batch of signals is in memory at a time. The encoder
    moves to `device` and stays there.

    Args:
        pooling: `mean`: what the encoder gives, of ours the mean over its tokens. `mean_std`: mean and standard
            deviation over the tokens, (N, 2 D), for probing only: no head reads them.
        description: stands before the progress bar.

    Raises:
        ValueError: no row, contracts that do not agree (see `contract_warnings`), a feature that is not finite, or
            `mean_std` of an encoder that gives no tokens.
    """
    rows = check_rows(encoder, store, rows, batch_size)
    if pooling == "mean_std":
        check_tokens(encoder)

    def pool(run: FrozenEncoder, signal_mv_BLS: Tensor) -> Tensor:
        if pooling == "mean":
            return run(signal_mv_BLS)
        tokens_BTD = run.tokens(signal_mv_BLS)  # type: ignore[attr-defined]
        return torch.cat([tokens_BTD.mean(dim=1), tokens_BTD.std(dim=1, correction=0)], dim=1)

    with tqdm(total=len(rows), desc=description, unit=" records", disable=not progress) as bar:
        features = []
        for batch_BD in outputs_of(encoder, store, rows, pool, batch_size=batch_size, device=device):
            features.append(batch_BD.numpy())
            bar.update(len(batch_BD))
    features_ND = np.concatenate(features)
    if not (finite_N := np.isfinite(features_ND).all(axis=1)).all():
        first = store.records["record"].iloc[rows[np.argmin(finite_N)]]
        raise ValueError(
            f"features: {int((~finite_N).sum())} of {len(rows)} records have features that are not finite, "
            f"the first is {first}"
        )
    return features_ND


def outputs_of(
    encoder: FrozenEncoder,
    store: Store,
    rows: Int64[ndarray, "n"],
    compute: Callable[[FrozenEncoder, Tensor], Tensor],
    *,
    batch_size: int,
    device: str | torch.device,
) -> Iterator[Tensor]:
    """What an encoder gives for some rows, batch by batch on the CPU."""
    encoder = accelerated(encoder, device)
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        signal_mv_BLS = read_for(encoder.contract, store, batch)
        with running(encoder, device) as run:
            output = compute(run, torch.from_numpy(signal_mv_BLS).to(device)).cpu()
        yield output


def read_for(contract: SignalContract, store: Store, rows: Int64[ndarray, "n"]) -> Float32[ndarray, "n l s"]:
    """Signals of some rows as a contract asks for, with its filter where the store has none; (N, L, S) in mV."""
    signal_mv_NLS = store.signals_mv(rows)
    if contract.filter == store.contract.filter:
        return signal_mv_NLS
    return apply_filter(signal_mv_NLS, contract.sampling_rate_hz, contract.filter).astype(np.float32)


def check_rows(
    encoder: FrozenEncoder, store: Store, rows: Sequence[int] | ndarray, batch_size: int
) -> Int64[ndarray, "n"]:
    """The rows as an array; raises ValueError where there is none, or encoder and store do not fit."""
    rows = np.asarray(rows, dtype=np.int64)
    if not len(rows) or batch_size < 1:
        raise ValueError(f"embedding: {len(rows)} rows in batches of {batch_size}, expected at least one of each")
    contract_warnings(store.contract, encoder.contract)
    return rows


def check_tokens(encoder: FrozenEncoder) -> None:
    """Raises ValueError for an encoder that does not give its tokens."""
    if not gives_tokens(encoder):
        raise ValueError(f"tokens: {type(encoder).__name__} gives none, expected an encoder with `tokens(signal)`")
