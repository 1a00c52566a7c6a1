"""Result folders and tables of predictions -> what one model says of its test records.

Axes: N test records, K columns: classes, or the one value of a regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import Float64, Shaped
from numpy import ndarray
from pydantic import BaseModel

from ecgjepa.evaluate.run_files import read_json

RESULT, PREDICTIONS = "result.json", "predictions.parquet"
# Which model of a file is meant where none is named.
MAIN_MODELS = ("pretrained", "finetuned", "scratch")

# Columns `TRUTH:NAME` hold what is known: labels, or the values of a regression.
TRUTH = ("label", "value")


class ComparisonError(ValueError):
    """Results that cannot be compared; the message says which, and why."""


class ModelEntry(BaseModel):
    """What `result.json` says of one model."""

    thresholds: dict[str, float] | None = None


class ResultEntry(BaseModel):
    """What `result.json` says that a comparison needs."""

    dataset: str
    level: str
    task: str
    protocol: str
    encoder: str = ""
    seed: int | None = None
    label_fraction: float = 1.0
    thresholds: dict[str, float] = {}
    models: dict[str, ModelEntry] = {}


@dataclass(frozen=True)
class Predictions:
    """One model on its test records.

    Attributes:
        path: the folder or file.
        model: name of the model in it.
        entry: what is said of the result; None for a table alone.
        thresholds: probability from which a class is called, by class; None if there are none.
        columns: K names.
        records_N, patients_N: names.
        labels_NK: 1 and 0, or true values.
        predicted_NK: probabilities, or predicted values.
    """

    path: Path
    model: str
    entry: ResultEntry | None
    thresholds: dict[str, float] | None
    columns: tuple[str, ...]
    records_N: Shaped[ndarray, "n"]
    patients_N: Shaped[ndarray, "n"]
    labels_NK: Float64[ndarray, "n k"]
    predicted_NK: Float64[ndarray, "n k"]

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"{self.path} ({self.model})"

    def taking(self, positions: ndarray) -> "Predictions":
        """Some of the records, in the order given."""
        names = ("records_N", "patients_N", "labels_NK", "predicted_NK")
        return replace(self, **{name: getattr(self, name)[positions] for name in names})


def results_in(path: Path) -> list[Path]:
    """Result folders that a path means: itself, or those below `probes/`; or the file itself, if it is a table."""
    if path.is_file():
        if path.suffix == ".parquet":
            return [path]
        return [path.parent] if path.name == RESULT else []
    if (path / RESULT).is_file() or (path / PREDICTIONS).is_file():
        return [path]
    return sorted(file.parent for file in path.glob(f"probes/*/{RESULT}"))


def mean_results(paths: Sequence[Path]) -> bool:
    """Whether some paths on the command line mean results, and not pretraining runs that were followed.

    They do if one of them holds a result and is no run folder, or if they are two runs that have results alone.
    """
    if any(results_in(path) and not (path / "run.json").is_file() for path in paths):
        return True
    return len(paths) == 2 and all(results_in(path) and not (path / "evaluations.csv").is_file() for path in paths)


def read_predictions(path: Path | str, model: str | None = None) -> Predictions:
    """One model of a result folder, of a run folder with exactly one result, or of a table of predictions.

    Args:
        model: `pretrained`, `finetuned` or `scratch`, whichever is there first, or the only one, if None.

    Raises:
        ComparisonError: no result there, or several; no such model; a table without what it needs.
        ReportError: `result.json` does not hold what it should.
    """
    path = Path(path)
    found = results_in(path)
    if not found:
        raise ComparisonError(
            f"{path} holds no result: expected {RESULT} and {PREDICTIONS}, in it or below probes/, or a .parquet file"
        )
    if len(found) > 1:
        raise ComparisonError(f"{path} holds {len(found)} results, name one: {', '.join(map(str, found))}")
    alone = found[0].is_file()
    file = found[0] if alone else found[0] / PREDICTIONS
    entry = None if alone else read_json(found[0] / RESULT, ResultEntry)
    if not alone and entry is None:
        raise ComparisonError(f"{found[0]} has no {RESULT}; to compare its table alone, name {file}")
    table = _read(file)
    model, main = _choose(file, table, model)
    columns = tuple(name.removeprefix(f"{model}:") for name in table if name.startswith(f"{model}:"))
    truth = [next((f"{true}:{name}" for true in TRUTH if f"{true}:{name}" in table), None) for name in columns]
    if None in truth:
        name = columns[truth.index(None)]
        raise ComparisonError(f"{file}: column '{model}:{name}', but no 'label:{name}'")
    thresholds = None
    if entry is not None:
        # Those at the top are of the main model.
        thresholds = entry.models[model].thresholds if model in entry.models else None
        thresholds = thresholds or (entry.thresholds if model == main else None) or None
    return Predictions(
        found[0],
        model,
        entry,
        thresholds,
        columns,
        table["record"].to_numpy(dtype=object),
        table["patient"].to_numpy(dtype=object),
        _numbers(file, table, [str(name) for name in truth]),
        _numbers(file, table, [f"{model}:{name}" for name in columns]),
    )


def _read(file: Path) -> pd.DataFrame:
    """The test records of a table, each once."""
    try:
        table = pq.read_table(file).to_pandas()
    except (OSError, ValueError) as error:
        raise ComparisonError(f"{file} is not a table of predictions: {error}") from None
    if missing := [name for name in ("record", "patient") if name not in table]:
        raise ComparisonError(f"{file}: no column {missing[0]!r}, found {list(table.columns)[:12]}")
    if "split" in table:
        table = table[table["split"] == "test"]
    if not len(table):
        raise ComparisonError(f"{file}: no test record in it")
    twice = table["record"].duplicated()
    if twice.any():
        raise ComparisonError(f"{file}: record {table['record'][twice].iloc[0]} stands there twice")
    if (nobody := table["patient"].isna() | table["record"].isna()).any():
        raise ComparisonError(f"{file}: row {int(np.flatnonzero(nobody)[0])} has no record or no patient")
    return table


def _choose(file: Path, table: pd.DataFrame, model: str | None) -> tuple[str, str | None]:
    """The model that is meant, and the main model of the file if there is one."""
    models = list(dict.fromkeys(name.partition(":")[0] for name in table if ":" in name))
    models = [name for name in models if name not in TRUTH]
    main = next((name for name in MAIN_MODELS if name in models), models[0] if len(models) == 1 else None)
    if model is not None and model not in models:
        raise ComparisonError(f"{file}: no model {model!r}, found {', '.join(models) or 'none'}")
    if (chosen := model or main) is None:
        raise ComparisonError(f"{file}: which model? Found {', '.join(models) or 'none'}; name one with --model")
    return chosen, main


def _numbers(file: Path, table: pd.DataFrame, names: list[str]) -> Any:
    try:
        numbers = table[names].to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ComparisonError(f"{file}: {error}") from None
    broken = ~np.isfinite(numbers)
    if broken.any():
        n, k = np.argwhere(broken)[0]
        raise ComparisonError(f"{file}: record {table['record'].iloc[n]} has {numbers[n, k]} as {names[k]!r}")
    return numbers
