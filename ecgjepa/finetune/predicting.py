"""What a saved classifier says of records: always in float32, by its encoder and its head as they are on disk.

Axes: N records, B records of a batch, W windows, L leads, S samples, P patches, D features, K classes.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from torch import Tensor
from tqdm import tqdm

from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import contract_warnings, read_for
from ecgjepa.evaluate.head import Head, HeadError
from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.finetune.records import take_leads
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.model.embedding import embed_tokens, embed_windows
from ecgjepa.model.encoder import Encoder
from ecgjepa.patches import present_patches
from ecgjepa.windows import Window

BATCH = 64


def predict_rows(
    classifier: LoadedClassifier,
    store: Store,
    rows: Int64[ndarray, "n"],
    *,
    batch_size: int = BATCH,
    device: str | torch.device = "cpu",
    progress: bool = True,
    description: str = "predicting",
) -> Float64[ndarray, "n k"]:
    """Probabilities, or values of a regression, of some rows of a store, (N, K), in the order of the rows.

    The filter of the encoder's contract is applied. The encoder moves to `device` and stays there.

    Raises:
        ValueError: the store is of another contract, or a feature is not finite.
    """
    contract_warnings(store.contract, classifier.encoder.contract)
    features = [np.empty((0, classifier.head.width), np.float32)]
    with tqdm(total=len(rows), desc=description, unit=" records", disable=not progress) as bar:
        for batch_BD in _features(classifier, store, rows, batch_size, torch.device(device)):
            features.append(batch_BD.cpu().numpy())
            bar.update(len(batch_BD))
    features_ND = np.concatenate(features)
    if broken := int((~np.isfinite(features_ND).all(axis=1)).sum()):
        raise ValueError(f"{description}: {broken} of {len(rows)} records have features that are not finite")
    return outputs_of_head(classifier.head, features_ND)


def predict_windows(
    classifier: LoadedClassifier, windows: Sequence[Window], *, batch_size: int = BATCH
) -> Float64[ndarray, "n k"]:
    """The same of windows of any leads and length, as `take_windows` gives them by the encoder's contract.

    Leads that the classifier does not look at are left out.

    Raises:
        HeadError: a window has none of its leads.
    """
    encoder, leads = classifier.encoder, classifier.leads
    chosen = []
    for window in windows:
        rows = [row for row, lead in enumerate(window.leads) if lead in leads]
        if not rows or not present_patches(window.signal_mv[rows], encoder.config.patch_samples).any():
            raise HeadError(f"classifier: a window has {', '.join(window.leads)}, expected some of {', '.join(leads)}")
        chosen.append(Window(window.signal_mv[rows], tuple(window.leads[row] for row in rows), window.start_s))
    pool = classifier.head.attention_pool()
    pool = None if pool is None else pool.to(encoder.position_LPD.device)
    return outputs_of_head(classifier.head, pooled_windows(encoder, pool, chosen, batch_size))


def pooled_windows(
    encoder: Encoder, pool: AttentionPool | None, windows: Sequence[Window], batch_size: int
) -> Float32[ndarray, "w d"]:
    """The features of windows of any leads and length, (W, D), not checked for numbers that are not finite.

    Args:
        pool: where the encoder is; the mean over tokens if None.
        batch_size: windows that run at once.
    """
    if pool is None:
        return embed_windows(encoder, windows, batch_size=batch_size)
    features_WD = np.empty((len(windows), encoder.config.width), np.float32)
    for start in range(0, len(windows), batch_size):
        some = windows[start : start + batch_size]
        tokens_BND = torch.from_numpy(embed_tokens(encoder, some, batch_size=batch_size)).flatten(1, 2)
        present_BN = ~tokens_BND.isnan().any(dim=2)
        tokens_BND = tokens_BND.masked_fill(~present_BN[..., None], 0.0).to(pool.query.device)
        with torch.inference_mode():
            pooled_BD = pool(tokens_BND, present_BN.to(pool.query.device)).cpu().numpy()
        there_B = [present_patches(window.signal_mv, encoder.config.patch_samples).sum() for window in some]
        broken_B = present_BN.sum(dim=1).numpy() != there_B  # a token that is there, and not a number
        features_WD[start : start + batch_size] = np.where(broken_B[:, None], np.nan, pooled_BD)
    return features_WD


def outputs_of_head(head: Head, features_ND: ndarray) -> Float64[ndarray, "n k"]:
    """Probabilities of a classifier, values of a regression."""
    return head.predict(features_ND) if head.task == "regression" else head.predict_proba(features_ND)


def _features(
    classifier: LoadedClassifier, store: Store, rows: ndarray, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    encoder, leads = classifier.encoder.to(device), classifier.leads
    pool = classifier.head.attention_pool()
    pool = None if pool is None else pool.to(device)
    for start in range(0, len(rows), batch_size):
        signal_mv_BLS = read_for(encoder.contract, store, rows[start : start + batch_size])
        signal = torch.from_numpy(take_leads(signal_mv_BLS, encoder.contract, leads)).to(device)
        with torch.inference_mode():
            tokens_BLPD = encoder.forward_features(signal, leads)
            yield encoder.pool(tokens_BLPD) if pool is None else pool(tokens_BLPD.flatten(1, 2))
