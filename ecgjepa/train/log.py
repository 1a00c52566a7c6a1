"""Following the steps of a run: progress, rows of `metrics.csv`, clocks, and losses that are not finite."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ecgjepa.train.distributed import Processes
from ecgjepa.train.run import Run
from ecgjepa.train.trackers import Tracker


class NotFiniteError(ArithmeticError):
    """The loss of a step is not a finite number.

    Attributes:
        step: which, counted from 0.
        loss: what it is.
    """

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"the loss is {loss:g} at step {step + 1}")
        self.step, self.loss = step, loss


class Clock:
    """Time of training so far, by the clock and of all cores of this process; what is paused does not count.

    Args:
        seconds: of earlier parts of the run.
        core_seconds: the same of the cores.
    """

    def __init__(self, seconds: float, core_seconds: float) -> None:
        self._began, self._cores_began = time.monotonic() - seconds, time.process_time() - core_seconds

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def core_seconds(self) -> float:
        return time.process_time() - self._cores_began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stand still meanwhile."""
        seconds, core_seconds = self.seconds, self.core_seconds
        try:
            yield
        finally:
            self._began, self._cores_began = time.monotonic() - seconds, time.process_time() - core_seconds


class Log:
    """Progress bar, a row every `run.log_every` steps, the clock of checkpoints.

    Losses stay on the device until a row or a checkpoint is due: here, and nowhere else in the loop, the host waits for
    the device. In all processes but the first it only checks the losses.
    """

    def __init__(
        self,
        run: Run,
        processes: Processes,
        trackers: Sequence[Tracker],
        *,
        first_step: int,
        steps: int,
        steps_per_epoch: int,
        progress: bool,
    ) -> None:
        self.run, self.steps, self.steps_per_epoch = run, steps, steps_per_epoch
        self._processes, self._trackers = processes, trackers
        show = progress and processes.is_first
        self._bar = tqdm(total=steps, initial=first_step, unit="step", desc="pretrain", disable=not show)
        kept = run.checkpoint or {"seconds": 0.0, "core_seconds": 0.0, "losses": []}
        self.clock = Clock(kept["seconds"], kept["core_seconds"])
        self._losses: list[Tensor] = list(kept["losses"])
        self._saved, self._logged, self._logged_at = time.monotonic(), self.clock.seconds, first_step
        self._done = first_step
        self.status = "finished"  # how it ends, if no error comes

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        for tracker in self._trackers:
            tracker.close(self.status if kind is None else "failed")

    def checkpoint_is_due(self) -> bool:
        """True when the last checkpoint is `run.checkpoint_minutes` old."""
        return time.monotonic() - self._saved >= 60 * self.run.config.run.checkpoint_minutes

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the log: time of training, losses that no row holds yet.

        Raises:
            NotFiniteError: one of these losses is not finite, so that no such checkpoint may be written.
        """
        losses = self._check()
        self._saved = time.monotonic()
        return {
            "seconds": self.clock.seconds,
            "core_seconds": self.clock.core_seconds,
            "losses": list(losses.unbind()) if self._losses else [],
        }

    def step(self, done: int, loss: Tensor, *, lr: float, momentum: float) -> None:
        """Note the loss after `done` steps.

        Raises:
            NotFiniteError: a loss since the last row is not finite.
        """
        self._bar.update()
        self._done = done
        self._losses.append(loss.detach())
        if done % self.run.config.run.log_every and done != self.steps:
            return
        mean, now = self._check().mean().item(), self.clock.seconds
        records_per_s = (done - self._logged_at) * self.run.config.training.batch_size / max(now - self._logged, 1e-9)
        self._losses, self._logged, self._logged_at = [], now, done
        self._bar.set_postfix_str(f"loss {mean:.4f}, {records_per_s:.0f} records/s")
        if not self._processes.is_first:
            return
        row = {"step": done, "epoch": done / self.steps_per_epoch, "loss": mean, "lr": lr, "momentum": momentum}
        row |= {"records_per_s": records_per_s, "seconds": now, "core_seconds": self.clock.core_seconds}
        self.run.log(row)
        self.track(done, row)

    def track(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the trackers."""
        for tracker in self._trackers:
            tracker.log(step, values)

    def _check(self) -> Tensor:
        """The losses since the last row, means over the processes."""
        if not self._losses:
            return torch.zeros(1)
        device = self._losses[-1].device  # those of a checkpoint lie on the CPU
        losses = torch.stack([loss.to(device) for loss in self._losses]).float().cpu()
        losses = self._processes.mean(losses)
        self._losses = list(losses.unbind())
        if not losses.isfinite().all():
            first = int(losses.isfinite().logical_not().nonzero()[0])
            raise NotFiniteError(self._done - len(losses) + first, losses[first].item())
        return losses
