"""The linear layer of the published evaluation: the read-out of the paper protocol.

Axes: N records, D features, K classes.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor

from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts.checks import Features, Labels, check_finite, check_part, decide
from ecgjepa.schedules import learning_rate


class PaperProbe:
    """One linear layer as the published evaluation trains it (arXiv:2410.08559, section 5.1, and the released code).

    No normalisation, no validation; AdamW 1e-2 with weight decay 0.01, batches of 16, 10 epochs, 10 steps of warm-up
    from a tenth of the rate, cosine back to a tenth, state after the last epoch. Binary cross-entropy called at 0.5
    (multilabel), or cross-entropy called by arg-max (multiclass).

    Args:
        task: `multilabel` or `multiclass`.
        seed: of initial weights and order.

    Attributes:
        weight_DK, bias_K: the layer.
        selection_: empty, as nothing is chosen.
        thresholds_: 0.5 for every class; None for multiclass.
    """

    PEAK, WARMUP_STEPS, WEIGHT_DECAY = 1e-2, 10, 0.01

    def __init__(self, task: Task, seed: int = 0, epochs: int = 10, batch_size: int = 16) -> None:
        self.task, self.seed, self.epochs, self.batch_size = task, seed, epochs, batch_size

    def fit(
        self,
        features_ND: Features,
        labels_NK: Labels,
        validation_features_ND: Float[ndarray, "v d"] | None = None,
        validation_labels_NK: Bool[ndarray, "v k"] | None = None,
    ) -> "PaperProbe":
        """Learn from training records; validation records, if given as to the other read-outs, are not looked at.

        Raises:
            ValueError: features are not finite or have no record.
        """
        check_part(features_ND, labels_NK, "training")
        generator = torch.Generator().manual_seed(self.seed)
        x_ND = torch.from_numpy(np.asarray(features_ND, dtype=np.float32))
        y_NK = torch.from_numpy(labels_NK.astype(np.float32))
        bound = x_ND.shape[1] ** -0.5  # the initial values of torch.nn.Linear
        weight_KD = torch.empty(y_NK.shape[1], x_ND.shape[1]).uniform_(-bound, bound, generator=generator)
        bias_K = torch.empty(y_NK.shape[1]).uniform_(-bound, bound, generator=generator)
        layer = [weight_KD.requires_grad_(), bias_K.requires_grad_()]
        with _one_thread():
            self._train(layer, x_ND, y_NK, generator)
        self.weight_DK, self.bias_K = (values.detach().numpy().T for values in layer)
        self.thresholds_ = np.full(labels_NK.shape[1], 0.5) if self.task == "multilabel" else None
        self.notes_: list[str] = []
        self.selection_: dict[str, Any] = {}
        return self

    def _train(self, layer: list[Tensor], x_ND: Tensor, y_NK: Tensor, generator: torch.Generator) -> None:
        optimizer = torch.optim.AdamW(layer, lr=self.PEAK, weight_decay=self.WEIGHT_DECAY)
        cross_entropy = F.binary_cross_entropy_with_logits if self.task == "multilabel" else F.cross_entropy
        steps, step = self.epochs * math.ceil(len(x_ND) / self.batch_size), 0
        low = self.PEAK / 10
        for _ in range(self.epochs):
            for batch in torch.randperm(len(x_ND), generator=generator).split(self.batch_size):
                optimizer.param_groups[0]["lr"] = learning_rate(
                    step, steps=steps, warmup_steps=self.WARMUP_STEPS, peak=self.PEAK, warmup_from=low, minimum=low
                )
                optimizer.zero_grad()
                cross_entropy(F.linear(x_ND[batch], *layer), y_NK[batch]).backward()
                optimizer.step()
                step += 1

    def predict_proba(self, features_ND: Features) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        check_finite(features_ND, "prediction")
        logits_NK = torch.from_numpy(features_ND.astype(np.float64) @ self.weight_DK + self.bias_K)
        probabilities = logits_NK.sigmoid() if self.task == "multilabel" else logits_NK.softmax(dim=1)
        return probabilities.numpy()

    def raw_layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weights (K, D) and bias (K)."""
        return self.weight_DK.T.astype(np.float64), self.bias_K.astype(np.float64)

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches of 16 are too small to share: 12,000 steps take 8 s on one thread and 80 s on two busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
