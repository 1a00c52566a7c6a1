"""The two ways to read labels off frozen features: `LinearProbe` (strict) and `PaperProbe` (as published).

Both learn in `fit`, and what they learned ends in `_`. Neither ever sees a test record before `predict_proba`.

Axes: N records, D features, K classes.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ecgjepa.evaluate.logistic import LogisticFit, LogisticPath, Task
from ecgjepa.evaluate.metrics import auroc, best_f1_thresholds, macro
from ecgjepa.schedules import learning_rate

Features = Float[ndarray, "n d"]
Labels = Bool[ndarray, "n k"]

# Features of random or little trained weights are nearly collinear, and need values of C of 100 and more.
C_GRID = tuple(10.0**exponent for exponent in range(-5, 5))
# The largest values take longest: the search ends after this many in a row that are worse than the best.
PATIENCE = 3
# Logit of a class that could not be learned, as a layer holds it: finite, and exactly 0 or 1 as a probability.
CONSTANT_LOGIT = 1e4


class GridPoint(NamedTuple):
    """One regularisation and how well it did on validation."""

    regularization_c: float
    macro_auc: float


class LinearProbe:
    """Logistic regression on standardised features; validation records choose C by macro AUC, and the thresholds by F1.

    Multilabel: one binary regression per class, one C for all. Multiclass: one softmax, decided by its arg-max. A class
    that no training record has (or, multilabel, every one) gets probability 0 (or 1) for all records.

    Args:
        task: `multilabel` or `multiclass`.
        grid: values of C, ascending; of several equally good ones the smallest is taken. Those after three in a row
            that are worse than the best are not tried.

    Attributes:
        C_: the chosen C.
        grid_: macro AUC on validation for every C that was tried.
        thresholds_: K probabilities from which a class is called; None for multiclass.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(self, task: Task, grid: tuple[float, ...] = C_GRID) -> None:
        self.task, self.grid = task, grid

    def fit(
        self,
        features_ND: Features,
        labels_NK: Labels,
        validation_features_ND: Float[ndarray, "v d"],
        validation_labels_NK: Bool[ndarray, "v k"],
    ) -> "LinearProbe":
        """Learn from training records, choose by validation records.

        Raises:
            ValueError: features are not finite or have no record, or a part has no class with positives and negatives.
        """
        _check(features_ND, labels_NK, "training")
        _check(validation_features_ND, validation_labels_NK, "validation")
        self.learned_K = labels_NK.any(axis=0) & ((self.task == "multiclass") | ~labels_NK.all(axis=0))
        self.constant_K = labels_NK.all(axis=0).astype(float)
        if self.learned_K.sum() < (2 if self.task == "multiclass" else 1):
            raise ValueError("training: no class has positive and negative records, so there is nothing to learn")
        self.scaler_ = StandardScaler().fit(features_ND.astype(np.float64))
        path = LogisticPath(self._scaled(features_ND), labels_NK[:, self.learned_K], self.task)
        self.grid_, self.best_, best_auc = [], 0, -np.inf
        for i, c in enumerate(self.grid):
            if i > self.best_ + PATIENCE:
                break
            fit = path.fit(c)
            probabilities_NK = self._probabilities(validation_features_ND, fit)
            auc = float(macro(auroc(validation_labels_NK, probabilities_NK))[0])
            if np.isnan(auc):
                raise ValueError("validation: no class has positive and negative records, so C cannot be chosen")
            self.grid_.append(GridPoint(c, auc))
            if auc > best_auc:
                self.best_, self.fit_, best_auc = i, fit, auc
        self.C_ = self.grid[self.best_]
        self.thresholds_ = None
        if self.task == "multilabel":
            thresholds_K = best_f1_thresholds(validation_labels_NK, self.predict_proba(validation_features_ND))
            self.thresholds_ = np.where(self.learned_K, thresholds_K, 0.5)
        self.notes_ = []
        if len(self.grid) > 1 and self.best_ in (0, len(self.grid) - 1):
            self.notes_.append(
                f"The chosen C = {self.C_:g} is an end of the grid {self.grid[0]:g} to {self.grid[-1]:g}."
            )
        if not self.fit_.converged:
            self.notes_.append(f"The logistic regression with C = {self.C_:g} did not converge.")
        return self

    def predict_proba(self, features_ND: Features) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K)."""
        _check_finite(features_ND, "prediction")
        return self._probabilities(features_ND, self.fit_)

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)

    def raw_layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weights (K, D) and bias (K) on features as they come: the standardisation is folded in.

        A class that could not be learned has weights of 0 and a bias of -+`CONSTANT_LOGIT`.
        """
        bias_K = np.where(self.constant_K > 0, CONSTANT_LOGIT, -CONSTANT_LOGIT)
        weight_KD = np.zeros((len(bias_K), len(self.scaler_.scale_)))
        weight_KD[self.learned_K] = (self.fit_.weights_DK / self.scaler_.scale_[:, None]).T
        bias_K[self.learned_K] = self.fit_.bias_K - weight_KD[self.learned_K] @ self.scaler_.mean_
        return weight_KD, bias_K

    def _scaled(self, features_ND: ndarray) -> ndarray:
        return self.scaler_.transform(features_ND.astype(np.float64))

    def _probabilities(self, features_ND: ndarray, fit: LogisticFit) -> ndarray:
        probabilities_NK = np.tile(self.constant_K, (len(features_ND), 1))
        probabilities_NK[:, self.learned_K] = fit.probabilities(self._scaled(features_ND), self.task)
        return probabilities_NK


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
        thresholds_: 0.5 for every class; None for multiclass.
    """

    PEAK, WARMUP_STEPS, WEIGHT_DECAY = 1e-2, 10, 0.01

    def __init__(self, task: Task, seed: int = 0, epochs: int = 10, batch_size: int = 16) -> None:
        self.task, self.seed, self.epochs, self.batch_size = task, seed, epochs, batch_size

    def fit(self, features_ND: Features, labels_NK: Labels) -> "PaperProbe":
        """Learn from training records.

        Raises:
            ValueError: features are not finite or have no record.
        """
        _check(features_ND, labels_NK, "training")
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
        _check_finite(features_ND, "prediction")
        logits_NK = torch.from_numpy(features_ND.astype(np.float64) @ self.weight_DK + self.bias_K)
        probabilities = logits_NK.sigmoid() if self.task == "multilabel" else logits_NK.softmax(dim=1)
        return probabilities.numpy()

    def raw_layer(self) -> tuple[Float64[ndarray, "k d"], Float64[ndarray, "k"]]:
        """Weights (K, D) and bias (K)."""
        return self.weight_DK.T.astype(np.float64), self.bias_K.astype(np.float64)

    def predict(self, features_ND: Features) -> Labels:
        """Which classes are called, (N, K)."""
        return decide(self.predict_proba(features_ND), self.thresholds_)


def decide(
    probabilities_NK: Float64[ndarray, "n k"], thresholds_K: Float64[ndarray, "k"] | None
) -> Bool[ndarray, "n k"]:
    """Classes at or above their threshold; without thresholds the most probable one alone."""
    if thresholds_K is not None:
        return probabilities_NK >= thresholds_K
    return np.eye(probabilities_NK.shape[1], dtype=bool)[probabilities_NK.argmax(axis=1)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Batches of 16 are too small to share: 12,000 steps take 8 s on one thread and 80 s on two busy ones."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check(features_ND: ndarray, labels_NK: ndarray, part: str) -> None:
    if not len(features_ND) or not labels_NK.shape[1]:
        raise ValueError(f"{part}: {len(features_ND)} records and {labels_NK.shape[1]} classes, expected at least one")
    _check_finite(features_ND, part)


def _check_finite(features_ND: ndarray, part: str) -> None:
    if broken := int((~np.isfinite(features_ND).all(axis=1)).sum()):
        raise ValueError(f"{part}: {broken} of {len(features_ND)} records have features that are not finite")
