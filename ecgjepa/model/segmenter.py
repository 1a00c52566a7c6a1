"""An encoder and a linear layer on every token: which wave each sample belongs to.

Axes: B records, L leads, S samples, P patches, D width, C kinds of sample.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Generator, Tensor, nn

from ecgjepa.model.attention import linear
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.transformer import initialise

KINDS = ("none", "P", "QRS", "T")


class Segmenter(nn.Module):
    """Signals -> four logits for every sample of every lead; a token says it of the samples of its patch.

    Args:
        encoder: is trained along, unless its weights ask for no gradient.
        generator: source of the initial weights of the layer; torch's own where None.
    """

    def __init__(self, encoder: Encoder, *, generator: Generator | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.linear = linear(encoder.width, encoder.config.patch_samples * len(KINDS))
        initialise(self.linear, generator)

    def forward(
        self,
        signal_mv_BLS: Float[Tensor, "b l s"],
        leads: Sequence[str] | None = None,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
    ) -> Float[Tensor, "b l s 4"]:
        """Logits in the order of `KINDS`, (B, L, S, 4); arguments as of `Encoder.forward_features`."""
        tokens_BLPD = self.encoder.forward_features(signal_mv_BLS, leads, path_scale=path_scale)
        return self.linear(tokens_BLPD).unflatten(3, (-1, len(KINDS))).flatten(2, 3)
