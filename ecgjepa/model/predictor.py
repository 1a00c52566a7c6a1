"""The predictor: features of the visible patches of a lead -> features at its hidden patches.

Axes: B records, L leads, V visible patches, M hidden patches, N = V + M, D encoder's width, W predictor's width.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import attend_within_lead, linear
from ecgjepa.model.tokens import position_table, take_patches
from ecgjepa.model.transformer import INITIAL_STD, Stack, initialise


class Predictor(nn.Module):
    """A narrow transformer that sees each lead alone (arXiv:2410.08559, section 3.3).

    Args:
        config: sizes.
        patches: of a lead.
        outputs: width of what it predicts; the encoder's where None.
        generator: source of the initial weights; torch's own where None.
    """

    position_1PW: Tensor

    def __init__(
        self,
        config: ModelConfig,
        patches: int,
        *,
        outputs: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        width = config.predictor_width
        self.embed = linear(config.width, width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))  # 3-D as published, so that weight decay acts on it
        self.blocks = Stack(width, config.predictor_depth, config.predictor_heads, mlp_ratio=4.0)
        self.norm = nn.LayerNorm(width)
        self.project = linear(width, outputs or config.width)
        self.register_buffer("position_1PW", position_table(1, patches, width), persistent=False)
        self.initialise(generator)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Give every weight its initial value."""
        initialise(self, generator)
        nn.init.trunc_normal_(self.mask_token, std=INITIAL_STD, a=-2, b=2, generator=generator)

    def forward(
        self,
        features_BLVD: Float[Tensor, "b l v d"],
        visible_patches: Int[Tensor, "#b v"],
        hidden_patches: Int[Tensor, "#b m"],
    ) -> Float[Tensor, "b l m outputs"]:
        """What is predicted at the hidden patches, (B, L, V, D) -> (B, L, M, D or `outputs`)."""
        visible, hidden = visible_patches.shape[1], hidden_patches.shape[1]
        last_1M = torch.arange(visible, visible + hidden, device=hidden_patches.device)[None]
        return self.project(self.forward_features(features_BLVD, visible_patches, hidden_patches, last_1M))

    def forward_features(
        self,
        features_BLVD: Float[Tensor, "b l v d"],
        visible_patches: Int[Tensor, "#b v"],
        hidden_patches: Int[Tensor, "#b m"],
        kept_N: Int[Tensor, "#b kept"] | None = None,
    ) -> Float[Tensor, "b l n w"]:
        """Last features before the projection: of the visible patches, then of the hidden ones.

        Args:
            features_BLVD: (B, L, V, D) from the encoder, in the order of `visible_patches`.
            visible_patches: (1, V) or (B, V) patch of each feature.
            hidden_patches: (1, M) or (B, M) patches to predict.
            kept_N: which of these N = V + M are computed to the end, 0 to N - 1; all where None.
        """
        context_BLVW = self.embed(features_BLVD)
        batch, leads, _, width = context_BLVW.shape
        mask_BLMW = self.mask_token.to(context_BLVW.dtype).expand(batch, leads, hidden_patches.shape[1], width)
        patches_BN = torch.cat([visible_patches, hidden_patches], dim=1)
        position_B1NW = take_patches(self.position_1PW[None], patches_BN)
        tokens_BLNW = torch.cat([context_BLVW, mask_BLMW], dim=2)
        return self.norm(self.blocks(tokens_BLNW, position_B1NW, attend_within_lead, kept_patches=kept_N))
