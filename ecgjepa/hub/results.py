"""What was measured of a model: the results of `ecgjepa probe` beside it, as the card shows them."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ecgjepa.checkpoint import CheckpointError


class Interval(BaseModel):
    """A score with its 95 % interval; None where it is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def show(self, number: str = ".3f") -> str:
        if self.value is None:
            return "-"
        interval = "" if self.low is None or self.high is None else f" [{self.low:{number}}, {self.high:{number}}]"
        return f"{self.value:{number}}{interval}"


class Scores(BaseModel):
    """Macro means over the classes."""

    auc: Interval
    f1: Interval


class Model(BaseModel):
    """The scores of one encoder."""

    macro: Scores


class Models(BaseModel):
    """The encoder, and its twin with random weights."""

    pretrained: Model
    random: Model


class Result(BaseModel):
    """What the card needs of a `result.json`."""

    dataset: str
    level: str
    task: str
    protocol: str
    encoder: str
    models: Models
    difference: Scores
    label_fraction: float = 1.0
    records: dict[str, int]
    patients: dict[str, int]
    warnings: list[str] = []


def read_results(folder: Path, network: str) -> list[Result]:
    """The results of one network in `probes/*/result.json` of a run or model folder.

    Raises:
        CheckpointError: a file is not such a result.
    """
    results = []
    for file in sorted(folder.glob("probes/*/result.json")):
        try:
            result = Result.model_validate_json(file.read_bytes())
        except (ValidationError, OSError) as error:
            first = " ".join(str(error).split())[:200]
            raise CheckpointError(f"{file} is not the result of a probe: {first}") from error
        if result.encoder == network:
            results.append(result)
    return results


def as_row(result: Result) -> dict[str, Any]:
    """A result as a row of the card's table."""
    part = f", {100 * result.label_fraction:g} % of the labels" if result.label_fraction < 1 else ""
    ours, random, difference = result.models.pretrained.macro, result.models.random.macro, result.difference
    return {
        "data, labels": f"{result.dataset} {result.level}, {result.task}{part}",
        "protocol": result.protocol,
        "test records (patients)": f"{result.records.get('test', 0):,} ({result.patients.get('test', 0):,})",
        "macro AUC": ours.auc.show(),
        "AUC, random weights": random.auc.show(),
        "AUC, difference": difference.auc.show("+.3f"),
        "macro F1": ours.f1.show(),
        "F1, random weights": random.f1.show(),
    }
