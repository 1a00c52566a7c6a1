"""Where the time of a step goes: some steps on the real data, and nothing is written but a trace, if asked for."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, record_function

from ecgjepa.config import Config
from ecgjepa.files import atomic_path
from ecgjepa.train.distributed import join_processes
from ecgjepa.train.measuring import (
    Cost,
    Stopwatch,
    count_flop,
    first_steps,
    matmul_rate,
    measure_steps,
    synchronise,
    working_time,
)
from ecgjepa.train.pretrain import describe_device
from ecgjepa.train.sources import Sources
from ecgjepa.train.training import Objective, Training

STEPS = 20
TRACED_STEPS = 3  # with every operator noted, which makes them slower
OPERATORS = 5
WAITING = "waiting for data"
PARTS = (
    WAITING,
    "copying to the device",
    "teacher forward",
    "student forward",
    "predictor forward",
    "loss, and between the networks",
    "forward",  # of a compiled model, whose parts are one
    "backward",
    "optimizer",
    "teacher update",
    "everything else",
)


@dataclass(frozen=True)
class Profile:
    """What some steps took.

    Attributes:
        steps: of each of the two measurements.
        cost: of a step as in a run, median.
        records_per_s: at that rate.
        parts: seconds of a step by part, mean; the device is waited for between parts.
        apart_s: seconds of such a step.
        operators: the most expensive ones, with the share of the time of all.
        tflop: of the matrix products of a step.
        tflop_per_s: rate of one large product; on a processor of one core.
        utilisation: time that the products of a step would take at that rate, as a share of its time.
    """

    device: str
    on_gpu: bool
    compiled: bool
    batch_size: int
    steps: int
    cost: Cost
    records_per_s: float
    parts: dict[str, float]
    apart_s: float
    operators: dict[str, float]
    tflop: float
    tflop_per_s: float
    utilisation: float

    def to_json(self) -> dict[str, Any]:
        """Its numbers by name."""
        return {**asdict(self), "cost": self.cost._asdict()}


def profile(config: Config, *, steps: int = STEPS, trace: Path | None = None) -> Profile | None:
    """Take the time of steps, their parts and their operators; None in all processes but the first.

    Args:
        steps: to time; as many again to time the parts.
        trace: file for a trace of a few steps, to be looked at with Perfetto or chrome://tracing.

    Raises:
        ValueError: the settings do not fit the stores or the machine.
        FileExistsError: `trace` exists.
    """
    if trace is not None and trace.exists():
        raise FileExistsError(f"{trace} exists already; name another file for the trace")
    sources = Sources.open(config)
    with join_processes(config.run.device) as processes:
        training, device = Training.begin(config, sources, processes), processes.device
        costs = measure_steps(training, least=steps, most=steps)
        parts, apart_s = _time_parts(training, steps)
        operators = _operators(training, trace)
        flop = count_flop(config, sources.contract, costs.visible)
        recipe, model = config.training, config.model
        tokens = recipe.batch_size * len(sources.contract.leads) * training.objective.student.patches
        rate = matmul_rate(tokens, model.width, bf16=recipe.precision == "bf16", device=device)
        if not processes.is_first:
            return None
        return Profile(
            device=describe_device(processes),
            on_gpu=device.type == "cuda",
            compiled=training.is_compiled,
            batch_size=recipe.batch_size,
            steps=steps,
            cost=costs.median,
            records_per_s=recipe.batch_size / costs.median.seconds,
            parts=parts,
            apart_s=apart_s,
            operators=operators,
            tflop=flop / 1e12,
            tflop_per_s=rate / 1e12,
            utilisation=flop / processes.count / rate / working_time(costs.median, device),
        )


def describe(found: Profile) -> str:
    """The profile as text, with what each number is."""
    rows = [
        (name, f"{1000 * seconds:,.1f}", f"{100 * seconds / found.apart_s:.1f}")
        for name, seconds in found.parts.items()
    ]
    rows.append(("together", f"{1000 * found.apart_s:,.1f}", "100.0"))
    table = tabulate(rows, ("part of a step", "ms", "%"), disable_numparse=True, colalign=("left", "right", "right"))
    lines = [
        f"{found.device}; steps of {found.batch_size} records, {found.steps} after a warm-up",
        f"a step takes {found.cost.seconds:.4f} s ({found.cost.core_seconds:.4f} core seconds), "
        f"{found.records_per_s:,.1f} records/s (median)",
        "",
        table,
    ]
    if found.compiled:
        lines.append("The model is compiled, so its forward pass is one part; --compile off shows the networks.")
    if found.on_gpu:
        lines.append("The GPU is waited for between parts, so together they take longer than a step of a run.")
    shares = "\n".join(f"  {100 * share:5.1f} %  {name}" for name, share in found.operators.items())
    unit = "Tflop/s" if found.on_gpu else "Tflop/s of a core"
    clock = "the clock" if found.on_gpu else "core seconds"
    lines += [
        "",
        f"the most expensive operators, of the time in all ({TRACED_STEPS} steps in the profiler):",
        shares,
        "",
        f"matrix products of a step: {found.tflop:,.4g} Tflop; one large product: {found.tflop_per_s:,.4g} {unit}",
        f"model FLOP utilisation: {found.utilisation:.0%} of that rate, by {clock}",
    ]
    return "\n".join(lines)


def _time_parts(training: Training, steps: int) -> tuple[dict[str, float], float]:
    """Mean seconds of each part, and of the whole step."""
    device = training.processes.device
    watch = Stopwatch(device)
    networks = contextlib.nullcontext() if training.is_compiled else _watched(training.objective, watch.part)
    began = 0.0
    with networks, first_steps(training, steps + 1) as coming:
        for number in range(steps + 1):
            with watch.part(WAITING):
                step, parts = next(coming)
            training.step(parts, training.rates(min(step, training.steps - 1)), watch.part)
            if number == 0:  # nothing was read ahead of the first
                watch.seconds.clear()
                began = time.perf_counter()
    synchronise(device)
    apart_s = (time.perf_counter() - began) / steps
    seconds = {name: total / steps for name, total in watch.seconds.items()}
    if not training.is_compiled:
        inside = sum(value for name, value in seconds.items() if name.endswith(" forward"))
        seconds["loss, and between the networks"] = max(0.0, seconds.pop("forward") - inside)
    seconds["everything else"] = max(0.0, apart_s - sum(seconds.values()))
    return {name: seconds[name] for name in PARTS if name in seconds}, apart_s


@contextlib.contextmanager
def _watched(objective: Objective, part: Callable[[str], Any]) -> Iterator[None]:
    """The networks of an objective tell when they run."""
    networks: list[tuple[Any, str, str]] = [(objective.student, "forward_features", "student forward")]
    if objective.teacher is not None:
        networks.append((objective.teacher, "forward_features", "teacher forward"))
    last = objective.decoder if hasattr(objective, "decoder") else objective.predictor
    networks.append((last, "forward", "predictor forward"))
    for network, method, name in networks:
        setattr(network, method, _told(getattr(network, method), part, name))
    try:
        yield
    finally:
        for network, method, _ in networks:
            delattr(network, method)


def _told(call: Callable[..., Any], part: Callable[[str], Any], name: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def told(*given: Any, **named: Any) -> Any:
        with part(name):
            return call(*given, **named)

    return told


def _operators(training: Training, trace: Path | None) -> dict[str, float]:
    """The most expensive operators, with their share of the time of all; and a trace."""
    on_gpu = training.processes.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with (
        torch.profiler.profile(activities=activities) as profiler,
        first_steps(training, TRACED_STEPS) as coming,
    ):
        for step, parts in coming:
            training.step(parts, training.rates(min(step, training.steps - 1)), record_function)
    if trace is not None and training.processes.is_first:
        with atomic_path(trace) as file:
            profiler.export_chrome_trace(str(file))
    own_us = {
        event.key: float(event.self_device_time_total if on_gpu else event.self_cpu_time_total)
        for event in profiler.key_averages()
        if event.device_type == DeviceType.CPU and not event.is_user_annotation
    }
    total_us = sum(own_us.values()) or 1.0
    largest = sorted(own_us, key=lambda name: own_us[name], reverse=True)[:OPERATORS]
    return {name: own_us[name] / total_us for name in largest}
