"""One process or several: who this one is, what all agree on, and how a model is spread over them.

`torchrun` starts the processes and tells each its number. Only process 0 writes files.
"""

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecgjepa.checkpoint import choose_device
from ecgjepa.model.transformer import Block

# Process 0 evaluates while the others wait.
PATIENCE = timedelta(minutes=60)


@dataclass(frozen=True)
class Processes:
    """This process among all that train one model.

    Attributes:
        rank: its number, from 0.
        count: of all.
        device: where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """True in the one process that writes files."""
        return self.rank == 0

    def agree(self, *flags: bool) -> list[bool]:
        """Each flag, True if it is so in any process; on the CPU, so that no device is waited for."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the processes, of values on the CPU."""
        if self.count == 1:
            return values
        dist.all_reduce(values, dist.ReduceOp.SUM)
        return values / self.count

    def from_first(self, value: Any) -> Any:
        """What process 0 holds, in all of them."""
        if self.count == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def wait(self) -> None:
        """Until all are here."""
        if self.count > 1:
            self.agree(False)


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Become one of the processes that `torchrun` started, or the only one.

    Args:
        device: as in the settings; with several processes on a machine each takes the GPU of its own number.

    Raises:
        ValueError: the device is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes(0, 1, choose_device(device))
        return
    chosen = choose_device(device)
    if chosen.type == "cuda":
        chosen = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(chosen)
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield Processes(dist.get_rank(), count, chosen)
    finally:
        dist.destroy_process_group()


def spread(objective: nn.Module, processes: Processes, *, shard: bool) -> nn.Module:
    """The module to call: the objective itself, or with its gradients averaged over the processes.

    Args:
        shard: split weights, gradients and optimizer over the processes (FSDP) block by block.

    Raises:
        ValueError: there is nothing to split them over.
    """
    if shard:
        if processes.count == 1:
            raise ValueError("--shard splits a model over several processes: start them with torchrun")
        from torch.distributed.fsdp import fully_shard

        for block in [module for module in objective.modules() if isinstance(module, Block)]:
            fully_shard(block)
        fully_shard(objective)
        return objective
    if processes.count == 1:
        return objective
    devices = [processes.device] if processes.device.type == "cuda" else None
    # No buffers are sent at every step: they are the same everywhere, or what this process alone has noted.
    known = inspect.signature(DistributedDataParallel).parameters
    sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {sync: False, "gradient_as_bucket_view": True}
    return DistributedDataParallel(objective, device_ids=devices, **options)
