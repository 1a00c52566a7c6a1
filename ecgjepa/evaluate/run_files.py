"""What the files of a run folder say, checked: an absent one is None, a broken one is an error that names it.

Only what a report needs is asked for; further keys are left alone. The writers are `ecgjepa.train` and the probe.
"""

from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import BaseModel, ValidationError


class ReportError(ValueError):
    """A file of a run folder that does not hold what it should; the message names it."""


class Interval(BaseModel):
    """A score with its 95 % interval; None where it is not defined, as for a class without positives.

    Of a difference also the p value.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None


class Scores(BaseModel):
    """The scores of one model, over all classes or on one; those that a task does not have are undefined."""

    auc: Interval = Interval()
    f1: Interval = Interval()
    auprc: Interval | None = None
    sensitivity_at_90_specificity: Interval | None = None
    ece: Interval | None = None
    accuracy: Interval | None = None
    auc_one_vs_one: Interval | None = None
    mae: Interval | None = None
    r2: Interval | None = None
    positives: int | None = None
    rare: bool = False


class ModelScores(BaseModel):
    """The scores of one model: macro, and per class."""

    macro: Scores
    macro_frequent: Scores | None = None
    classes: dict[str, Scores] = {}
    thresholds: dict[str, float] = {}


class Published(BaseModel):
    """A number from the literature."""

    model: str
    value: float
    metric: str
    source: str


class ProbeSummary(BaseModel):
    """`probes/*/result.json`."""

    dataset: str
    level: str
    task: str
    protocol: str
    encoder: str
    classes: list[str] = []
    models: dict[str, ModelScores]
    readout: str = "linear"
    pooling: str = "mean"
    leads: list[str] | None = None
    snr_db: float | None = None
    unit: str | None = None
    difference: Scores | None = None
    label_fraction: float = 1.0
    seed: int | None = None
    command: str = ""
    versions: dict[str, str] = {}
    seconds: float | None = None
    records: dict[str, int] = {}
    patients: dict[str, int] = {}
    left_out: dict[str, int] = {}
    thresholds: dict[str, float] = {}
    selection: dict[str, Any] | None = None
    bootstrap: dict[str, Any] = {}
    published: list[Published] = []
    warnings: list[str] = []

    @property
    def is_plain(self) -> bool:
        """Whether it is the linear read-out of whole signals, from all labels."""
        plain = self.readout == "linear" and self.pooling == "mean" and self.label_fraction == 1
        return plain and self.leads is None and self.snr_db is None


class Account(BaseModel):
    """What became of the records of a data set."""

    candidates: int
    kept: int
    changed: dict[str, int] = {}
    refused: dict[str, int] = {}
    flags: dict[str, int] = {}


class StoreEntry(BaseModel):
    """A store that was trained on."""

    path: str
    dataset: str = ""
    records: int | None = None
    trained_on: int | None = None
    checksum: str = ""
    account: Account | None = None


class Example(BaseModel):
    """One record of a store, and the mask that the trainer drew for it."""

    store: str
    row: int
    record: str
    gain: float = 1.0
    hidden_patches: list[int]
    patch_seconds: float


class Alarm(BaseModel):
    """A sign of collapse that was found while the run trained."""

    step: int
    name: str
    found: str | float | None = None
    explanation: str = ""
    advice: str = ""


class OnlineProbeInfo(BaseModel):
    """What the column `probe_auc` of `evaluations.csv` was measured on."""

    dataset: str | None = None
    level: str | None = None
    checksum: str | None = None


class RunInfo(BaseModel):
    """`run.json`."""

    status: str
    command: str = ""
    versions: dict[str, str] = {}
    device: str = "unknown"
    seed: int | None = None
    config: dict[str, Any] = {}
    stores: list[StoreEntry] = []
    warnings: list[str] = []
    started: str | None = None
    finished: str | None = None
    seconds: float | None = None
    parameters: int | None = None
    steps: int | None = None
    example: Example | None = None
    alarms: list[Alarm] = []
    mask_coverage: list[float] | None = None
    probe: OnlineProbeInfo | None = None


Schema = TypeVar("Schema", bound=BaseModel)


def read_json(file: Path, schema: type[Schema]) -> Schema | None:
    """A JSON file as `schema`, None if it is absent.

    Raises:
        ReportError: not JSON, or a key missing or of another type.
    """
    if not file.is_file():
        return None
    try:
        return schema.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ReportError(f"{file}: {key + ': ' if key else ''}{first['msg']}") from None


def read_metrics(file: Path) -> pd.DataFrame | None:
    """`metrics.csv`, None if it is absent or has no row yet.

    Raises:
        ReportError: not a table, or without the columns step, epoch, loss, lr, momentum as numbers. Those
            that say how fast it went are kept where they are there.
    """
    table = _read_csv(file)
    if table is None:
        return None
    pace = [name for name in ("records_per_s", "seconds", "core_seconds") if name in table]
    columns = ["step", "epoch", "loss", "lr", "momentum", *pace]
    try:
        return table[columns].astype(float)
    except (ValueError, KeyError) as error:
        raise ReportError(f"{file}: {error}") from None


def read_evaluations(file: Path) -> pd.DataFrame | None:
    """`evaluations.csv` by ascending step, all columns as numbers; None if it is absent or has no row yet.

    Raises:
        ReportError: not a table, without the column step, or with a step twice or a value that is no number.
    """
    table = _read_csv(file)
    if table is None:
        return None
    if "step" not in table:
        raise ReportError(f"{file}: no column 'step', found {list(table.columns)[:12]}")
    try:
        numbers = table.astype(float).sort_values("step", ignore_index=True)
    except ValueError as error:
        raise ReportError(f"{file}: {error}") from None
    if not numbers["step"].is_unique or numbers["step"].isna().any():
        raise ReportError(f"{file}: a step is missing or stands there twice")
    return numbers


def _read_csv(file: Path) -> pd.DataFrame | None:
    if not file.is_file() or not file.stat().st_size:
        return None
    try:
        table = pd.read_csv(file)
    except ValueError as error:
        raise ReportError(f"{file}: {error}") from None
    return table if len(table) else None


def read_table(file: Path, columns: list[str]) -> pd.DataFrame | None:
    """Columns of a Parquet file, None if it is absent or has no row.

    Raises:
        ReportError: not Parquet, or a column is missing.
    """
    if not file.is_file():
        return None
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise ReportError(f"{file} is not a Parquet file: {error}") from None
    if missing := [name for name in columns if name not in table]:
        raise ReportError(f"{file}: no column {missing[0]!r}, found {list(table.columns)[:12]}")
    return table[columns] if len(table) else None
