"""Cross-pattern attention: a token sees the tokens of its own lead and those of its own patch in time.

Tokens stand on a grid of leads and patches, so the rule needs no mask: the keys of a query are its row and its column.
`attend_factorised` computes only those scores and runs; `attend_dense` computes all of them and masks, to check.
Milliseconds of `attend_factorised` / `attend_dense` on one core (EPYC), 16 records of the published size, forward
(forward and backward):

| patches | float32 | bfloat16 |
|---|---|---|
| 50 | 73 / 131 (200 / 451) | 41 / 151 (121 / 573) |
| 17 | 18 / 19 (52 / 66) | 12 / 26 (35 / 133) |

Axes: B records, L leads, V patches, N = L * V tokens, H heads, E width of a head, D = H * E.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ecgjepa.model.tokens import take_patches

# Queries, keys and values of all heads (B, H, L, V, E) -> values attended to, of the same shape.
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def cross_pattern(lead_N: Int[Tensor, "n"], patch_N: Int[Tensor, "n"]) -> Bool[Tensor, "n n"]:
    """True where a query (row) may see a key (column): same lead, or same patch in time (arXiv:2410.08559)."""
    return (lead_N[:, None] == lead_N) | (patch_N[:, None] == patch_N)


def grid_pattern(leads: int, patches: int) -> Bool[Tensor, "n n"]:
    """The cross pattern of a full grid, token n = lead * patches + patch."""
    lead_N, patch_N = torch.arange(leads * patches), torch.arange(leads * patches)
    return cross_pattern(lead_N // patches, patch_N % patches)


def attend_dense(
    query: Float[Tensor, "b h l v e"],
    key: Float[Tensor, "b h l v e"],
    value: Float[Tensor, "b h l v e"],
    pattern_NN: Bool[Tensor, "n n"],
    present_BLV: Bool[Tensor, "b l v"] | None = None,
) -> Float[Tensor, "b h l v e"]:
    """Attention of every token to every token that `pattern_NN` allows and `present_BLV` has (see the other form)."""
    if present_BLV is not None:
        itself_NN = torch.eye(len(pattern_NN), dtype=torch.bool, device=query.device)
        pattern_NN = (pattern_NN & present_BLV.flatten(1)[:, None, None]) | itself_NN
    query_N, key_N, value_N = (grid.flatten(2, 3) for grid in (query, key, value))
    return F.scaled_dot_product_attention(query_N, key_N, value_N, attn_mask=pattern_NN).view_as(query)


def attend_factorised(
    query: Float[Tensor, "b h l v e"],
    key: Float[Tensor, "b h l v e"],
    value: Float[Tensor, "b h l v e"],
    present_BLV: Bool[Tensor, "b l v"] | None = None,
) -> Float[Tensor, "b h l v e"]:
    """Attention of a token to its lead and its moment, under one softmax over both; the token itself counts once.

    Exactly what `attend_dense` computes with the cross pattern, from V + L scores per query in place of V * L.
    Tokens that `present_BLV` says are absent are seen by none; each still sees itself, so that every output is finite.
    """
    leads, patches = query.shape[2:4]
    if leads == 1 and present_BLV is None:
        return attend_within_lead(query, key, value)
    query, key, value = query.contiguous() * query.shape[-1] ** -0.5, key.contiguous(), value.contiguous()
    lead_scores_BHLVV = query @ key.mT
    moment_scores_BHVLL = query.transpose(2, 3) @ key.transpose(2, 3).mT
    if present_BLV is not None:
        itself_VV = torch.eye(patches, dtype=torch.bool, device=query.device)
        absent_BLVV = ~present_BLV[:, :, None] & ~itself_VV
        lead_scores_BHLVV = lead_scores_BHLVV.masked_fill(absent_BLVV[:, None], -math.inf)
        moment_scores_BHVLL = moment_scores_BHVLL.masked_fill(~present_BLV.mT[:, None, :, None], -math.inf)
    itself_LL = torch.eye(leads, dtype=torch.bool, device=query.device)
    moment_scores_BHVLL = moment_scores_BHVLL.masked_fill(itself_LL, -math.inf)  # it is among the lead's scores
    scores = torch.cat([lead_scores_BHLVV, moment_scores_BHVLL.transpose(2, 3)], dim=-1)
    lead_weights_BHLVV, moment_weights_BHLVL = _softmax(scores).split((patches, leads), dim=-1)
    moment_BHVLE = moment_weights_BHLVL.transpose(2, 3) @ value.transpose(2, 3)
    return lead_weights_BHLVV @ value + moment_BHVLE.transpose(2, 3)


def attend_within_lead(
    query: Float[Tensor, "b h l v e"], key: Float[Tensor, "b h l v e"], value: Float[Tensor, "b h l v e"]
) -> Float[Tensor, "b h l v e"]:
    """Full attention among the patches of each lead alone.

    Written out, because in bfloat16 on a CPU, forward and backward of `scaled_dot_product_attention` take 228 ms where
    this takes 48 ms (16 records of 8 leads, 50 patches, 12 heads of 32); in float32 they are equal.
    """
    query, key, value = query.contiguous() * query.shape[-1] ** -0.5, key.contiguous(), value.contiguous()
    return _softmax(query @ key.mT) @ value


def _softmax(scores: Float[Tensor, "*grid keys"]) -> Float[Tensor, "*grid keys"]:
    # At least in float32: more exact, and on a CPU twice as fast as in bfloat16.
    exact = torch.promote_types(scores.dtype, torch.float32)
    return scores.softmax(dim=-1, dtype=exact).to(scores.dtype)


class Attention(nn.Module):
    """Projections of multi-head attention; who sees whom is the argument `attend`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = linear(width, 3 * width, bias=False)
        self.proj = linear(width, width)

    def forward(
        self,
        tokens_BLVD: Float[Tensor, "b l v d"],
        attend: Attend,
        kept_patches: Int[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b l kept d"]:
        """What each token takes from those it sees, at the kept patches; at all of them where None."""
        query, key, value = self.qkv(tokens_BLVD).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        attended_BHLVE = attend(query, key, value)
        attended_BLVD = attended_BHLVE.permute(0, 2, 3, 1, 4).flatten(3)
        return self.proj(attended_BLVD if kept_patches is None else take_patches(attended_BLVD, kept_patches))


def linear(inputs: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A linear layer without values: whoever owns it initialises it, and no random number is drawn for nothing."""
    return nn.Linear(inputs, outputs, bias=bias, device="meta").to_empty(device=torch.get_default_device())
