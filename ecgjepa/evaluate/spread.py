"""How much features vary, and in how many directions: variances batch by batch, RankMe.

Axes: R records, B of them in a batch, N tokens of a record, D width, T features.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

# A variance below this part of the mean square is float32's rounding, and counts as none.
ROUNDING = 1e-12


def rankme(centred_TD: Float[ndarray, "t d"], scale: float | None = None) -> float:
    """exp of the entropy of the singular values over their sum; 0 if they are all 0.

    Args:
        centred_TD: (T, D) features, centred as wanted.
        scale: sum of squares before they were centred; singular values that are rounding beside it count as 0.
    """
    # The eigenvalues of the smaller Gram matrix are the squares of the singular values, and several times faster.
    gram = centred_TD @ centred_TD.T if len(centred_TD) < centred_TD.shape[1] else centred_TD.T @ centred_TD
    energy = np.linalg.eigvalsh(gram).clip(min=0.0)
    if not energy.any() or energy.sum() <= ROUNDING * (scale or 0.0):
        return 0.0
    share = np.sqrt(energy)
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


class TokenVariance:
    """What the variances of all tokens need, batch by batch in float64: 4 MB at width 768."""

    def __init__(self, tokens: int, width: int, device: torch.device) -> None:
        self.records = 0
        self.position_ND = torch.zeros(tokens, width, dtype=torch.float64, device=device)
        self.square_D, self.mean_square_D = torch.zeros(2, width, dtype=torch.float64, device=device)

    def add(self, tokens_BND: Float[Tensor, "b n d"]) -> None:
        """Count a batch of records, (B, N, D)."""
        tokens_BND = tokens_BND.double()
        self.records += len(tokens_BND)
        self.position_ND += tokens_BND.sum(dim=0)
        self.square_D += tokens_BND.square().sum(dim=(0, 1))
        self.mean_square_D += tokens_BND.mean(dim=1).square().sum(dim=0)

    def position_mean_ND(self) -> Float[ndarray, "n d"]:
        """Mean over records at each position, (N, D)."""
        return (self.position_ND / self.records).cpu().numpy()

    def moments(self) -> tuple[ndarray, ndarray, ndarray]:
        """Mean, mean square and variance of each dimension over all tokens; a variance that is rounding is 0."""
        position_ND = self.position_mean_ND()
        mean_D, energy_D = position_ND.mean(axis=0), self.square_D.cpu().numpy() / (self.records * len(position_ND))
        variance_D = np.clip(energy_D - mean_D**2, 0.0, None)
        return mean_D, energy_D, variance_D * (variance_D.sum() > ROUNDING * energy_D.sum())

    def spread(self) -> dict[str, float]:
        """Standard deviation over all tokens: mean over the dimensions, and of the flattest."""
        spread_D = np.sqrt(self.moments()[2])
        return {"token_spread": float(spread_D.mean()), "token_spread_min": float(spread_D.min())}

    def shares(self) -> dict[str, float]:
        """Parts of the variance between records at one position, and within records; 0 where nothing varies."""
        mean_D, _, variance_D = self.moments()
        if (total := variance_D.sum()) == 0:
            return {"record_share": 0.0, "within_record": 0.0}
        of_positions = self.position_mean_ND().var(axis=0).sum()
        of_records = (self.mean_square_D.cpu().numpy() / self.records - mean_D**2).sum()
        return {
            "record_share": float(np.clip(1 - of_positions / total, 0.0, 1.0)),
            "within_record": float(np.clip(1 - of_records / total, 0.0, 1.0)),
        }

    def contrast(self) -> float:
        """See `contrast_of`."""
        _, energy_D, variance_D = self.moments()
        return contrast_of(variance_D.sum(), energy_D.sum())


def contrast_of(variance: float, mean_square: float) -> float:
    """How much of their size features differ by: 0 if they are all the same, 1 if they have nothing in common."""
    return math.sqrt(variance / mean_square) if variance > ROUNDING * mean_square else 0.0


def measures_of_pooled(pooled_RD: Float[ndarray, "r d"]) -> dict[str, float]:
    """Contrast, mean cosine of all pairs and RankMe of pooled features, (R, D)."""
    centred_RD = pooled_RD - pooled_RD.mean(axis=0)
    length_R = np.linalg.norm(pooled_RD, axis=1)
    direction_RD = pooled_RD / np.maximum(length_R, np.finfo(np.float64).tiny)[:, None]
    own, all_pairs = np.square(direction_RD).sum(), np.square(direction_RD.sum(axis=0)).sum()
    return {
        "pooled_contrast": contrast_of(pooled_RD.var(axis=0).sum(), np.square(pooled_RD).mean(axis=0).sum()),
        "cosine_pooled": float((all_pairs - own) / (len(pooled_RD) * (len(pooled_RD) - 1))),
        "rankme_pooled": rankme(centred_RD, float(np.square(pooled_RD).sum())),
    }
