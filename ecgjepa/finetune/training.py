"""The state of a fine-tuning run, one step of it, and how both become a file and come back.

Axes: N records, B records of a batch.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch.optim import AdamW

from ecgjepa.evaluate.segmentation_targets import NOT_ANNOTATED
from ecgjepa.finetune.augment import augment, shift
from ecgjepa.finetune.losses import Loss
from ecgjepa.finetune.optimizer import Stages, make_optimizer, set_rates
from ecgjepa.finetune.records import Batch, TrainingRecords
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.model.classifier import Classifier
from ecgjepa.model.segmenter import Segmenter


@dataclass
class Training:
    """A network that is being trained.

    Attributes:
        step: steps done.
        losses: those of the epoch that is running.
        best: epoch (from 1) and score of the best validation so far.
    """

    network: Classifier | Segmenter
    settings: FinetuneSettings
    stages: Stages
    loss: Loss
    leads: tuple[str, ...]
    optimizer: AdamW = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)
    step: int = 0
    losses: list[float] = field(default_factory=list)
    best: tuple[int, float] | None = None
    rate: float = 0.0

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.network, self.settings)
        if self.settings.precision == "fp16" and self.device.type != "cuda":
            raise ValueError(f"precision fp16 needs a CUDA device, found {self.device.type}; choose bf16 or fp32")
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.settings.precision == "fp16")

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def advance(self, batch: Batch) -> None:
        """One step.

        Raises:
            ValueError: the loss is not finite.
        """
        self.rate = set_rates(self.optimizer, self.settings, self.stages, self.step)
        self.network.encoder.requires_grad_(self.stages.trains_encoder(self.step))
        batch = batch.to(self.device)
        signal_mv_BLS, target = batch.signal_mv_BLS, batch.target
        if batch.draws is not None:
            signal_mv_BLS = augment(signal_mv_BLS, batch.draws)
            target = shift(target, batch.draws, NOT_ANNOTATED) if target.ndim == 3 else target
        path_scale = batch.path_scale if self.stages.trains_encoder(self.step) else None
        with self.mixed_precision():
            outputs = self.network(signal_mv_BLS, self.leads, path_scale)
        loss = self.loss(outputs, target)
        if not loss.isfinite():
            raise ValueError(f"finetune: the loss of step {self.step} is {loss.item()}; a lower --lr may help")
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.settings.clip is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.losses.append(loss.item())
        self.step += 1

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Autocast as the settings say."""
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self.settings.precision)
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)

    @torch.no_grad()
    def outputs(self, records: TrainingRecords, batch_size: int = 64) -> Float[ndarray, "n *form"]:
        """What the network gives as it is now, computed in float32, without augmentation and drop-path."""
        outputs = []
        for positions in np.array_split(np.arange(len(records)), -(-len(records) // batch_size)):
            signal_mv_BLS = records.signals(positions).to(self.device)
            outputs.append(self.network(signal_mv_BLS, self.leads).float().cpu().numpy())
        return np.concatenate(outputs)

    def state(self) -> dict[str, Any]:
        """Everything needed to go on, tensors and plain values, on the CPU."""
        on_cpu = {name: value.detach().cpu() for name, value in self.network.state_dict().items()}
        state = {"network": on_cpu, "optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}
        return state | {"step": self.step, "losses": self.losses, "best": self.best, "rate": self.rate}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same run."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.losses, self.rate = state["step"], list(state["losses"]), state["rate"]
        self.best = None if state["best"] is None else (state["best"][0], state["best"][1])
