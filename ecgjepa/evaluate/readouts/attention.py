"""Attention pooling and a linear layer, trained on the frozen tokens of an encoder.

Axes: N records, B records of a batch, T tokens of a record, D width, K classes.
"""

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from ecgjepa.checkpoint.random_weights import generator_of
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.readouts.checks import (
    CONSTANT_LOGIT,
    Labels,
    check_labels,
    choose_thresholds,
    decide,
    learned_classes,
    macro_auc,
)
from ecgjepa.evaluate.readouts.tokens import TokenSource
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.schedules import learning_rate

# Training records by which tokens and pooled features are standardised.
SCALED_BY = 256
BETAS = (0.9, 0.95)


class PooledLinear(nn.Module):
    """Attention pooling, standardised features, a linear layer.

    Both the tokens behind the LayerNorm of the pooling (by its initial weights) and the pooled features are
    standardised by training records, as those of little trained encoders differ by a few thousandths of their size.
    """

    pooled_mean_D: Tensor
    pooled_scale_D: Tensor

    def __init__(self, width: int, classes: int, heads: int, tokens_NTD: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.pool = AttentionPool(width, heads, generator)
        self.linear = nn.utils.skip_init(nn.Linear, width, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        with torch.no_grad():
            mean_D, scale_D = _moments(self.pool.norm(tokens_NTD).flatten(0, 1))
            self.pool.norm.weight.copy_(1 / scale_D)
            self.pool.norm.bias.copy_(-mean_D / scale_D)
            mean_D, scale_D = _moments(torch.cat([self.pool(batch) for batch in tokens_NTD.split(32)]))
        self.register_buffer("pooled_mean_D", mean_D)
        self.register_buffer("pooled_scale_D", scale_D)

    def forward(self, tokens_BTD: Float[Tensor, "b t d"]) -> Float[Tensor, "b k"]:
        """Logits of the classes that can be learned."""
        return self.linear((self.pool(tokens_BTD) - self.pooled_mean_D) / self.pooled_scale_D)


class AttentionProbe:
    """Attention pooling and a linear layer on frozen tokens, trained by AdamW; validation chooses epoch and rates.

    One epoch of warm-up from a tenth, then a cosine to 0. All pairs of learning rate and weight decay are trained side
    by side, so that tokens are read, or computed, once an epoch for all of them. The epoch and the pair of the highest
    validation macro AUC are kept, of equally good ones the earliest; thresholds are those of best F1 on validation. A
    class that could not be learned has probability 0, or 1 if all training records have it.

    Args:
        task: `multilabel` or `multiclass`.
        seed: of initial weights and order; the result depends on nothing else.
        heads: of the pooling; the largest number up to this that divides the width.
        learning_rates, weight_decays: to choose from.
        device: where the layers are trained; tokens come from where their source computes them.

    Attributes:
        model_: the chosen `PooledLinear`, on the CPU.
        selection_: `epoch` (from 1), `learning_rate`, `weight_decay`, and as `grid` those and the validation macro AUC
            of every epoch.
        thresholds_: K probabilities from which a class is called; None for multiclass.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(
        self,
        task: Task,
        seed: int = 0,
        *,
        epochs: int = 20,
        batch_size: int = 64,
        heads: int = 8,
        learning_rates: tuple[float, ...] = (3e-4, 3e-3),
        weight_decays: tuple[float, ...] = (0.05,),
        device: str | torch.device = "cpu",
        progress: bool = False,
    ) -> None:
        self.task, self.seed, self.epochs, self.batch_size, self.heads = task, seed, epochs, batch_size, heads
        self.learning_rates, self.weight_decays = learning_rates, weight_decays
        self.device, self.progress = torch.device(device), progress

    def fit(
        self,
        tokens: TokenSource,
        labels_NK: Labels,
        validation_tokens: TokenSource,
        validation_labels_NK: Bool[ndarray, "v k"],
    ) -> "AttentionProbe":
        """Learn from training records, choose by validation records.

        Raises:
            ValueError: a part has no record, or no class with positives and negatives; a token is not finite.
        """
        check_labels(len(tokens), labels_NK, "training")
        check_labels(len(validation_tokens), validation_labels_NK, "validation")
        if tokens.width != validation_tokens.width:
            raise ValueError(f"validation: tokens of width {validation_tokens.width}, in training {tokens.width}")
        self.learned_K, self.constant_K = learned_classes(labels_NK, self.task), labels_NK.all(axis=0).astype(float)
        models, optimizers = self._candidates(tokens)
        target_NK = torch.from_numpy(labels_NK[:, self.learned_K].astype(np.float32))
        best_auc, grid, steps_an_epoch = -np.inf, [], math.ceil(len(tokens) / self.batch_size)
        for epoch in tqdm(range(self.epochs), desc="attention pooling", unit=" epochs", disable=not self.progress):
            for step, positions in enumerate(self._order(len(tokens), epoch), epoch * steps_an_epoch):
                tokens_BTD = _read(tokens, positions, "training").to(self.device)
                target_BK = target_NK[positions].to(self.device)
                for model, optimizer, (peak, _) in zip(models, optimizers, self._pairs(), strict=True):
                    self._step(model, optimizer, tokens_BTD, target_BK, self._rate(step, steps_an_epoch, peak))
            for found, pair, model in zip(
                self._all(models, validation_tokens, "validation"), self._pairs(), models, strict=True
            ):
                auc = macro_auc(validation_labels_NK, found)
                grid.append([epoch + 1, *pair, auc])
                if auc > best_auc:
                    best_auc, self.model_, probabilities_VK = auc, copy.deepcopy(model), found
                    chosen = dict(zip(("epoch", "learning_rate", "weight_decay"), grid[-1], strict=False))
        self.model_ = self.model_.cpu()
        self.selection_: dict[str, Any] = {**chosen, "grid": grid}
        self.thresholds_ = choose_thresholds(validation_labels_NK, probabilities_VK, self.learned_K, self.task)
        self.notes_: list[str] = []
        if chosen["epoch"] == self.epochs > 1:
            self.notes_.append(f"The chosen epoch is the last of {self.epochs}: more might be better.")
        return self

    def predict_proba(self, tokens: TokenSource) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        return self._all([copy.deepcopy(self.model_).to(self.device)], tokens, "prediction")[0]

    def predict(self, tokens: TokenSource) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(tokens), self.thresholds_)

    def raw_layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weights (K, D) and bias (K) on what `model_.pool` gives; a class that was not learned as of `LinearProbe`."""
        model = self.model_
        mean_D, scale_D = (each.double().numpy() for each in (model.pooled_mean_D, model.pooled_scale_D))
        bias_K = np.where(self.constant_K > 0, CONSTANT_LOGIT, -CONSTANT_LOGIT)
        weight_KD = np.zeros((len(bias_K), len(mean_D)))
        weight_KD[self.learned_K] = model.linear.weight.detach().double().numpy() / scale_D
        bias_K[self.learned_K] = model.linear.bias.detach().double().numpy() - weight_KD[self.learned_K] @ mean_D
        return weight_KD, bias_K

    def _pairs(self) -> list[tuple[float, float]]:
        return list(itertools.product(self.learning_rates, self.weight_decays))

    def _candidates(self, tokens: TokenSource) -> tuple[list[PooledLinear], list[torch.optim.Optimizer]]:
        """A model and its optimizer for every pair of rates, all with the same initial weights."""
        generator = generator_of(self.seed, 0)
        some = torch.randperm(len(tokens), generator=generator)[:SCALED_BY].sort().values.numpy()
        heads = max(number for number in range(1, self.heads + 1) if tokens.width % number == 0)
        sample_NTD = _read(tokens, some, "training")
        first = PooledLinear(tokens.width, int(self.learned_K.sum()), heads, sample_NTD, generator).to(self.device)
        models = [copy.deepcopy(first) for _ in self._pairs()]
        optimizers = [
            torch.optim.AdamW(_groups(model, decay), lr=peak, betas=BETAS)
            for model, (peak, decay) in zip(models, self._pairs(), strict=True)
        ]
        return models, list(optimizers)

    def _order(self, records: int, epoch: int) -> Iterator[ndarray]:
        order = torch.randperm(records, generator=generator_of(self.seed, 1, epoch))
        return (batch.numpy() for batch in order.split(self.batch_size))

    def _rate(self, step: int, steps_an_epoch: int, peak: float) -> float:
        steps, low = self.epochs * steps_an_epoch, peak / 10
        return learning_rate(step, steps=steps, warmup_steps=steps_an_epoch, peak=peak, warmup_from=low, minimum=0.0)

    def _step(
        self,
        model: PooledLinear,
        optimizer: torch.optim.Optimizer,
        tokens_BTD: Tensor,
        target_BK: Tensor,
        rate: float,
    ) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate
        cross_entropy = F.binary_cross_entropy_with_logits if self.task == "multilabel" else F.cross_entropy
        optimizer.zero_grad()
        cross_entropy(model(tokens_BTD), target_BK).backward()
        optimizer.step()

    def _all(self, models: list[PooledLinear], tokens: TokenSource, part: str) -> list[Float64[ndarray, "n k"]]:
        """Probabilities of every model, in one pass over the tokens."""
        found = [np.tile(self.constant_K, (len(tokens), 1)) for _ in models]
        with torch.no_grad():
            for start in range(0, len(tokens), self.batch_size):
                positions = np.arange(start, min(start + self.batch_size, len(tokens)))
                tokens_BTD = _read(tokens, positions, part).to(self.device)
                for model, probabilities_NK in zip(models, found, strict=True):
                    logits_BK = model(tokens_BTD).double().cpu()
                    values_BK = logits_BK.sigmoid() if self.task == "multilabel" else logits_BK.softmax(dim=1)
                    probabilities_NK[np.ix_(positions, self.learned_K.nonzero()[0])] = values_BK.numpy()
        return found


def _groups(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Weight decay on matrices only."""
    matrices = [value for value in model.parameters() if value.ndim > 1]
    others = [value for value in model.parameters() if value.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def _read(tokens: TokenSource, positions: ndarray, part: str) -> Tensor:
    tokens_BTD = tokens.tokens(positions)
    if not (finite_B := tokens_BTD.isfinite().all(dim=2).all(dim=1)).all():
        raise ValueError(
            f"{part}: {int((~finite_B).sum())} of {len(positions)} records have tokens that are not finite"
        )
    return tokens_BTD


def _moments(values_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension; 1 in place of no deviation."""
    mean_D, spread_D = values_ND.double().mean(dim=0), values_ND.double().std(dim=0, correction=0)
    spread_D = torch.where(spread_D > 0, spread_D, 1.0)
    return mean_D.to(values_ND.dtype), spread_D.to(values_ND.dtype)
