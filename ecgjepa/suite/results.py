"""The result folders of a suite, read back: every score of every model as one row of a table.

Columns of the long table: dataset, level, task, protocol, encoder, weights, readout, label_fraction, leads, snr_db,
seed, metric, class (`macro`, `macro_frequent` or a class), value, low, high, positives, rare.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ecgjepa.evaluate.result import RESULT
from ecgjepa.suite.cells import Cell
from ecgjepa.suite.tasks import Task

SUITE = "suite.json"
AVERAGES = ("macro", "macro_frequent")
# What the score of a task is where one number has to do.
PRIMARY = {"multilabel": "auc", "multiclass": "auc", "regression": "mae", "segmentation": "iou"}


class SuiteError(ValueError):
    """A folder that holds no suite, or a broken one; the message names the file."""


@dataclass(frozen=True)
class CellResult:
    """What an evaluated cell says.

    Attributes:
        summary: its `result.json`.
        folder: where its files are.
    """

    cell: Cell
    summary: dict[str, Any]
    folder: Path

    def weights_of(self, model: str) -> str:
        """`pretrained`, `random`, `finetuned` or `scratch`: what a model of the result is."""
        return self.cell.readout if self.cell.is_tuned else model


@dataclass(frozen=True)
class SuiteResults:
    """A suite as its folder holds it.

    Attributes:
        info: `suite.json`.
        results: the cells that were evaluated, in the order of the plan.
        failed: the others, and why.
    """

    path: Path
    info: dict[str, Any]
    results: list[CellResult]
    failed: list[tuple[Cell, str]]

    def of(self, task: Task) -> list[CellResult]:
        """The results of one task."""
        return [each for each in self.results if each.cell.task == task]

    @property
    def tasks(self) -> list[Task]:
        """Those with a result or a failure, in order."""
        cells = [each.cell for each in self.results] + [cell for cell, _ in self.failed]
        order = {Task(**cell["task"]): None for cell in self.info["cells"]}
        return [task for task in order if any(cell.task == task for cell in cells)]


def is_whole(folder: Path) -> bool:
    """Whether a cell was evaluated and its result can be read."""
    try:
        json.loads((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def read_suite_file(file: Path) -> dict[str, Any]:
    """What `suite.json` says.

    Raises:
        SuiteError: it is damaged.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SuiteError(f"{file} is not that of a suite: {error}; remove it, and the results are taken up") from error
    if not isinstance(found, dict) or not all(isinstance(found.get(key), list) for key in ("cells", "failed")):
        raise SuiteError(f"{file} is not that of a suite: cells or failed missing; remove it")
    return found


def read_suite(path: Path | str) -> SuiteResults:
    """Read the folder of a suite that has ended.

    Raises:
        SuiteError: there is none, or a file is broken.
    """
    path = Path(path)
    info = read_suite_file(path / SUITE)
    try:
        cells = [cell_of(values) for values in info["cells"]]
        results = []
        for folder, cell in ((path / cell.folder, cell) for cell in cells):
            if is_whole(folder):
                results.append(CellResult(cell, json.loads((folder / RESULT).read_text(encoding="utf-8")), folder))
        failed = [
            (cell_of({key: value for key, value in values.items() if key != "reason"}), values["reason"])
            for values in info["failed"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SuiteError(f"{path / SUITE} is not that of a suite: {type(error).__name__}: {error}") from error
    return SuiteResults(path, info, results, failed)


def cell_of(values: dict[str, Any]) -> Cell:
    """A cell from its JSON values."""
    leads = values.get("leads")
    return Cell(**values | {"task": Task(**values["task"]), "leads": None if leads is None else tuple(leads)})


def long_table(suite: SuiteResults) -> pd.DataFrame:
    """Every score as a row."""
    return pd.DataFrame([row for result in suite.results for row in _rows(result)])


def _rows(result: CellResult) -> Iterator[dict[str, Any]]:
    cell, summary = result.cell, result.summary
    about = {
        "dataset": cell.task.dataset,
        "level": cell.task.level,
        "task": cell.task.kind,
        "protocol": summary["protocol"],
        "encoder": cell.encoder,
    }
    condition = {
        "readout": cell.readout,
        "label_fraction": cell.label_fraction,
        "leads": None if cell.leads is None else " ".join(cell.leads),
        "snr_db": cell.snr_db,
        "seed": cell.seed,
    }
    for model, scores in summary["models"].items():
        named = {average: scores[average] for average in AVERAGES if average in scores} | scores.get("classes", {})
        for name, values in named.items():
            for metric, interval in values.items():
                if isinstance(interval, dict):
                    yield {
                        **about,
                        "weights": result.weights_of(model),
                        **condition,
                        "metric": metric,
                        "class": name,
                        **{key: interval.get(key) for key in ("value", "low", "high")},
                        "positives": values.get("positives"),
                        "rare": values.get("rare"),
                    }
