"""What a run will take, before it begins: time, memory, disk, operations, and everything that would stop it.

A few real steps are taken, and once everything else that a run does; the rest is multiplication.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ecgjepa.config import Config
from ecgjepa.errors import RunError
from ecgjepa.train.checks import find_problems
from ecgjepa.train.distributed import join_processes
from ecgjepa.train.evaluation import open_probe
from ecgjepa.train.measuring import Cost, count_flop, matmul_rate, measure_steps, peak_memory_bytes, working_time
from ecgjepa.train.pretrain import describe_device, periods
from ecgjepa.train.rehearsal import Rehearsal, look_again, nearest_folder, rehearse
from ecgjepa.train.sources import Sources
from ecgjepa.train.training import Training

# As many steps are timed as fit the time, but not fewer or more than these.
LEAST_STEPS, MOST_STEPS, BUDGET_S = 5, 100, 20.0
SEEN_BYTES = 24  # of a record in seen.parquet
REPORT_BYTES = 500_000


@dataclass(frozen=True)
class Plan:
    """What was measured, and what follows from it.

    Attributes:
        processes: that train one model.
        draws: records of an epoch.
        weights: of all networks.
        step, steps_timed, spread_s: median of a step; the range in seconds that eight of ten steps lie in.
        start: what the first steps take besides; compiling is in it.
        rehearsal: a look at the representation, a checkpoint.
        evaluations, checkpoints, kept: how many there will be; of the checkpoints, the files that stay.
        memory_bytes: peak while it was measured, of the GPU or of the process.
        memory_there_bytes: of the GPU; None of a processor.
        disk_bytes, free_bytes: of the run folder while a checkpoint is written, and of its disk.
        tflop_per_step, tflop_per_s, utilisation: see `profiling.Profile`.
        loss: of the last step that was timed.
        problems: what will stop the run though it can begin.
    """

    device: str
    on_gpu: bool
    processes: int
    draws: int
    batch_size: int
    steps: int
    steps_per_epoch: int
    weights: int
    attention: str
    compiled: bool
    step: Cost
    steps_timed: int
    spread_s: tuple[float, float]
    start: Cost
    rehearsal: Rehearsal
    evaluations: int
    checkpoints: int
    kept: int
    memory_bytes: int
    memory_there_bytes: int | None
    disk_bytes: int
    free_bytes: int
    tflop_per_step: float
    tflop_per_s: float
    utilisation: float
    loss: float
    problems: tuple[str, ...]

    @property
    def training(self) -> Cost:
        """All steps with the checkpoints among them: `seconds` and `core_seconds` of the last row of the log."""
        steps = self.step.times(self.steps).plus(self.start)
        return steps.plus(self.rehearsal.checkpoint.times(self.checkpoints))

    @property
    def looking(self) -> Cost:
        """All looks at the representation."""
        return self.rehearsal.evaluation.times(self.evaluations)

    @property
    def together(self) -> Cost:
        """The whole run."""
        return self.training.plus(self.looking)

    def to_json(self) -> dict[str, Any]:
        """All numbers by name; times in seconds."""
        values = asdict(self)
        for name in ("step", "start", "training", "looking", "together"):
            values[name] = getattr(self, name)._asdict()
        for name in ("evaluation", "checkpoint"):
            values["rehearsal"][name] = getattr(self.rehearsal, name)._asdict()
        values["records_per_s"] = self.batch_size / self.step.seconds
        values["tflop"] = self.tflop_per_step * self.steps
        return values


def make_plan(config: Config, out: Path, *, budget_s: float = BUDGET_S) -> Plan | None:
    """Check the settings, measure and predict; None in all processes but the first.

    Args:
        out: where the run folder will be; nothing is left there.
        budget_s: seconds for the timed steps.

    Raises:
        RunError: the run could not begin; the message names everything that was found.
    """
    folder = nearest_folder(out)
    if problems := find_problems(config, folder):
        raise RunError("\n".join(problems))
    sources = Sources.open(config)
    probe = open_probe(config, sources.contract)
    with join_processes(config.run.device) as processes:
        training, device = Training.begin(config, sources, processes), processes.device
        # A run, too, first looks at the representation; memory is then laid out in the same order.
        rehearsal = rehearse(training, sources, probe, folder)
        try:
            costs = measure_steps(training, least=LEAST_STEPS, most=MOST_STEPS, budget_s=budget_s)
        except torch.OutOfMemoryError as error:
            raise RunError(
                f"{device} has too little memory for {training.feed.batches.batch_size // processes.count} records at "
                "once: lower --micro-batch, or take --activation-checkpointing; the batch stays what it is"
            ) from error
        if config.run.evaluate_epochs != 0:
            look_again(training, sources, probe)
        memory = peak_memory_bytes(device)
        flop = count_flop(config, sources.contract, costs.visible)
        tokens = config.training.batch_size * len(sources.contract.leads) * training.objective.student.patches
        rate = matmul_rate(tokens, config.model.width, bf16=config.training.precision == "bf16", device=device)
        if rehearsal is None:
            return None
        steps, per_epoch = training.steps, sources.batches.steps_per_epoch
        look_every, keep_every = periods(training, per_epoch)
        evaluations = 0 if look_every is None else 1 + -(-steps // look_every)
        median = costs.median
        kept = 0 if keep_every is None else steps // keep_every
        # Any look with a probe may be the best so far, and is saved then.
        timely = int(median.seconds * steps / (60 * config.run.checkpoint_minutes))
        checkpoints = timely + kept + (evaluations - 1 if probe and evaluations else 1)
        files = 2 + kept + (probe is not None) + 1  # last, previous, the kept, the best; one more while it is written
        rows = -(-steps // config.run.log_every)
        disk = files * rehearsal.checkpoint_bytes + rehearsal.model_bytes + rows * rehearsal.row_bytes + REPORT_BYTES
        disk += SEEN_BYTES * sum(len(chosen) for _, chosen in sources.used())
        free = shutil.disk_usage(folder).free
        seconds = sorted(cost.seconds for cost in costs.each)
        there = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
        later = [f"disk: the run needs {disk / 1e6:,.0f} MB, {folder} has {free / 1e6:,.0f} MB"] * (disk > free)
        if not torch.isfinite(torch.tensor(costs.loss)):
            later.append(f"loss: it is {costs.loss:g} after {len(costs.each)} steps")
        return Plan(
            device=describe_device(processes),
            on_gpu=device.type == "cuda",
            processes=processes.count,
            draws=len(sources.batches),
            batch_size=config.training.batch_size,
            steps=steps,
            steps_per_epoch=per_epoch,
            weights=sum(weight.numel() for weight in training.objective.parameters()),
            attention=training.attention,
            compiled=training.is_compiled,
            step=median,
            steps_timed=len(costs.each),
            spread_s=(seconds[len(seconds) // 10], seconds[-1 - len(seconds) // 10]),
            start=costs.start,
            rehearsal=rehearsal,
            evaluations=evaluations,
            checkpoints=checkpoints,
            kept=kept,
            memory_bytes=memory,
            memory_there_bytes=there,
            disk_bytes=disk,
            free_bytes=free,
            tflop_per_step=flop / 1e12,
            tflop_per_s=rate / 1e12,
            utilisation=flop / processes.count / rate / working_time(median, device),
            loss=costs.loss,
            problems=tuple(later),
        )
