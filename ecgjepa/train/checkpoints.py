"""The checkpoints of a run: everything needed to go on, whole or not there, and the one before in case it is damaged.

checkpoints/last.pt           of the last step that was saved
            previous.pt       the last one before that
            best.pt           of the best evaluation by the online probe
            step-00001000.pt  kept for good, every `run.keep_epochs`

Names of weights and of the optimizer's state are those of the whole model, however many processes share it.
"""

import logging
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.optim import Optimizer

from ecgjepa.checkpoint import CheckpointError, load_pickle
from ecgjepa.errors import RunError
from ecgjepa.files import atomic_path

KEYS = {"model", "optimizer", "step", "seconds", "core_seconds", "losses", "description"}
CHECKPOINTS = "checkpoints"  # the folder
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"

# What `zipfile` raises, depending on where a file is damaged.
_DAMAGED = (zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError, zlib.error, struct.error)

_log = logging.getLogger(__name__)


def whole_state(objective: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Weights and optimizer state on the CPU, gathered in process 0 where they are sharded."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model, state = get_state_dict(objective, optimizer, options=options)
    return {"model": model, "optimizer": state}


def restore_state(objective: nn.Module, optimizer: Optimizer, checkpoint: dict[str, Any], file: Path) -> None:
    """Bring back weights and optimizer state, in every process its part.

    Raises:
        CheckpointError: they are of another model.
    """
    try:
        set_state_dict(
            objective,
            optimizer,
            model_state_dict=checkpoint["model"],
            optim_state_dict=checkpoint["optimizer"],
            options=StateDictOptions(full_state_dict=True, strict=True),
        )
    except (RuntimeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{file} does not fit the model of the run: {error}") from error


def save_last(folder: Path, checkpoint: dict[str, Any], *, also: list[str]) -> None:
    """Write the last checkpoint, keep the one before, and copies of it by other names.

    The copies come first: a run that is killed in between does the step again, and copies again.

    Raises:
        RunError: it cannot be written; the one before is kept.
    """
    folder.mkdir(exist_ok=True)
    last = folder / LAST
    try:
        with atomic_path(last) as file:
            torch.save(checkpoint, file)
            for name in also:
                with atomic_path(folder / name) as copy:
                    shutil.copyfile(file, copy)
            if last.is_file():
                last.replace(folder / PREVIOUS)
    except (RuntimeError, OSError) as error:  # torch's writer has no error of its own for a full disk
        free = shutil.disk_usage(folder).free
        raise RunError(
            f"the checkpoint cannot be written to {folder} ({free / 1e6:,.0f} MB are free); the one before it is kept, "
            f"--resume goes on from there: {str(error).partition(chr(10))[0]}"
        ) from error


def read_last(folder: Path) -> tuple[dict[str, Any], Path] | None:
    """The last checkpoint that is whole, and its file; None where none was written.

    A damaged one is told of, and the one before is taken.

    Raises:
        CheckpointError: all that are there are damaged.
    """
    files = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for file in files:
        try:
            checkpoint = read_checkpoint(file)
        except CheckpointError as error:
            if file == files[-1]:
                raise
            _log.warning("warning: %s; going on from %s", error, files[-1].name)
        else:
            return checkpoint, file
    return None


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint whose every byte is as it was written.

    Raises:
        CheckpointError: it is damaged, or not the checkpoint of a run.
    """
    try:
        with zipfile.ZipFile(file) as archive:  # torch does not look at the checksums of tensors
            damaged = archive.testzip()
            # Nor at these: torch reads nothing for what is marked as a folder, and returns memory as it finds it.
            marked = [entry.filename for entry in archive.infolist() if entry.external_attr]
    except _DAMAGED as error:
        raise CheckpointError(f"{file} is damaged, or is not a checkpoint: {error}") from error
    if damaged is not None:
        raise CheckpointError(f"{file} is damaged: the checksum of {damaged} is another")
    if marked:
        raise CheckpointError(f"{file} is damaged: {marked[0]} is marked as something else than a file")
    checkpoint = load_pickle(file)
    if not isinstance(checkpoint, dict) or not checkpoint.keys() >= KEYS:
        raise CheckpointError(f"{file} is not the checkpoint of a run")
    return checkpoint


def clear_unfinished(run: Path) -> None:
    """Remove what a process left that was killed while it wrote a file of the run."""
    for ending in ("toml", "json", "csv", "jsonl", "parquet", "html", "npz", "pt"):
        for folder in (run, run / CHECKPOINTS):
            for left in folder.glob(f".*.{ending}.*.{ending}"):  # as `atomic_path` names them
                left.unlink()
