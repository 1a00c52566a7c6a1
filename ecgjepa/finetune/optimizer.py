"""AdamW with a rate for every layer, and that rate as a function of the step."""

import math
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW

from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.model.classifier import Classifier
from ecgjepa.model.segmenter import Segmenter


@dataclass(frozen=True)
class Stages:
    """How many steps each stage has: the head alone, then all; either may have none."""

    head: int
    all: int
    per_epoch: int

    @classmethod
    def of(cls, settings: FinetuneSettings, steps_per_epoch: int) -> "Stages":
        """The stages of a mode."""
        own = 0 if settings.head_start == "solved" else settings.head_epochs
        head_epochs = {"frozen": settings.epochs, "two-stage": own}.get(settings.mode, 0)
        return cls(head_epochs * steps_per_epoch, (settings.epochs - head_epochs) * steps_per_epoch, steps_per_epoch)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.head + self.all

    def trains_encoder(self, step: int) -> bool:
        """Whether the encoder learns in a step, from 0."""
        return step >= self.head


def make_optimizer(network: Classifier | Segmenter, settings: FinetuneSettings) -> AdamW:
    """AdamW with one group of weights for each layer and kind of decay; `scale` of a group is its part of the rate.

    The head, the encoder's last LayerNorm and its last block have 1, each block below `layer_decay` times that of the
    one above, the patch embedding that of one more. Biases and other 1-D weights do not decay.
    """
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    depth = network.encoder.config.depth
    for name, weight in network.named_parameters():
        below = depth_below_top(name, depth)
        groups.setdefault((below, weight.ndim > 1), []).append(weight)
    return AdamW(
        [
            {
                "params": weights,
                "weight_decay": settings.weight_decay if decays else 0.0,
                "scale": settings.layer_decay**below,
            }
            for (below, decays), weights in sorted(groups.items(), key=lambda each: each[0])
        ],
        lr=settings.lr,
        betas=settings.betas,
        fused=True,
    )


def depth_below_top(name: str, depth: int) -> int:
    """How many layers lie above a weight: 0 for the head, the last norm and the last block, `depth` for the patches."""
    _, _, inside = name.partition("encoder.")
    if inside.startswith("blocks."):
        return depth - 1 - int(inside.split(".")[1])
    return depth if inside.startswith("patch_embed.") else 0


def set_rates(optimizer: AdamW, settings: FinetuneSettings, stages: Stages, step: int) -> float:
    """Give every group its rate for a step, and return that of the head."""
    warmup = settings.warmup_epochs * stages.per_epoch
    if stages.trains_encoder(step):
        rate = warm_cosine(step - stages.head, steps=stages.all, warmup_steps=warmup, peak=settings.lr)
    else:
        rate = warm_cosine(step, steps=stages.head, warmup_steps=min(warmup, stages.head / 3), peak=settings.head_lr)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]
    return rate


def warm_cosine(step: int, *, steps: int, warmup_steps: float, peak: float) -> float:
    """Linear from 0 to `peak`, then half a cosine to 0 that begins where the warm-up ends (released fine-tuning code).

    Args:
        step: optimizer steps made so far, from 0.
        steps: of the whole run.
        warmup_steps: of the linear part; may be a fraction.
    """
    if step < warmup_steps:
        return peak * step / warmup_steps
    return 0.5 * peak * (1 + math.cos(math.pi * min(1.0, (step - warmup_steps) / max(steps - warmup_steps, 1e-9))))
