"""Is an encoder learning to tell ECGs apart? Measures of its features, and the alarms they raise.

A loss that falls says nothing of this: an encoder whose tokens are all the same, or depend on their position alone, is
easy to predict. See `docs/collapse.md` for how to read the numbers and for the measurements behind the bounds.

Axes: R records, L leads, S samples, P patches, N = L * P tokens of a record, D width, T tokens of a sample, K drawn.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ecgjepa.evaluate.spread import TokenVariance, measures_of_pooled, rankme
from ecgjepa.model.encoder import Encoder

MEASURES = (
    "token_spread", "token_spread_min", "record_share", "within_record", "rankme_tokens",
    "output_contrast", "output_record_share", "pooled_contrast", "cosine_pooled", "rankme_pooled",
)  # fmt: skip

# Tokens that RankMe is computed of, drawn from all records alike and the same at every evaluation.
SAMPLED_TOKENS = 4096
# Bounds of the alarms; `docs/collapse.md` has what was measured on either side of them.
LEAST_CONTRAST = 0.15  # of outputs
LEAST_KEPT = 0.1  # of the contrast of pooled features, and of their RankMe, at the start
LEAST_RECORD_SHARE = 0.01
LEAST_RECORD_SHARE_KEPT = 0.05  # of that at the start
LEAST_GROWTH = 2.0  # of a record share that is below its bound, from the third evaluation after the start
LEAST_RANK = 2.0
PATIENCE = 3


@dataclass(frozen=True)
class Alarm:
    """What is wrong with a representation: a stable name, what was measured, what it means, and what to change."""

    name: str
    found: str
    explanation: str
    advice: str


def measure_representation(
    encoder: Encoder,
    signals_mv_RLS: Float[Tensor, "r l samples"],
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
) -> dict[str, float]:
    """Spread, share and rank of the features of some records, in float32 without autocast; no chance is used up.

    Of the tokens of the last block, before the final LayerNorm, which would hide that they shrink:

    - `token_spread`: standard deviation over all tokens of all records, mean over the dimensions.
    - `token_spread_min`: the same of the flattest dimension.
    - `record_share`: part of the tokens' variance, summed over dimensions, that lies between records at the same lead
      and patch; 0 if tokens depend on their position alone.
    - `within_record`: part of that variance that lies between the tokens of a record; 1 if all records have one mean.
    - `rankme_tokens`: RankMe of 4,096 tokens (all, if fewer), each less the mean over records at its position.

    Of the same tokens after the final LayerNorm, whose weights can hide what is left of them:

    - `output_contrast`: root of their variance over their mean square, both summed over dimensions; 0 if all tokens
      are the same, 1 if they have nothing in common.
    - `output_record_share`: as `record_share`.

    Of the pooled features, the mean over those, which is what a probe gets:

    - `pooled_contrast`: as `output_contrast`, over records; scale-free, as a spread would not be.
    - `cosine_pooled`: mean cosine over all pairs of different records.
    - `rankme_pooled`: RankMe, less the mean over records.

    RankMe (Garrido et al. 2023, arXiv:2210.02885) is exp of the entropy of the singular values over their sum, of
    centred features here: the number of dimensions in use, at most min(R - 1, D) for pooled features. Where nothing
    varies, shares and RankMe are 0.

    Args:
        signals_mv_RLS: (R, L, S) in mV, finite, on the CPU; 256 training records are a good number.
        batch_size: records that run at once.
        device: where to compute; the encoder moves there and stays. Where it is, if None.

    Returns:
        The `MEASURES` by name; all of them NaN if a feature is not finite.

    Raises:
        ValueError: fewer than two records, a sample that is not finite, or weights that are not float32.
    """
    weight = next(encoder.parameters())
    if len(signals_mv_RLS) < 2 or batch_size < 1:
        raise ValueError(f"collapse: {len(signals_mv_RLS)} records, expected 2 or more (in batches of {batch_size})")
    if not (finite_R := signals_mv_RLS.isfinite().all(dim=2).all(dim=1)).all():
        raise ValueError(
            f"collapse: {int((~finite_R).sum())} of {len(finite_R)} signals are not finite, "
            f"the first is number {int(finite_R.int().argmin())}"
        )
    if weight.dtype != torch.float32:
        raise ValueError(f"collapse: the encoder's weights are {weight.dtype}, expected torch.float32")
    device = weight.device if device is None else torch.device(device)
    encoder = encoder.to(device)

    records, tokens = len(signals_mv_RLS), len(encoder.contract.leads) * encoder.patches
    position_RK = _draw_positions(records, tokens)
    width = encoder.config.width
    before, after = TokenVariance(tokens, width, device), TokenVariance(tokens, width, device)
    pooled, sampled = [], []
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        for start in range(0, records, batch_size):
            signal_BLS = signals_mv_RLS[start : start + batch_size].to(device)
            tokens_BLPD = encoder.forward_features(signal_BLS, layer=encoder.config.depth)
            output_BLPD = encoder.norm(tokens_BLPD)
            pooled.append(encoder.pool(output_BLPD).double().cpu())
            tokens_BND = tokens_BLPD.flatten(1, 2)
            before.add(tokens_BND)
            after.add(output_BLPD.flatten(1, 2))
            position_BK = position_RK[start : start + batch_size].to(device)
            sampled.append(torch.take_along_dim(tokens_BND, position_BK[..., None], dim=1).cpu())
    pooled_RD, sampled_RKD = torch.cat(pooled).numpy(), torch.cat(sampled).double().numpy()
    if not np.isfinite(pooled_RD).all() or not np.isfinite(before.position_mean_ND()).all():
        return dict.fromkeys(MEASURES, math.nan)
    measures = before.spread() | before.shares() | measures_of_pooled(pooled_RD)
    measures |= {"output_contrast": after.contrast(), "output_record_share": after.shares()["record_share"]}
    residual_RKD = sampled_RKD - before.position_mean_ND()[position_RK.numpy()]
    scale = float(np.square(sampled_RKD).sum())
    measures["rankme_tokens"] = rankme(residual_RKD.reshape(-1, residual_RKD.shape[-1]), scale)
    return {name: measures[name] for name in MEASURES}


def find_alarms(history: Sequence[Mapping[str, float]]) -> list[Alarm]:
    """What is wrong at the last of these evaluations, by comparison with the first, which is of the random start.

    - `not_finite`: a feature is infinite or NaN.
    - `same_features`: all tokens, or all records, have nearly one output.
    - `positions_only`: features depend on lead and patch, and not on the ECG. A start that has this (the published
      initialisation) is given until the third evaluation after it.
    - `few_dimensions`: the records differ in one or two directions only.

    Args:
        history: the `MEASURES` of each evaluation in order, with other keys or without.

    Raises:
        ValueError: an evaluation lacks a measure.
    """
    for i, each in enumerate(history):
        if missing := [name for name in MEASURES if name not in each]:
            raise ValueError(f"collapse: evaluation {i} lacks {', '.join(missing)}, expected {', '.join(MEASURES)}")
    if not history:
        return []
    start, last, evaluations = history[0], history[-1], len(history) - 1
    if not all(math.isfinite(last[name]) for name in MEASURES):
        return [_NOT_FINITE]
    alarms = []

    contrast, pooled = last["output_contrast"], last["pooled_contrast"]
    found = [f"the outputs of all tokens differ by {contrast:.2g} of their size"] * (contrast < LEAST_CONTRAST)
    if pooled == 0 or pooled < LEAST_KEPT * start["pooled_contrast"]:
        found += [
            f"records differ by {pooled:.2g} of their features' size, {start['pooled_contrast']:.2g} at the start"
        ]
    if found:
        alarms.append(Alarm("same_features", "; ".join(found), *_SAME_FEATURES))

    for name, where in (("record_share", "before"), ("output_record_share", "after")):
        share, first = last[name], start[name]
        never_grew = evaluations >= PATIENCE and share < LEAST_RECORD_SHARE and share < LEAST_GROWTH * first
        if share < LEAST_RECORD_SHARE_KEPT * first or never_grew:
            found_here = (
                f"{share:.2g} of the tokens' variance {where} the last norm is of the ECG, {first:.2g} at the start"
            )
            alarms.append(Alarm("positions_only", found_here, *_POSITIONS_ONLY))
            break

    rank, first = last["rankme_pooled"], start["rankme_pooled"]
    if evaluations and pooled > 0 and (rank < LEAST_KEPT * first or rank < LEAST_RANK <= first):
        found_here = f"RankMe of the pooled features is {rank:.3g}, {first:.3g} at the start"
        alarms.append(Alarm("few_dimensions", found_here, *_FEW_DIMENSIONS))
    return alarms


_NOT_FINITE = Alarm(
    "not_finite",
    "features that are infinite or NaN",
    "The weights, or what becomes of the signals in them, have left the range of numbers.",
    "Go back to a checkpoint from before and lower the learning rate; look for extreme amplitudes in the stores.",
)
_SAME_FEATURES = (
    "The encoder gives nearly the same features whatever it is shown. That is easy to predict, so the loss falls.",
    "Lower the learning rate, or warm up longer; raise the teacher's momentum (0.996 to 1). With SIGReg raise its "
    "weight, or use larger batches. Constant or empty records do this too: run `ecgjepa inspect` on the stores.",
)
_POSITIONS_ONLY = (
    "The features tell which lead and which patch a token is, and next to nothing of the ECG in it.",
    "Set model.patch_norm = true. With the published embedding, only a long run gets beyond this.",
)
_FEW_DIMENSIONS = (
    "The records differ in very few directions, so little can be read off their features.",
    "Lower the learning rate; raise the teacher's momentum; hide more of the signal. With SIGReg raise its weight, or "
    "use larger batches.",
)


def _draw_positions(records: int, tokens: int) -> Int64[Tensor, "r k"]:
    """Which tokens of each record are sampled: the same ones for the same numbers, with a generator of its own."""
    count = min(tokens, math.ceil(SAMPLED_TOKENS / records))
    drawn = np.random.default_rng(0).random((records, tokens)).argsort(axis=1)[:, :count]
    return torch.from_numpy(drawn)
