"""Everything that would stop a run before its first step, told at once."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ecgjepa.checkpoint import choose_device
from ecgjepa.config import Config
from ecgjepa.data.store import Store
from ecgjepa.errors import USER_ERRORS
from ecgjepa.train.evaluation import open_probe
from ecgjepa.train.sources import Sources
from ecgjepa.train.trackers import check_trackers


def find_problems(config: Config, folder: Path) -> list[str]:
    """What would stop the run before its first step: all of it, not only the first.

    Args:
        folder: that the run folder will be made in.
    """
    found: list[str] = []

    def attempt(what: Callable[[], Any]) -> Any:
        try:
            return what()
        except USER_ERRORS as error:
            found.append(str(error))
            return None

    attempt(partial(check_trackers, config.run.trackers))
    attempt(partial(choose_device, config.run.device))
    stores = [attempt(partial(Store.open, path)) for path in config.data.stores]
    sources = None if None in stores else attempt(partial(Sources.open, config))
    if sources is not None:
        attempt(partial(open_probe, config, sources.contract))
        samples, patch = sources.contract.samples, config.model.patch_samples
        if samples % patch or samples < 2 * patch:
            found.append(f"model.patch_samples: {samples} samples are not two or more patches of {patch}")
    elif config.run.probe_store is not None:
        attempt(partial(Store.open, config.run.probe_store))
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if config.training.batch_size % processes:
        found.append(f"batch_size: {config.training.batch_size} records, not a multiple of {processes} processes")
    if not os.access(folder, os.W_OK):
        found.append(f"{folder}: the run folder cannot be written there")
    return found


def warn_of_precision(config: Config) -> str | None:
    """What to say where bfloat16 is asked of a processor that does not have it; None where all is well.

    PyTorch does it there in software: a step of the demo took 6.5 s instead of 0.5 s (AMD EPYC with AVX2 only, two
    cores).
    """
    if config.training.precision != "bf16" or choose_device(config.run.device).type != "cpu":
        return None
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return "this processor has no bfloat16, which takes ten times as long here or more; --precision fp32 is faster"
