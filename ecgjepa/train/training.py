"""Everything that one optimizer step needs, put together from the settings; and the step itself."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch._dynamo
from torch import Tensor, nn
from torch.optim import AdamW

from ecgjepa.checkpoint import generator_of
from ecgjepa.config import Config
from ecgjepa.model.attention_choice import choose_attention
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.masked_autoencoder import MaskedAutoencoder
from ecgjepa.model.sigreg import LatentSIGReg
from ecgjepa.model.transformer import Block, Stack
from ecgjepa.schedules import learning_rate, teacher_momentum
from ecgjepa.signal import SignalContract
from ecgjepa.train.distributed import Processes, spread
from ecgjepa.train.inputs import Feed, Inputs
from ecgjepa.train.optimizer import make_optimizer
from ecgjepa.train.sources import Sources

# A context for a named part of a step.
During = Callable[[str], contextlib.AbstractContextManager[object]]

Objective = JEPA | MaskedAutoencoder | LatentSIGReg


@dataclass(frozen=True)
class Rates:
    """What follows from a step: learning rate, and the share of itself that the teacher keeps."""

    lr: float
    momentum: float


@dataclass(frozen=True)
class Training:
    """An objective that is being learned, in one process of several.

    Attributes:
        objective: the networks.
        model: what is called: the objective, or it with its gradients averaged over the processes.
        steps: optimizer steps of the whole run.
    """

    config: Config
    processes: Processes
    feed: Feed
    objective: Objective
    model: nn.Module
    optimizer: AdamW
    attention: AttentionForm
    steps: int

    @classmethod
    def begin(
        cls, config: Config, sources: Sources, processes: Processes, attention: AttentionForm | None = None
    ) -> "Training":
        """Initial weights, nothing learned.

        Args:
            attention: the form that a run began with, where it goes on.

        Raises:
            ValueError: the settings do not fit the stores, the objective or the processes.
        """
        run, device, contract = config.run, processes.device, sources.contract
        if attention is None and processes.is_first:
            attention = run.attention if run.attention != "auto" else None
            compiled = _compiles(config, device)
            attention = attention or choose_attention(device, config.model, contract=contract, compiled=compiled)
        attention = processes.from_first(attention)
        assert attention is not None
        objective = build_objective(config, contract, attention).to(device)
        for stack in (module for module in objective.modules() if isinstance(module, Stack)):
            stack.checkpointing = run.activation_checkpointing
        feed = Feed(
            sources.batches,
            config,
            objective.student.patches,
            objective.extra_inputs,
            processes.rank,
            processes.count,
            pin=device.type == "cuda",
        )
        own = config.training.batch_size // processes.count
        if config.training.objective == "sigreg" and (run.micro_batch or own) < own:
            raise ValueError(
                f"micro_batch {run.micro_batch} of {own} records: the objective sigreg compares all records of a batch "
                "with each other; use more processes, or --activation-checkpointing"
            )
        if _compiles(config, device):
            compile_blocks(objective)
        model = spread(objective, processes, shard=run.shard)
        optimizer = make_optimizer(objective, config.training)
        steps = config.training.epochs * sources.batches.steps_per_epoch
        return cls(config, processes, feed, objective, model, optimizer, attention, steps)

    def rates(self, step: int) -> Rates:
        """Those of a step, counted from 0."""
        recipe = self.config.training
        lr = learning_rate(
            step,
            steps=self.steps,
            warmup_steps=round(recipe.warmup * self.steps / recipe.epochs),
            peak=recipe.lr,
            warmup_from=recipe.lr_min,
            minimum=recipe.lr_min,
        )
        momentum = teacher_momentum(step, steps=self.steps, start=recipe.momentum[0], end=recipe.momentum[1])
        return Rates(lr, momentum)

    @property
    def is_compiled(self) -> bool:
        """True where the objective is compiled when it first runs."""
        return _compiles(self.config, self.processes.device)

    def step(self, parts: Sequence[Inputs], rates: Rates, during: During = contextlib.nullcontext) -> Tensor:
        """One optimizer step over the parts of a batch; the loss of this process's records, on the device.

        Args:
            during: entered around each part of the step, with its name.
        """
        device, bf16 = self.processes.device, self.config.training.precision == "bf16"
        for group in self.optimizer.param_groups:
            group["lr"] = rates.lr
        total = torch.zeros((), device=device)
        for i, part in enumerate(parts):
            with self._gradients_averaged(is_last=i + 1 == len(parts)):
                with during("copying to the device"):
                    here = part.to(device)
                with during("forward"), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                    loss = self.model(**here.arguments) * here.share
                with during("backward"):
                    loss.backward()
            total += loss.detach()
        with during("optimizer"):
            self.optimizer.step()
            self.optimizer.zero_grad()
        with during("teacher update"):
            self.objective.update_teacher(rates.momentum)
        return total

    def whole(self, network: Encoder) -> Encoder:
        """One of the networks with all its weights, in the first process; to be called in every process."""
        if not self.config.run.shard:
            return network
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        state = get_model_state_dict(network, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        whole = Encoder(network.config, network.contract, attention=self.attention)
        if self.processes.is_first:
            whole.load_state_dict(state)
        return whole.to(self.processes.device)

    def _gradients_averaged(self, *, is_last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients are exchanged between the processes after the last part of a batch, and not before."""
        if isinstance(self.model, nn.parallel.DistributedDataParallel) and not is_last:
            return self.model.no_sync()
        if self.config.run.shard:
            self.model.set_requires_gradient_sync(is_last)  # type: ignore[operator]  # fully_shard adds it
        return contextlib.nullcontext()


def _compiles(config: Config, device: torch.device) -> bool:
    return config.run.compile == "on" or (config.run.compile == "auto" and device.type == "cuda")


def compile_blocks(objective: nn.Module) -> None:
    """Have every block of the networks compiled, without graph breaks, when it first runs.

    Blocks of one size share what is compiled, so it takes seconds where the whole graph takes minutes (base size, two
    cores); and it is compiled again for each number of visible patches, of which block masks have some twenty-five.
    """
    for module in objective.modules():
        if isinstance(module, Block):
            module.compile(fullgraph=True, dynamic=False)
    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), 256))


def build_objective(config: Config, contract: SignalContract, attention: AttentionForm = "factorised") -> Objective:
    """The networks of the objective with the initial weights of the run's seed."""
    generator, model = generator_of(config.training.seed), config.model
    match config.training.objective:
        case "jepa":
            centred = config.training.target == "centred"
            return JEPA(model, contract, generator=generator, attention=attention, centred=centred)
        case "mae":
            return MaskedAutoencoder(model, contract, generator=generator, attention=attention)
        case "sigreg":
            weight = config.training.sigreg_weight
            return LatentSIGReg(model, contract, weight=weight, generator=generator, attention=attention)
