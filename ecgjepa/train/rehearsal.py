"""What a run does beside its steps, done once and timed: a look at the representation, a checkpoint, the model folder.

What it writes goes into a hidden folder, which is removed again.
"""

import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecgjepa.checkpoint import describe_model, save_model
from ecgjepa.evaluate.collapse import measure_representation
from ecgjepa.evaluate.features import embed_rows
from ecgjepa.evaluate.online_probe import OnlineProbe
from ecgjepa.evaluate.report import renew_report
from ecgjepa.model.encoder import Encoder
from ecgjepa.train.checkpoints import CHECKPOINTS, save_last, whole_state
from ecgjepa.train.evaluation import describe_probe
from ecgjepa.train.masking import mask_coverage
from ecgjepa.train.measuring import Cost, timed
from ecgjepa.train.run import METRICS, METRICS_JSON, Run
from ecgjepa.train.sources import Sources
from ecgjepa.train.training import Training

PART = 32  # records that are looked at where all would take too long
LONGEST_S = 60.0  # of a look that is taken whole
ROWS = 20  # of the rehearsed log


@dataclass(frozen=True)
class Rehearsal:
    """Time and bytes.

    Attributes:
        evaluation: one look at the representation with its report; nothing where the run takes none.
        is_whole: all of its records were looked at; else it is scaled up from some, and the fit of the probe left out.
        checkpoint: writing one.
        checkpoint_bytes: of its file.
        model_bytes: of the model folder.
        row_bytes: of a row of the log.
    """

    evaluation: Cost
    is_whole: bool
    checkpoint: Cost
    checkpoint_bytes: int
    model_bytes: int
    row_bytes: int


def rehearse(training: Training, sources: Sources, probe: OnlineProbe | None, parent: Path) -> Rehearsal | None:
    """Do once what is not a step; to be called in every process, None in all but the first.

    Args:
        parent: folder on the disk that the run will be written to.

    Raises:
        RunError: the disk does not take a checkpoint.
        OSError: nothing can be written below `parent`.
    """
    objective, config, device = training.objective, training.config, training.processes.device
    encoder = probed = training.whole(objective.encoder)
    if config.run.probe_encoder == "student" and objective.teacher is not None:
        probed = training.whole(objective.student)
    states: list[dict[str, Any]] = []
    gathering = timed(lambda: states.append(whole_state(objective, training.optimizer)), device)
    networks = [objective.student] + ([objective.teacher] if objective.teacher else [])
    encoders = {name: training.whole(each) for name, each in zip(("student", "teacher"), networks, strict=False)}
    if not training.processes.is_first:
        return None

    looks, evaluation, is_whole = config.run.evaluate_epochs != 0, Cost(0.0, 0.0), True
    measures: dict[str, float] = {}
    if looks:
        signals_mv = torch.from_numpy(sources.watched_mv())
        measures, evaluation, is_whole = _look(encoder, probed, signals_mv, probe, device)
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=parent) as name:
        path, cpu = Path(name), torch.device("cpu")
        free, size = shutil.disk_usage(path).free, _bytes_of(states[0])
        if free < size:
            raise OSError(f"{parent}: a checkpoint has {size / 1e6:,.0f} MB, free are {free / 1e6:,.0f} MB")
        description = describe_model(objective.student)
        checkpoint = {**states[0], "step": 0, "seconds": 0.0, "core_seconds": 0.0, "losses": []}
        writing = timed(lambda: save_last(path / CHECKPOINTS, {**checkpoint, "description": description}, also=[]), cpu)
        save_model(path / "model", encoders)
        run = _run_folder(path / "run", training, sources, probe, measures)
        if looks:
            renew_report(run)  # fonts and the like are looked for once
            evaluation = evaluation.plus(timed(lambda: renew_report(run), cpu))
        row_bytes = sum((run / each).stat().st_size for each in (METRICS, METRICS_JSON)) // ROWS
        return Rehearsal(
            evaluation=evaluation,
            is_whole=is_whole,
            checkpoint=gathering.plus(writing),
            checkpoint_bytes=_size(path / CHECKPOINTS),
            model_bytes=_size(path / "model"),
            row_bytes=row_bytes,
        )


def look_again(training: Training, sources: Sources, probe: OnlineProbe | None) -> None:
    """Look at some records after the steps, as a run does, so that the peak of memory is that of a run."""
    encoder = training.whole(training.objective.encoder)
    if training.processes.is_first:
        measure_representation(encoder, torch.from_numpy(sources.watched_mv()[: 2 * PART]))
        if probe is not None:
            rows = [*probe.train_rows.tolist(), *probe.validation_rows.tolist()][: 4 * PART]
            embed_rows(encoder, probe.store, rows, device=training.processes.device, progress=False)


def _look(
    encoder: Encoder, probed: Encoder, signals_mv: Tensor, probe: OnlineProbe | None, device: torch.device
) -> tuple[dict[str, float], Cost, bool]:
    """What an evaluation finds and takes, and whether all of it was done."""
    found: dict[str, float] = {}
    measure_representation(encoder, signals_mv[:PART])  # memory is laid out
    part = timed(lambda: found.update(measure_representation(encoder, signals_mv[:PART])), device)
    scaled, rows = part.times(len(signals_mv) / len(signals_mv[:PART])), []
    if probe is not None:
        rows = [*probe.train_rows.tolist(), *probe.validation_rows.tolist()]
        embedding = timed(lambda: embed_rows(probed, probe.store, rows[:PART], device=device, progress=False), device)
        scaled = scaled.plus(embedding.times(len(rows) / len(rows[:PART])))
    if scaled.seconds > LONGEST_S:
        return found, scaled, False

    def whole() -> None:
        found.update(measure_representation(encoder, signals_mv))
        if probe is not None:
            found.update(probe.measure(probed))

    return found, timed(whole, device), True


def _run_folder(
    path: Path, training: Training, sources: Sources, probe: OnlineProbe | None, measures: dict[str, float]
) -> Path:
    """A run folder with as much in it as a report needs."""
    config, patches = training.config, training.objective.student.patches
    patch_seconds = config.model.patch_samples / sources.contract.sampling_rate_hz
    run = Run.open(
        path,
        config,
        resume=False,
        command="",
        device="",
        steps=training.steps,
        parameters=0,
        attention=training.attention,
        example=sources.example() | {"hidden_patches": [0], "patch_seconds": patch_seconds},
        mask_coverage=mask_coverage(config.mask, patches, reference=config.training.reference, draws=10),
        probe=None if probe is None else describe_probe(probe),
        **sources.describe(),
    )
    for step in range(1, ROWS + 1):
        when = {"step": float(step), "epoch": step / 7, "seconds": step / 3, "core_seconds": step / 3}
        run.log(
            {**when, "loss": 1 / step, "lr": 1e-5 / step, "momentum": 1 - 0.004 / step, "records_per_s": 100 / step}
        )
        if step % (ROWS // 5) == 0:
            run.log_evaluation(when | measures)
    return path


def nearest_folder(path: Path) -> Path:
    """The path itself, or the nearest folder above it that is there."""
    return next(each for each in itertools.chain([path], path.absolute().parents) if each.is_dir())


def _bytes_of(state: Any) -> int:
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, dict):
        return sum(map(_bytes_of, state.values()))
    return 0


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
