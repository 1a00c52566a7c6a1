"""Attention pooling: one learned query looks at all tokens of a record.

Axes: B records, N tokens, D width, H heads, E width of a head.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from ecgjepa.model.attention import linear
from ecgjepa.model.transformer import INITIAL_STD, initialise


class AttentionPool(nn.Module):
    """Tokens -> one feature: multi-head cross-attention of a learned query, on tokens behind a LayerNorm.

    Args:
        width: of tokens and feature.
        heads: of the attention; the width is a multiple of them.
        generator: source of the initial weights; torch's own where None.

    Raises:
        ValueError: the width is not a multiple of the heads.
    """

    def __init__(self, width: int, heads: int, generator: Generator | None = None) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"attention pooling: width {width} is not a multiple of {heads} heads")
        self.width, self.heads = width, heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.empty(width))
        self.key, self.value, self.proj = linear(width, width), linear(width, width), linear(width, width)
        initialise(self, generator)
        nn.init.trunc_normal_(self.query, std=INITIAL_STD, generator=generator)

    def forward(
        self, tokens_BND: Float[Tensor, "b n d"], present_BN: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b d"]:
        """The feature of each record, (B, D).

        Args:
            present_BN: False where there is no token; its values may be anything but NaN. One at least is there.
        """
        tokens_BND = self.norm(tokens_BND)
        key_BHNE, value_BHNE = (self._split(layer(tokens_BND)) for layer in (self.key, self.value))
        query_BH1E = self.query.view(self.heads, 1, -1).to(key_BHNE.dtype).expand(len(tokens_BND), -1, -1, -1)
        seen_B11N = None if present_BN is None else present_BN[:, None, None]
        pooled_BH1E = F.scaled_dot_product_attention(query_BH1E, key_BHNE, value_BHNE, attn_mask=seen_B11N)
        return self.proj(pooled_BH1E.flatten(1))

    def _split(self, tokens_BND: Float[Tensor, "b n d"]) -> Float[Tensor, "b h n e"]:
        return tokens_BND.unflatten(2, (self.heads, -1)).transpose(1, 2)
