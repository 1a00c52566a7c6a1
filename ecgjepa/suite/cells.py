"""A suite as a list of cells: one encoder, one task, one way to read it, one condition. Each is one result folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ecgjepa.evaluate.readings import REGRESSION_READOUTS
from ecgjepa.suite.settings import SuiteSettings
from ecgjepa.suite.tasks import Task

# Read-outs of trained networks rather than of frozen features.
TUNED = ("finetuned", "scratch")


@dataclass(frozen=True)
class Cell:
    """One evaluation of a suite.

    Attributes:
        encoder: its name in the suite.
        readout: of frozen features, or `finetuned`, or `scratch`: trained on the labels only.
        label_fraction, leads, snr_db: the condition; see `Conditions`.
        seed: of whatever is drawn.
    """

    encoder: str
    task: Task
    readout: str
    label_fraction: float = 1.0
    leads: tuple[str, ...] | None = None
    snr_db: float | None = None
    seed: int = 0

    @property
    def is_tuned(self) -> bool:
        """Whether a network is trained, not a read-out of frozen features."""
        return self.readout in TUNED

    @property
    def is_plain(self) -> bool:
        """Whether it is of whole signals and all labels."""
        return self.label_fraction == 1 and self.leads is None and self.snr_db is None

    def of_encoder(self, encoder: str) -> "Cell":
        """The same of another encoder."""
        return replace(self, encoder=encoder)

    @property
    def folder(self) -> str:
        """Below the suite's folder."""
        parts = [self.readout]
        parts += [f"labels{100 * self.label_fraction:g}percent"] if self.label_fraction < 1 else []
        parts += [f"leads-{'-'.join(self.leads)}"] if self.leads is not None else []
        parts += [f"snr{self.snr_db:g}db"] if self.snr_db is not None else []
        return f"results/{self.encoder}/{self.task.folder}/{'-'.join(parts)}-seed{self.seed}"


def plan_cells(settings: SuiteSettings, encoders: Sequence[str], tasks: Sequence[Task]) -> list[Cell]:
    """Every cell of a data set, the plain ones first.

    Args:
        tasks: of one data set, the primary one first.
    """
    cells = [cell for task in tasks for encoder in encoders for cell in _plain(settings, encoder, task)]
    if tasks and tasks[0].kind in ("multilabel", "multiclass"):
        cells += [cell for encoder in encoders for cell in _conditions(settings, encoder, tasks[0])]
    return cells


def _plain(settings: SuiteSettings, encoder: str, task: Task) -> Iterator[Cell]:
    known = [readout for readout in settings.readouts if _reads(readout, task, settings)]
    yield from (
        Cell(encoder, task, readout, seed=settings.seed + k)
        for readout in known
        for k in range(settings.seeds if readout == known[0] else 1)
    )


def _reads(readout: str, task: Task, settings: SuiteSettings) -> bool:
    if settings.protocol == "paper":
        return readout == "linear" and task.kind != "regression"
    return task.kind != "regression" or readout in REGRESSION_READOUTS


def _conditions(settings: SuiteSettings, encoder: str, task: Task) -> Iterator[Cell]:
    first, seeds = settings.readouts[0], range(settings.seed, settings.seed + settings.seeds)
    for readout in settings.tuned:
        yield from (Cell(encoder, task, readout, seed=seed) for seed in seeds)
    for fraction in settings.label_fractions:
        for k in range(settings.fraction_seeds):
            yield Cell(encoder, task, first, label_fraction=fraction, seed=settings.seed + k)
            for readout in settings.tuned:
                yield Cell(encoder, task, readout, label_fraction=fraction, seed=settings.seed + k)
    for leads in settings.lead_sets:
        yield Cell(encoder, task, first, leads=leads, seed=settings.seed)
    for snr_db in settings.snr_db:
        yield Cell(encoder, task, first, snr_db=snr_db, seed=settings.seed)
