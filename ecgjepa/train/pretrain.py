"""Pretraining: the loop, which reads like the method.

All chance is a function of (seed, step), so that a resumed run equals an unbroken one to the bit.
"""

import hashlib
import logging
import platform
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch.optim import AdamW

from ecgjepa.checkpoint import SEEN, CheckpointError, choose_device, describe_model, generator_of, save_model
from ecgjepa.config import Config, DataConfig, TrainingConfig
from ecgjepa.data.amplitude import amplitude_warnings, measure_amplitudes
from ecgjepa.data.batches import Batches
from ecgjepa.data.seen import write_seen
from ecgjepa.data.store import SIGNALS, Store
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.schedules import learning_rate, teacher_momentum
from ecgjepa.train.masking import draw_mask
from ecgjepa.train.run import Log, Run, now

_log = logging.getLogger(__name__)

_MASK, _DROP_PATH = 1, 2  # streams of chance of one seed


@dataclass(frozen=True)
class Outcome:
    """How a call of `pretrain` ended: after `step` of `steps`, and by which signal if it was stopped."""

    path: Path
    step: int
    steps: int
    stopped_by: int | None = None


def pretrain(
    config: Config, out: Path | str, *, resume: bool = False, command: str = "", progress: bool = True
) -> Outcome:
    """Pretrain an encoder on the stores of the configuration, and leave a run folder.

    SIGINT and SIGTERM end it after the running step, with a checkpoint.

    Args:
        config: all settings.
        out: the run folder.
        resume: go on with the run that is there; begin one if none is.
        command: what the user typed, for `run.json`.
        progress: show a bar with loss, records/s and the time that is left.

    Raises:
        ValueError: the settings do not fit the stores.
        FileExistsError: `out` holds a run and `resume` is False.
        RunError: settings or data differ from those the run began with, or the loss is not finite.
    """
    stores = [Store.open(path) for path in config.data.stores]
    if not stores:
        raise ValueError("no store to train on: give --store, or a raw folder such as --data-dir-shao")
    if len({store.path.resolve() for store in stores}) < len(stores):
        raise ValueError(f"a store is given twice: {', '.join(config.data.stores)}")
    rows = [training_rows(store, config.data) for store in stores]
    recipe, contract = config.training, stores[0].contract
    gains = config.data.gains
    batches = Batches(stores, rows, recipe.batch_size, recipe.seed, weights=config.data.weights, gains=gains)
    steps = recipe.epochs * batches.steps_per_epoch
    warmup_steps = round(recipe.warmup * batches.steps_per_epoch)
    patches = contract.samples // config.model.patch_samples

    device = choose_device(config.run.device)
    model = JEPA(config.model, contract, generator=generator_of(recipe.seed)).to(device)
    optimizer = make_optimizer(model, recipe)

    run = Run.open(
        Path(out),
        config,
        resume=resume,
        command=command,
        device=describe_device(device),
        steps=steps,
        parameters=sum(weight.numel() for weight in model.student.parameters()),
        stores=[_describe_store(store, chosen) for store, chosen in zip(stores, rows, strict=True)],
        example=_example(batches, config, patches),
        **_describe_sources(batches, gains),
    )
    drawn = batches.draws_per_epoch()
    used = [(store, chosen) for store, chosen in zip(stores, rows, strict=True) if drawn[store.info["dataset"]]]
    write_seen(run.path / SEEN, used)
    first_step = restore(run, model, optimizer)
    log = Log(run, first_step=first_step, steps=steps, steps_per_epoch=batches.steps_per_epoch, progress=progress)
    with stop_signal() as stopped, log:
        for step, signal_BLS in batches.from_step(first_step, steps):
            mask = draw_mask(config.mask, patches, generator_of(recipe.seed, step, _MASK)).to(device)
            path_scale = drop_path_scales(
                config.model.drop_path,
                config.model.depth,
                recipe.batch_size,
                generator_of(recipe.seed, step, _DROP_PATH),
            ).to(device)
            lr = learning_rate(
                step,
                steps=steps,
                warmup_steps=warmup_steps,
                peak=recipe.lr,
                warmup_from=recipe.lr_min,
                minimum=recipe.lr_min,
            )
            momentum = teacher_momentum(step, steps=steps, start=recipe.momentum[0], end=recipe.momentum[1])
            for group in optimizer.param_groups:
                group["lr"] = lr

            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                loss = model.loss(signal_BLS.to(device), mask.visible, mask.hidden, path_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            model.update_teacher(momentum)

            log.step(step + 1, loss, lr=lr, momentum=momentum)
            if stopped or log.checkpoint_is_due() or step + 1 == steps:
                save(run, model, optimizer, step + 1, log.state())
            if stopped:
                run.write_info(status="stopped")
                return Outcome(run.path, step + 1, steps, stopped[0])
    save_model(
        run.path / "model",
        {"teacher": model.teacher, "student": model.student},
        seed=recipe.seed,
        steps=steps,
        stores=[store["path"] for store in run.info["stores"]],
    )
    shutil.copyfile(run.path / SEEN, run.path / "model" / SEEN)
    run.write_info(status="finished", finished=now())
    return Outcome(run.path, steps, steps)


def new_run_path() -> Path:
    """A folder below `runs/` named after this moment."""
    return Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def describe_device(device: torch.device) -> str:
    """What trained: the GPU's name, or the processor and the number of threads."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"


def training_rows(store: Store, config: DataConfig) -> np.ndarray:
    """Rows of a store that may be trained on: those of no split, or of `train`; all if `include_held_out`."""
    if config.include_held_out:
        return np.arange(len(store))
    held_out = pc.is_in(store.column("split").cast(pa.string()), pa.array(["validation", "test"]))
    return np.flatnonzero(~held_out.to_numpy())


def make_optimizer(model: JEPA, recipe: TrainingConfig) -> AdamW:
    """AdamW over student and predictor; biases and other 1-D weights do not decay."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [weight for weight in weights if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


def save(run: Run, model: JEPA, optimizer: AdamW, step: int, log_state: dict[str, Any]) -> None:
    """Everything needed to go on after `step` steps."""
    run.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "description": describe_model(model.student) | {"seed": run.config.training.seed},
            **log_state,
        }
    )
    run.write_info(steps_done=step, seconds=round(log_state["seconds"], 1))


def restore(run: Run, model: JEPA, optimizer: AdamW) -> int:
    """Bring back the last checkpoint of the run, if there is one; the step to go on with."""
    if run.checkpoint is None:
        return 0
    try:
        model.load_state_dict(run.checkpoint["model"])
        optimizer.load_state_dict(run.checkpoint["optimizer"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{run.last_checkpoint} does not fit the model of {run.path}: {error}") from error
    return int(run.checkpoint["step"])


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """A list that is empty until SIGINT or SIGTERM arrives; a second one interrupts at once."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received  # signals can be caught in the main thread only
        return
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _describe_store(store: Store, rows: np.ndarray) -> dict[str, Any]:
    return {
        "path": str(store.path.resolve()),
        "dataset": store.info["dataset"],
        "records": len(store),
        "trained_on": len(rows),
        "checksum": store.info["checksums"][SIGNALS],
        "rows_checksum": hashlib.sha256(store.info["checksums"][SIGNALS].encode() + rows.tobytes()).hexdigest(),
        "account": store.info["account"],
    }


def _describe_sources(batches: Batches, gains: dict[str, float]) -> dict[str, Any]:
    """How often each source is drawn and how large its ECGs are; the user is told where they differ in scale."""
    drawn = batches.draws_per_epoch()
    used = [k for k, store in enumerate(batches.stores) if drawn[store.info["dataset"]]]
    amplitudes_mv = measure_amplitudes([batches.stores[k] for k in used], [batches.rows[k] for k in used], gains)
    warnings = amplitude_warnings(amplitudes_mv, gains)
    for warning in warnings:
        _log.warning("warning: %s", warning)
    rounded = {source: round(found_mv, 4) for source, found_mv in amplitudes_mv.items()}
    return {"draws_per_epoch": drawn, "amplitudes": rounded, "warnings": warnings}


def _example(batches: Batches, config: Config, patches: int) -> dict[str, Any]:
    """The first ECG that may be drawn and the mask of the first step, for the picture of the report."""
    mask = draw_mask(config.mask, patches, generator_of(config.training.seed, 0, _MASK))
    drawn = batches.draws_per_epoch()
    stores = zip(batches.stores, batches.rows, strict=True)
    store, rows = next((store, rows) for store, rows in stores if len(rows) and drawn[store.info["dataset"]])
    return {
        "store": str(store.path.resolve()),
        "row": int(rows[0]),
        "record": store.column("record")[int(rows[0])].as_py(),
        "gain": config.data.gains.get(store.info["dataset"], 1.0),
        "hidden_patches": mask.hidden[0].tolist(),
        "patch_seconds": config.model.patch_samples / store.contract.sampling_rate_hz,
    }
