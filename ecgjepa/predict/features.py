"""Windows -> the features that a head reads, by the pooling that it was learned with.

Axes: W windows, B windows of a batch, N tokens, D features.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.model.embedding import embed_tokens, embed_windows, present_patches
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract
from ecgjepa.windows import Window


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


def reading_contract(classifier: LoadedClassifier) -> SignalContract:
    """What is read of a recording: the encoder's contract, of its leads those that the classifier looks at."""
    return replace(classifier.encoder.contract, leads=classifier.leads)
