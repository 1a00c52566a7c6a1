"""What a decision rests on: how far the score of a class falls when a stretch of the record is hidden.

Hidden means left out: the tokens of the stretch do not exist for the others, and the mean is over those that remain.
Nothing is put in their place.

Axes: L leads, S samples, P patches of a lead, D width, Q stretches, B stretches of a batch.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from numpy import ndarray
from tqdm import tqdm

from ecgjepa.evaluate.head import Head
from ecgjepa.model.encoder import Encoder
from ecgjepa.patches import present_patches

Score = Literal["probability", "log_odds"]


def occlusion_map(
    encoder: Encoder,
    head: Head,
    signal_mv_LS: Float32[ndarray, "l s"],
    leads: Sequence[str] | None,
    class_name: str,
    *,
    stretch_patches: int = 2,
    all_leads: bool = False,
    score: Score = "probability",
    batch_size: int = 32,
    progress: bool = False,
) -> Float64[ndarray, "l p"]:
    """Score of the whole record minus its score without the stretch, for every patch the stretch that it lies in.

    Positive: hiding it lowers the score, so the stretch speaks for the class. The stretches stand side by side from the
    first patch on; the last may be shorter. NaN where there is no token to hide.

    Args:
        signal_mv_LS: (L, S) in mV, S a whole number of patches; a patch with a NaN is no token.
        leads: names of the L leads; all of the contract where None.
        stretch_patches: length of a stretch.
        all_leads: hide the stretch in all leads at once, else in one lead at a time.
        score: probability of the class, or its logarithmic odds.
        batch_size: stretches that run at once.
        progress: show a bar in a terminal; the published size took 2.6 s per stretch on two busy cores.

    Raises:
        ValueError: head and encoder do not fit, the class is unknown or could not be learned, or a stretch is the whole
            record.
    """
    head.check(encoder)
    column = head.index(class_name)
    if head.is_constant(class_name):
        raise ValueError(f"occlusion: {class_name} could not be learned, so its score is the same for every record")
    if score not in get_args(Score) or stretch_patches < 1 or batch_size < 1:
        raise ValueError(
            f"occlusion: score {score!r}, stretches of {stretch_patches} patches, batches of {batch_size}; expected "
            f"one of {get_args(Score)} and at least one of each"
        )
    there_LP = present_patches(signal_mv_LS, encoder.config.patch_samples)
    hidden_QLP = _stretches(there_LP.shape, stretch_patches, all_leads)
    hidden_QLP = hidden_QLP[(hidden_QLP & there_LP).any(axis=(1, 2))]
    present_QLP = there_LP & ~hidden_QLP
    if not len(hidden_QLP) or not present_QLP.any(axis=(1, 2)).all():
        raise ValueError(
            f"occlusion: a stretch of {stretch_patches} patches hides all of the record, which has {there_LP.sum()} "
            "tokens; expected a shorter stretch"
        )
    parts = [there_LP[None], *np.split(present_QLP, range(batch_size, len(present_QLP), batch_size))]
    features = []
    with tqdm(total=len(hidden_QLP), desc="hiding", unit=" stretches", disable=None if progress else True) as bar:
        for part, present_BLP in enumerate(parts):
            features.append(embed_present(encoder, signal_mv_LS, leads, present_BLP))
            bar.update(len(present_BLP) if part else 0)  # the first is the record itself
    scores = (head.predict_proba if score == "probability" else head.log_odds)(np.concatenate(features))[:, column]
    fall_LP = np.full(there_LP.shape, np.nan)
    for hidden_LP, fall in zip(hidden_QLP, scores[0] - scores[1:], strict=True):
        fall_LP[hidden_LP & there_LP] = fall
    return fall_LP


def embed_present(
    encoder: Encoder,
    signal_mv_LS: Float32[ndarray, "l s"],
    leads: Sequence[str] | None,
    present_BLP: Bool[ndarray, "b l p"],
) -> Float32[ndarray, "b d"]:
    """Embeddings of one record with only some of its tokens, (B, D)."""
    device = encoder.position_LPD.device
    signal = torch.from_numpy(np.nan_to_num(signal_mv_LS)).to(device).expand(len(present_BLP), -1, -1)
    present = None if present_BLP.all() else torch.from_numpy(present_BLP).to(device)
    with torch.inference_mode():
        features_BLPD = encoder.forward_features(signal, leads, present_BLP=present)
        return encoder.pool(features_BLPD, present).float().cpu().numpy()


def _stretches(shape: tuple[int, ...], patches: int, all_leads: bool) -> Bool[ndarray, "q l p"]:
    """True in the patches of each stretch: in all leads, or in one after another."""
    number_P = np.arange(shape[1]) // patches
    in_time_QP = number_P == np.arange(number_P[-1] + 1)[:, None]
    if all_leads:
        return np.broadcast_to(in_time_QP[:, None], (len(in_time_QP), *shape)).copy()
    lead_LL = np.eye(shape[0], dtype=bool)
    return (lead_LL[:, None, :, None] & in_time_QP[None, :, None, :]).reshape(-1, *shape)
