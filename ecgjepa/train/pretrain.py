"""Pretraining: the loop, which reads like the method.

All chance is a function of (seed, step), so that a resumed run equals an unbroken one to the bit.
"""

import platform
import shutil
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgjepa.checkpoint import SEEN, describe_model, save_model
from ecgjepa.config import Config
from ecgjepa.data.seen import write_seen
from ecgjepa.errors import RunError
from ecgjepa.evaluate.online_probe import OnlineProbe
from ecgjepa.evaluate.report import renew_report
from ecgjepa.files import atomic_path
from ecgjepa.train.checkpoints import BEST, CHECKPOINTS, read_checkpoint, restore_state, save_last, whole_state
from ecgjepa.train.distributed import Processes, join_processes
from ecgjepa.train.evaluation import Evaluation, describe_probe, open_probe
from ecgjepa.train.log import Log, NotFiniteError
from ecgjepa.train.masking import mask_coverage
from ecgjepa.train.run import Run, now, read_info
from ecgjepa.train.sources import Sources
from ecgjepa.train.stopping import stop_signal
from ecgjepa.train.trackers import check_trackers, open_trackers
from ecgjepa.train.training import Training


@dataclass(frozen=True)
class Outcome:
    """How a call of `pretrain` ended: after `step` of `steps`, and what stopped it, if anything did.

    Attributes:
        stopped_by: number of a signal.
        collapsed: an alarm stopped it, as `run.stop_on_collapse` asks.
    """

    path: Path
    step: int
    steps: int
    stopped_by: int | None = None
    collapsed: bool = False


def pretrain(
    config: Config, out: Path | str, *, resume: bool = False, command: str = "", progress: bool = True
) -> Outcome:
    """Pretrain an encoder on the stores of the configuration, and leave a run folder.

    SIGINT, SIGTERM and SIGUSR1 end it after the running step, with a checkpoint. Started by `torchrun`, all processes
    train one model.

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
    path = Path(out)
    check_trackers(config.run.trackers)
    sources = Sources.open(config)
    probe = open_probe(config, sources.contract)
    with join_processes(config.run.device) as processes:
        training = Training.begin(config, sources, processes, read_info(path).get("attention"))
        run, first_step = _open_run(path, training, sources, probe, resume=resume, command=command)
        trackers = []
        if processes.is_first:
            settings = config.model_dump(mode="json")
            trackers = open_trackers(config.run.trackers, path, settings, name=path.name, first_step=first_step)
        log = Log(
            run,
            processes,
            trackers,
            first_step=first_step,
            steps=training.steps,
            steps_per_epoch=sources.batches.steps_per_epoch,
            progress=progress,
        )
        evaluation = Evaluation(run, config, sources, log, probe) if processes.is_first else None
        try:
            with stop_signal() as stopped, log:
                return _train(run, training, log, evaluation, first_step, stopped)
        except NotFiniteError as error:
            raise _failed(run, training, error) from error


def _train(
    run: Run, training: Training, log: Log, evaluation: Evaluation | None, first_step: int, stopped: list[int]
) -> Outcome:
    processes, steps = training.processes, training.steps
    look_every, keep_every = periods(training, log.steps_per_epoch)
    if look_every and first_step == 0:
        _look(evaluation, training, 0)
    for step, parts in training.feed.from_step(first_step, steps):
        rates = training.rates(step)
        loss = training.step(parts, rates)
        done = step + 1
        log.step(done, loss, lr=rates.lr, momentum=rates.momentum)

        is_best = collapsed = False
        if look_every and (done % look_every == 0 or done == steps):
            is_best, collapsed = _look(evaluation, training, done)
        kept = [BEST] * is_best + [f"step-{done:08d}.pt"] * (keep_every is not None and done % keep_every == 0)
        stop, due = processes.agree(bool(stopped), log.checkpoint_is_due())
        if stop or due or kept or collapsed or done == steps:
            _save(run, training, done, log, kept)
        if done < steps and (stop or collapsed):
            log.status = "stopped"
            if processes.is_first:
                run.write_info(status="collapsed" if collapsed else "stopped")
                renew_report(run.path)
            return Outcome(run.path, done, steps, (stopped or [signal.SIGTERM])[0] if stop else None, collapsed)
    _finish(run, training)
    return Outcome(run.path, steps, steps)


def new_run_path() -> Path:
    """A folder below `runs/` named after this moment."""
    return Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")


def describe_device(processes: Processes) -> str:
    """What trained: the GPU's name, or the processor and the number of threads; and how many processes."""
    device = processes.device
    if device.type == "cuda":
        name = f"{device.type} ({torch.cuda.get_device_name(device)})"
    else:
        name = f"{device} ({platform.processor() or platform.machine()}, {torch.get_num_threads()} threads)"
    return name if processes.count == 1 else f"{processes.count} x {name}"


def _open_run(
    path: Path, training: Training, sources: Sources, probe: OnlineProbe | None, *, resume: bool, command: str
) -> tuple[Run, int]:
    """The run folder, made or gone on with by the first process, and the step with which to go on."""
    processes, run = training.processes, None
    if processes.is_first:
        student = training.objective.student
        run = Run.open(
            path,
            training.config,
            resume=resume,
            command=command,
            device=describe_device(processes),
            steps=training.steps,
            parameters=sum(weight.numel() for weight in student.parameters()),
            attention=training.attention,
            example=sources.example() | _example_mask(training),
            mask_coverage=_coverage(training),
            probe=None if probe is None else describe_probe(probe),
            **sources.describe(),
        )
        write_seen(run.path / SEEN, list(sources.used()))
    info, file = processes.from_first((run.info, run.checkpoint_file) if run else None)
    if run is None:
        run = Run(path, training.config, info)
        run.checkpoint_file, run.checkpoint = file, None if file is None else read_checkpoint(file)
    if run.checkpoint is None:
        return run, 0
    assert run.checkpoint_file is not None
    restore_state(training.objective, training.optimizer, run.checkpoint, run.checkpoint_file)
    return run, int(run.checkpoint["step"])


def _look(evaluation: Evaluation | None, training: Training, step: int) -> tuple[bool, bool]:
    """Evaluate in the first process: has the online probe never been better, and is the run to stop?"""
    objective, found = training.objective, (False, False)
    encoder = probed = training.whole(objective.encoder)
    if training.config.run.probe_encoder == "student" and objective.teacher is not None:
        probed = training.whole(objective.student)
    if evaluation is not None:
        is_best = evaluation.look(encoder, probed, step)
        found = is_best, training.config.run.stop_on_collapse and bool(evaluation.alarms)
    return training.processes.from_first(found)


def _save(run: Run, training: Training, step: int, log: Log, also: list[str]) -> None:
    """Everything needed to go on after `step` steps."""
    kept = log.state()
    state = whole_state(training.objective, training.optimizer)
    if training.processes.is_first:
        description = describe_model(training.objective.student) | {"seed": training.config.training.seed}
        save_last(run.path / CHECKPOINTS, {**state, "step": step, "description": description, **kept}, also=also)
        run.write_info(steps_done=step, seconds=round(kept["seconds"], 1))


def _finish(run: Run, training: Training) -> None:
    """Leave the networks as a model folder."""
    objective, config = training.objective, training.config
    networks = {"student": objective.student} | ({"teacher": objective.teacher} if objective.teacher else {})
    encoders = {name: training.whole(network) for name, network in networks.items()}
    if training.processes.is_first:
        stores = [store["path"] for store in run.info["stores"]]
        save_model(run.path / "model", encoders, seed=config.training.seed, steps=training.steps, stores=stores)
        shutil.copyfile(run.path / SEEN, run.path / "model" / SEEN)
        run.write_info(status="finished", finished=now())
        renew_report(run.path)


def _failed(run: Run, training: Training, error: NotFiniteError) -> RunError:
    """Keep the batch on which the loss was no number."""
    file = run.path / f"not-finite-step-{error.step + 1:08d}.npz"
    if training.processes.is_first:
        masks, batches = training.feed.masks(error.step), training.feed.batches
        stores, records = zip(*batches.records(error.step), strict=True)
        with atomic_path(file) as temporary:
            np.savez(
                temporary,
                signal_mv=batches.batch(error.step).numpy(),
                visible_patches=masks.visible_KBV.numpy(),
                hidden_patches=masks.hidden_KBH.numpy(),
                store=np.array(stores),
                record=np.array(records),
            )
        run.write_info(status="failed")
        renew_report(run.path)
    return RunError(
        f"{error}; its batch is in {file}, the checkpoint before it is kept in {run.path}. If the signals are sound, "
        "begin another run with a lower learning rate, or --precision fp32"
    )


def periods(training: Training, steps_per_epoch: int) -> tuple[int | None, int | None]:
    """Steps between looks at the representation, and between checkpoints that are kept for good."""
    run = training.config.run
    looks, keeps = run.evaluate_epochs, run.keep_epochs
    look_every = max(1, training.steps // 10 if looks is None else round(looks * steps_per_epoch))
    return None if looks == 0 else look_every, None if keeps is None else max(1, round(keeps * steps_per_epoch))


def _example_mask(training: Training) -> dict[str, Any]:
    patch_samples, contract = training.config.model.patch_samples, training.objective.student.contract
    hidden_patches = training.feed.masks(0).hidden_KBH[0, 0].tolist()
    return {"hidden_patches": hidden_patches, "patch_seconds": patch_samples / contract.sampling_rate_hz}


def _coverage(training: Training) -> list[float]:
    config, patches = training.config, training.objective.student.patches
    return [round(share, 4) for share in mask_coverage(config.mask, patches, reference=config.training.reference)]
