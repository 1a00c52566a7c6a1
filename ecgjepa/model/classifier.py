"""An encoder, a pooling of its tokens and a linear layer: what fine-tuning trains.

Axes: B records, L leads, S samples, D width, K outputs.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Generator, Tensor, nn

from ecgjepa.model.attention import linear
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.transformer import initialise

Pooling = Literal["mean", "attention"]
POOL_HEADS = 8


class Classifier(nn.Module):
    """Signals -> K numbers a record: logits of classes, or values of a regression.

    Pooled features are standardised before the linear layer, and its outputs scaled, by constants that are 0 and 1
    until `standardise` and `scale_outputs` are called: features of little trained encoders differ by thousandths of
    their size, and ages are tens of years. `layer` gives the linear layer with both folded in.

    Args:
        encoder: is trained along, unless its weights ask for no gradient.
        outputs: K.
        pooling: mean over tokens, or attention.
        generator: source of the initial weights of what is new; torch's own where None.
    """

    feature_mean_D: Tensor
    feature_scale_D: Tensor
    output_mean_K: Tensor
    output_scale_K: Tensor

    def __init__(
        self, encoder: Encoder, outputs: int, pooling: Pooling = "mean", *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        heads = max(number for number in range(1, POOL_HEADS + 1) if encoder.width % number == 0)
        self.pool = AttentionPool(encoder.width, heads, generator) if pooling == "attention" else None
        self.linear = linear(encoder.width, outputs)
        initialise(self.linear, generator)
        for name, value in (("mean", torch.zeros), ("scale", torch.ones)):
            self.register_buffer(f"feature_{name}_D", value(encoder.width))
            self.register_buffer(f"output_{name}_K", value(outputs))

    def forward(
        self,
        signal_mv_BLS: Float[Tensor, "b l s"],
        leads: Sequence[str] | None = None,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, "b k"]:
        """Logits (or values), (B, K); arguments as of `Encoder.forward_features`."""
        features_BD = self.features(signal_mv_BLS, leads, path_scale)
        outputs_BK = self.linear((features_BD - self.feature_mean_D) / self.feature_scale_D)
        return outputs_BK * self.output_scale_K + self.output_mean_K

    def features(
        self,
        signal_mv_BLS: Float[Tensor, "b l s"],
        leads: Sequence[str] | None = None,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, "b d"]:
        """Pooled features, (B, D); the encoder builds no graph if its weights ask for no gradient."""
        is_trained = torch.is_grad_enabled() and next(self.encoder.parameters()).requires_grad
        with torch.set_grad_enabled(is_trained):
            tokens_BLPD = self.encoder.forward_features(signal_mv_BLS, leads, path_scale=path_scale)
        return self.encoder.pool(tokens_BLPD) if self.pool is None else self.pool(tokens_BLPD.flatten(1, 2))

    @torch.no_grad()
    def standardise(self, features_ND: Float[Tensor, "n d"]) -> None:
        """Take the constants of the features from some records."""
        spread_D = features_ND.double().std(dim=0, correction=0).float()
        self.feature_mean_D.copy_(features_ND.double().mean(dim=0))
        self.feature_scale_D.copy_(torch.where(spread_D > 0, spread_D, torch.ones_like(spread_D)))

    @torch.no_grad()
    def scale_outputs(self, mean_K: Float[Tensor, "k"], scale_K: Float[Tensor, "k"]) -> None:
        """Set the constants of the outputs, for a regression."""
        self.output_mean_K.copy_(mean_K)
        self.output_scale_K.copy_(scale_K)

    @torch.no_grad()
    def layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weight (K, D) and bias (K) on pooled features, with all constants folded in."""
        scale_K = self.output_scale_K.double()
        weight_KD = self.linear.weight.double() / self.feature_scale_D.double() * scale_K[:, None]
        bias_K = self.linear.bias.double() * scale_K + self.output_mean_K.double()
        bias_K = bias_K - weight_KD @ self.feature_mean_D.double()
        return weight_KD.cpu().numpy(), bias_K.cpu().numpy()
