"""The cells of a suite in which a network is trained: fine-tuned, or from scratch on the labels alone."""

import shutil
from typing import TYPE_CHECKING

from ecgjepa.data.store import Store
from ecgjepa.errors import RunError
from ecgjepa.evaluate.encoders import NamedEncoder
from ecgjepa.evaluate.targets import RegressionTargets, Targets
from ecgjepa.finetune.finetune import finetune
from ecgjepa.finetune.settings import FinetuneSettings, settings_of
from ecgjepa.suite.cells import Cell
from ecgjepa.suite.settings import SuiteSettings

if TYPE_CHECKING:
    from ecgjepa.suite.run import Place

# From scratch the weights have further to go.
SCRATCH_EPOCHS = 3


def tune_cell(
    cell: Cell,
    store: Store,
    named: NamedEncoder,
    targets: Targets | RegressionTargets,
    settings: SuiteSettings,
    place: "Place",
) -> None:
    """Train and evaluate, into the cell's folder; goes on where an earlier call stopped. Weights of epochs are removed.

    Raises:
        ValueError: the encoder is not one of ours; see `finetune`.
        RunError: a signal stopped it.
    """
    if named.loaded is None:
        raise ValueError(f"{named.name}: fine-tuning is of encoders of ecgjepa; this one is {named.network}")
    folder = place.out / cell.folder
    outcome = finetune(
        store,
        named.loaded,
        targets,
        tuning_of(cell, settings),
        folder,
        resume=True,
        device=place.device,
        encoder_name=named.name,
        checkpoint=named.source,
        command=place.command,
        allow_overlap=place.allow_overlap,
        resamples=settings.resamples,
        progress=place.progress,
    )
    if outcome.stopped_by is not None:
        raise RunError(f"{folder} was stopped at step {outcome.step} of {outcome.steps}; the same command goes on")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def tuning_of(cell: Cell, settings: SuiteSettings) -> FinetuneSettings:
    """How a cell is trained: the protocol's recipe; two stages where the encoder is pretrained."""
    is_scratch = cell.readout == "scratch"
    strict = settings.protocol == "strict"
    return settings_of(
        settings.protocol,
        task=cell.task.kind,
        level=cell.task.level,
        mode="scratch" if is_scratch else "two-stage" if strict else "full",
        epochs=settings.epochs * (SCRATCH_EPOCHS if is_scratch else 1) if strict else None,
        lr=(settings.scratch_lr if is_scratch else settings.finetune_lr) if strict else None,
        leads=cell.leads,
        label_fraction=cell.label_fraction,
        seed=cell.seed,
    )
