"""Windows of any leads and any length -> embeddings of a frozen encoder. What is missing is no token, never a zero.

Windows that have the same leads and the same number of patches run together, as a full grid of tokens; only gaps
within a lead are masked. An embedding does not depend on what runs beside it, beyond the order of floating-point sums.

Axes: N windows, B windows of a batch, L leads, S samples, P patches, D width.
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from torch import Tensor

from ecgjepa.errors import RefusedRecordError
from ecgjepa.leads import LEADS_12
from ecgjepa.patches import Windows, present_patches, take_embeddable
from ecgjepa.signal import Recording, SignalContract
from ecgjepa.units import to_mv
from ecgjepa.windows import Window

if TYPE_CHECKING:  # the encoder's own `embed` is made of this
    from ecgjepa.model.encoder import Encoder


def embed_signals(
    encoder: "Encoder",
    signal: ndarray | Tensor,
    *,
    sampling_rate_hz: float,
    leads: Sequence[str] | None,
    unit: str,
    gain_per_mv: float | None,
    windows: Windows,
    layer: int | None,
    tokens: bool,
    batch_size: int,
) -> Float32[ndarray, "..."]:
    """What `Encoder.embed` does; see there."""
    check_windows(windows, tokens)
    values = to_array(signal)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(
            f"embed: signal of shape {values.shape}, expected (leads, samples) or (records, leads, samples)"
        )
    names = name_leads(leads, values.shape[-2], encoder.contract)
    records = values[None] if values.ndim == 2 else values
    taken: list[list[Window]] = []
    for row, record in enumerate(records):
        name = "signal" if values.ndim == 2 else f"signal[{row}]"
        signal_mv = to_mv(name, record, unit, gain_per_mv=gain_per_mv)
        recording = Recording(name, signal_mv, names, sampling_rate_hz)
        taken.append(take_embeddable(recording, encoder.contract, encoder.config.patch_samples, windows))
        if any("amplitude_high" in window.flags for window in taken[-1]):
            warnings.warn(f"embed: {name} is larger than any ECG, is its unit {unit}?", UserWarning, stacklevel=3)
    flat = [window for each in taken for window in each]
    name_of = [f"signal[{record}]" for record, each in enumerate(taken) for _ in each]
    rows_of = np.split(np.arange(len(flat)), np.cumsum([len(each) for each in taken])[:-1])
    if windows == "all" and len({len(rows) for rows in rows_of}) > 1:
        raise ValueError("embed: the records have different numbers of windows; embed them one by one")
    run = embed_tokens if tokens else embed_windows
    embedded = run(encoder, flat, layer=layer, batch_size=batch_size)
    check_embeddings(embedded, name_of)
    if windows == "mean":
        embedded = np.stack([mean_of_windows(encoder, embedded[rows], [flat[row] for row in rows]) for rows in rows_of])
    elif windows == "all":
        embedded = embedded.reshape(len(records), -1, *embedded.shape[1:])
    return embedded[0] if values.ndim == 2 else embedded


def to_array(signal: Any) -> ndarray:
    """An array of numbers from what may be a tensor of any type and device, or masked (NaN there)."""
    if isinstance(signal, Tensor):
        signal = signal.detach().cpu()
        return (signal.float() if signal.dtype in (torch.bfloat16, torch.float16) else signal).numpy()
    if isinstance(signal, np.ma.MaskedArray):
        return np.ma.filled(signal.astype(np.float64), np.nan)
    return np.asarray(signal)


def check_embeddings(embedded: Float32[ndarray, "..."], names: Sequence[str]) -> None:
    """Raises RefusedRecordError, `not_finite_embedding`, for the first record whose embedding is not finite."""
    flat = embedded.reshape(len(embedded), int(np.prod(embedded.shape[1:])))
    missing = np.isnan(flat).all(axis=1) if embedded.ndim > 2 else np.isnan(flat).any(axis=1)
    if (broken := np.isinf(flat).any(axis=1) | missing).any():
        name = names[int(np.argmax(broken))]
        raise RefusedRecordError(name, "not_finite_embedding", "the encoder gives numbers that are not finite")


def check_windows(windows: str, tokens: bool) -> None:
    """Raises ValueError for a choice of windows that does not exist, or does not go with tokens."""
    if windows not in get_args(Windows):
        raise ValueError(f"windows: expected one of {get_args(Windows)}, found {windows!r}")
    if tokens and windows == "mean":
        raise ValueError("windows: a mean of windows has no tokens, expected 'first' or 'all'")


def name_leads(leads: Sequence[str] | None, rows: int, contract: SignalContract) -> tuple[str, ...]:
    """The leads of a signal with so many rows, if they are not named: twelve in the usual order, or the contract's.

    Raises:
        ValueError: neither fits, or there are more or fewer names than rows.
    """
    if leads is None:
        named = {len(contract.leads): contract.leads, len(LEADS_12): LEADS_12}.get(rows, ())
        if not named:
            raise ValueError(f"embed: {rows} leads without names; expected leads=[...], one name for each")
        return named
    if isinstance(leads, str) or len(leads) != rows:
        raise ValueError(f"embed: leads {leads!r} for {rows} rows, expected a list with one name for each")
    return tuple(leads)


def mean_of_windows(
    encoder: "Encoder", embeddings_ND: Float32[ndarray, "n d"], windows: Sequence[Window]
) -> Float32[ndarray, "d"]:
    """The mean over all tokens of several windows of a record."""
    tokens_N = [present_patches(window.signal_mv, encoder.config.patch_samples).sum() for window in windows]
    return np.average(embeddings_ND, axis=0, weights=tokens_N).astype(np.float32)


def embed_windows(
    encoder: "Encoder", windows: Sequence[Window], *, layer: int | None = None, batch_size: int = 16
) -> Float32[ndarray, "n d"]:
    """Mean of the features of all tokens that each window has.

    Args:
        layer: block whose tokens are taken, 1 to depth, without the final LayerNorm; the encoder's output where None.
        batch_size: windows that run at once.
    """
    embeddings_ND = np.empty((len(windows), encoder.config.width), dtype=np.float32)
    for rows, features_BLPD, present_BLP in _run(encoder, windows, layer, batch_size):
        embeddings_ND[rows] = encoder.pool(features_BLPD, present_BLP).float().cpu().numpy()
    return embeddings_ND


def embed_tokens(
    encoder: "Encoder", windows: Sequence[Window], *, layer: int | None = None, batch_size: int = 16
) -> Float32[ndarray, "n l p d"]:
    """The feature of every token, (N, L, P, D) over the contract's leads and patches; NaN where there is no token."""
    leads = encoder.contract.leads
    tokens_NLPD = np.full((len(windows), len(leads), encoder.patches, encoder.config.width), np.nan, dtype=np.float32)
    for rows, features_BLPD, present_BLP in _run(encoder, windows, layer, batch_size):
        if present_BLP is not None:
            features_BLPD = features_BLPD.masked_fill(~present_BLP[..., None], torch.nan)
        columns = [leads.index(lead) for lead in windows[rows[0]].leads]
        grid = np.ix_(rows, columns, range(features_BLPD.shape[2]))
        tokens_NLPD[grid] = features_BLPD.float().cpu().numpy()
    return tokens_NLPD


def _run(
    encoder: "Encoder", windows: Sequence[Window], layer: int | None, batch_size: int
) -> Iterator[tuple[list[int], Tensor, Tensor | None]]:
    """Batches as (rows, features (B, L, P, D), present (B, L, P) or None where all tokens are there)."""
    if batch_size < 1:
        raise ValueError(f"embedding: batches of {batch_size}, expected at least 1")
    device = encoder.position_LPD.device
    groups = defaultdict(list)
    patch_samples = encoder.config.patch_samples
    present = [present_patches(window.signal_mv, patch_samples) for window in windows]
    for row, (window, present_LP) in enumerate(zip(windows, present, strict=True)):
        assert present_LP.any(), "see take_embeddable"
        groups[window.leads, present_LP.shape[1], bool(present_LP.all())].append(row)
    with torch.inference_mode():
        for (leads, patches, is_full), members in groups.items():
            for start in range(0, len(members), batch_size):
                rows = members[start : start + batch_size]
                signal_mv_BLS = np.stack([windows[row].signal_mv[:, : patches * patch_samples] for row in rows])
                present_BLP = None if is_full else torch.from_numpy(np.stack([present[row] for row in rows]))
                yield rows, *_forward(encoder, signal_mv_BLS, leads, present_BLP, layer, device)


def _forward(
    encoder: "Encoder",
    signal_mv_BLS: Float32[ndarray, "b l s"],
    leads: tuple[str, ...],
    present_BLP: Tensor | None,
    layer: int | None,
    device: torch.device,
) -> tuple[Tensor, Tensor | None]:
    if present_BLP is not None:
        signal_mv_BLS, present_BLP = np.nan_to_num(signal_mv_BLS), present_BLP.to(device)
    signal = torch.from_numpy(signal_mv_BLS).to(device)
    return encoder.forward_features(signal, leads, present_BLP=present_BLP, layer=layer), present_BLP
