"""What training costs on this machine, measured: seconds of a step, operations, memory, the rate of a large product.

Axes: T tokens, D width.
"""

import contextlib
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.checkpoint import generator_of
from ecgjepa.config import Config
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract
from ecgjepa.train.inputs import Inputs
from ecgjepa.train.training import Training, build_objective

WARM_UP = 3  # steps in which memory is laid out and caches are filled
COMPILE_WARM_UP = 10  # the compiler meets other numbers of visible patches, and learns that they vary
GPU_BLOCK = 5  # steps between two waits for a GPU, so that it is not kept waiting itself
MAX_TOKENS = 12_800  # of the large product: more of them only take longer


class Cost(NamedTuple):
    """Time by the clock, and of all cores of this process; on a busy machine the latter is the steadier."""

    seconds: float
    core_seconds: float

    def plus(self, other: "Cost") -> "Cost":
        return Cost(self.seconds + other.seconds, self.core_seconds + other.core_seconds)

    def times(self, count: float) -> "Cost":
        return Cost(self.seconds * count, self.core_seconds * count)


@dataclass(frozen=True)
class StepCosts:
    """Steps as the loop makes them: the next inputs are read while a step runs.

    Attributes:
        start: what the first steps took above the median of the later ones; compiling is in it.
        each: cost of each step, or of a step in each block.
        visible: mean number of visible patches.
        loss: of the last step.
    """

    start: Cost
    each: tuple[Cost, ...]
    visible: float
    loss: float

    @property
    def median(self) -> Cost:
        return median_of(self.each)


def measure_steps(training: Training, *, least: int, most: int, budget_s: float = 0.0) -> StepCosts:
    """Time steps after a warm-up, as many as fit the time, the same number in all processes.

    Args:
        least: steps, even if they take longer than `budget_s`.
        most: steps.
    """
    device = training.processes.device
    on_gpu = device.type == "cuda"
    warm_up = COMPILE_WARM_UP if training.is_compiled else WARM_UP
    losses: list[torch.Tensor] = []
    visible: list[int] = []
    # Steps behind the end of a short run are as those before it.
    with first_steps(training, warm_up + most) as steps:

        def advance(count: int) -> None:
            for _ in range(count):
                step, parts = next(steps)
                losses[:] = [training.step(parts, training.rates(min(step, training.steps - 1)))]
                visible.append(parts[0].arguments["visible_patches"].shape[1])

        first = timed(lambda: advance(warm_up - 1), device)
        last = timed(lambda: advance(1), device)
        count = training.processes.from_first(round(min(max(budget_s / max(last.seconds, 1e-6), least), most)))
        block = min(GPU_BLOCK, count) if on_gpu else 1
        each = tuple(timed(lambda: advance(block), device).times(1 / block) for _ in range(count // block))
    median = median_of(each)
    start = Cost(*(max(0.0, a + b - warm_up * c) for a, b, c in zip(first, last, median, strict=True)))
    return StepCosts(start, each, statistics.mean(visible), losses[0].item())


@contextlib.contextmanager
def first_steps(training: Training, most: int) -> Iterator[Iterator[tuple[int, list[Inputs]]]]:
    """Steps 0 to `most - 1` with their inputs; not all of them need be taken."""
    steps = training.feed.from_step(0, most)
    try:
        yield steps
    finally:
        steps.close()  # type: ignore[attr-defined]  # a generator, which lets go of its reader


def timed(work: Callable[[], object], device: torch.device) -> Cost:
    """Until the device has done it."""
    synchronise(device)
    seconds, core_seconds = time.perf_counter(), time.process_time()
    work()
    synchronise(device)
    return Cost(time.perf_counter() - seconds, time.process_time() - core_seconds)


def median_of(costs: tuple[Cost, ...]) -> Cost:
    """Of seconds and of core seconds."""
    return Cost(*(statistics.median(column) for column in zip(*costs, strict=True)))


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU still has to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Seconds of named parts, summed; the device is waited for at both ends of a part."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the block to a part."""
        synchronise(self.device)
        began = time.perf_counter()
        yield
        synchronise(self.device)
        self.seconds[name] += time.perf_counter() - began


def count_flop(config: Config, contract: SignalContract, visible: float) -> int:
    """Operations of the matrix products of a step of the whole batch, forward and backward, two for a multiply-add.

    Counted on one record with the rounded number of visible patches: all of them grow with the records. They are those
    that the method needs: the dense form of attention, and activations that are computed again, do more.
    """
    objective, generator = build_objective(config, contract), generator_of(0)
    masks, model = config.mask.masks_per_record, config.model
    places = torch.arange(objective.student.patches).expand(masks, -1)
    shown = min(max(round(visible), 1), objective.student.patches - 1)
    with FlopCounterMode(display=False) as counter:
        objective(
            signal_mv_BLS=torch.zeros(1, len(contract.leads), contract.samples),
            visible_patches=places[:, :shown].contiguous(),
            hidden_patches=places[:, shown:].contiguous(),
            path_scale=drop_path_scales(model.drop_path, model.depth, masks, generator),
            **objective.extra_inputs(generator),
        ).backward()
    return counter.get_total_flops() * config.training.batch_size


def matmul_rate(tokens: int, width: int, *, bf16: bool, device: torch.device, runs: int = 5) -> float:
    """Operations per second of one large product, (T, D) by (D, 4 D); on a processor per second of a core.

    The best of some runs: what the device can do in this precision at the model's width.
    """
    dtype, tokens = torch.bfloat16 if bf16 else torch.float32, min(tokens, MAX_TOKENS)
    inputs_TD, weights_4DD = (torch.randn(rows, width, device=device, dtype=dtype) for rows in (tokens, 4 * width))
    products = 20 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(products):
            F.linear(inputs_TD, weights_4DD)

    multiply()
    costs = [timed(multiply, device) for _ in range(runs)]
    taken = min(working_time(cost, device) for cost in costs)
    return products * 2 * tokens * width * 4 * width / max(taken, 1e-9)


def working_time(cost: Cost, device: torch.device) -> float:
    """Seconds to compare with the rate of a product: by the clock on a GPU, of the cores on a processor."""
    return cost.seconds if device.type == "cuda" else cost.core_seconds


def peak_memory_bytes(device: torch.device) -> int:
    """Most that was in use so far: of a GPU by tensors, of a processor by this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
