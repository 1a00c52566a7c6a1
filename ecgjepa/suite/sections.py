"""What the page says of one task: tables, figures, and the errors of which the first encoder was surest.

Axes: M test records, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.class_curves import (
    confusion_matrix,
    precision_recall_curves,
    reliability_curves,
    roc_curves,
)
from ecgjepa.evaluate.condition_curves import ConditionPoint, condition_curves
from ecgjepa.evaluate.pages import Picture, picture
from ecgjepa.evaluate.paired import compare_predictions
from ecgjepa.evaluate.paired_files import read_predictions
from ecgjepa.evaluate.plots import embedding_map, interval_plot
from ecgjepa.evaluate.projection import project_to_map
from ecgjepa.suite.hardest import draw_error, hardest_errors
from ecgjepa.suite.overview import Line, describe_model, lines_of, score_of
from ecgjepa.suite.results import PRIMARY, CellResult, SuiteResults
from ecgjepa.suite.tasks import Task

# As many as there are colours that everybody can tell apart.
MAX_MODELS = 6
MAX_MAP_RECORDS = 3000
# Of one page: the first task of a data set has all figures, the others those of scores and ROC.
HARDEST = 2
ENDS = ("value", "low", "high")


@dataclass(frozen=True)
class Shown:
    """One model in the figures: its name there, and what it said of the test records."""

    label: str
    line: Line
    result: CellResult
    labels_MK: Bool[ndarray, "m k"]
    probabilities_MK: Float[ndarray, "m k"]
    records_M: ndarray


@dataclass(frozen=True)
class Section:
    """What the page says of one task."""

    task: Task
    first: dict[str, Any]
    lines: list[tuple[str, Line]]
    results: list[CellResult]
    differences: list[dict[str, Any]]
    pictures: list[Picture]
    ecgs: list[Picture] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)


def task_section(suite: SuiteResults, task: Task, store: Store | None, number: int, primary: bool) -> Section | None:
    """The section of a task; None where no cell of it was evaluated.

    Args:
        store: for the pictures of ECGs; None where it cannot be opened.
        number: of the section on the page.
        primary: with all figures.
    """
    results = suite.of(task)
    plain = [each for each in results if each.cell.is_plain]
    if not plain:
        return None
    lines = [(line.label, line) for line in lines_of(plain)]
    section = Section(task, plain[0].summary, lines, results, _differences(plain), [])
    prefix = f"task{number}"
    if task.kind not in ("multilabel", "multiclass"):
        return section
    section.shown.extend(_shown(plain))
    section.pictures.extend(_figures(section, prefix, primary))
    section.pictures.extend(_conditions(results, prefix))
    if primary:
        section.pictures.append(_map(section.shown[0], prefix))
        section.ecgs.extend(_ecgs(section.shown[0], store, prefix))
    return section


def _shown(plain: Sequence[CellResult]) -> list[Shown]:
    """Each encoder by its first read-out and as trained, and one encoder with random weights."""
    lines = lines_of(plain)
    encoders = list(dict.fromkeys(line.encoder for line in lines))
    frozen = [
        next((line for line in lines if line.encoder == name and line.weights == "pretrained"), None)
        for name in encoders
    ]
    tuned = [line for line in lines if line.weights in ("finetuned", "scratch")]
    random = [line for line in lines if line.weights == "random"][:1]
    chosen = [line for line in [*frozen, *tuned, *random] if line is not None][:MAX_MODELS]
    shown = []
    for line in chosen:
        for each in plain:
            models = {each.weights_of(model): model for model in each.summary["models"]}
            if (each.cell.encoder, each.cell.readout) == (line.encoder, line.readout) and line.weights in models:
                label = "random weights" if line.weights == "random" else describe_model(line)
                shown.append(Shown(label, line, each, *read_test(each, models[line.weights])))
                break
    return shown


def read_test(result: CellResult, model: str) -> tuple[ndarray, ndarray, ndarray]:
    """Labels (M, K), probabilities (M, K) and names of the test records of a result."""
    table = pd.read_parquet(result.folder / "predictions.parquet")
    table = table[table["split"] == "test"].sort_values("record", ignore_index=True)
    classes = result.summary["classes"]
    labels = table[[f"label:{name}" for name in classes]].to_numpy() > 0
    return labels, table[[f"{model}:{name}" for name in classes]].to_numpy(np.float64), table["record"].to_numpy()


def _differences(plain: Sequence[CellResult]) -> list[dict[str, Any]]:
    """Every further encoder minus the first, by the same read-out on the same records."""
    encoders = list(dict.fromkeys(each.cell.encoder for each in plain))
    first_seed = min(each.cell.seed for each in plain)
    found = []
    for each in plain:
        if each.cell.encoder == encoders[0] or each.cell.seed != first_seed:
            continue
        partner = next((other for other in plain if other.cell == each.cell.of_encoder(encoders[0])), None)
        if partner is None:
            continue
        compared = compare_predictions(read_predictions(partner.folder), read_predictions(each.folder))
        metric = PRIMARY[each.cell.task.kind]
        values = compared["macro"] if "macro" in compared else next(iter(compared["classes"].values()))
        found.append(
            {
                "readout": each.cell.readout,
                "a": encoders[0],
                "b": each.cell.encoder,
                "metric": metric,
                "interval": values[metric]["difference"],
            }
        )
    return found


def _figures(section: Section, prefix: str, primary: bool) -> list[Picture]:
    shown, first = section.shown, section.shown[0]
    classes, name = section.first["classes"], section.task.name
    rows: dict[str, dict[str, tuple[float, float, float]]] = {"Macro": {}, **{each: {} for each in classes}}
    for model in shown:
        key = next(key for key in model.result.summary["models"] if model.result.weights_of(key) == model.line.weights)
        scores = model.result.summary["models"][key]
        for row, values in {"Macro": scores["macro"], **scores["classes"]}.items():
            value, low, high = (math.nan if values["auc"][end] is None else values["auc"][end] for end in ENDS)
            rows[row][model.label] = value, low, high
    probability = {model.label: model.probabilities_MK for model in shown}
    labels = first.labels_MK
    pictures = [
        picture(
            interval_plot(rows, "AUC", chance=0.5),
            f"{prefix}-scores",
            f"AUC of every class with its interval, {name}",
            "AUC with 95 % intervals, by bootstrap over patients. The dotted line is chance.",
        ),
        picture(
            roc_curves(labels, probability, classes),
            f"{prefix}-roc",
            f"ROC curves, {name}",
            f"ROC curves of the {len(labels):,} test records, each class against the rest, with their AUC.",
        ),
    ]
    if not primary:
        return pictures
    pictures += [
        picture(
            precision_recall_curves(labels, probability, classes),
            f"{prefix}-pr",
            f"Precision against recall, {name}",
            "Precision against recall, with the average precision; the grey line is the share of positives.",
        ),
        picture(
            reliability_curves(labels, probability, classes),
            f"{prefix}-reliability",
            f"Reliability, {name}",
            "Share of positives against the mean probability in ten bins: on the diagonal a probability is a frequency",
        ),
    ]
    if section.task.kind == "multiclass":
        counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
        np.add.at(counts, (labels.argmax(axis=1), first.probabilities_MK.argmax(axis=1)), 1)
        caption = f"Test records by label (row) and call (column) of {first.label}; the shade is the share of the row."
        pictures.append(
            picture(confusion_matrix(counts, classes), f"{prefix}-confusion", f"Confusion matrix, {name}", caption)
        )
    return pictures


def _conditions(results: Sequence[CellResult], prefix: str) -> list[Picture]:
    plain = [each for each in results if each.cell.is_plain]
    found = []
    fractions = [each for each in results if each.cell.label_fraction < 1]
    if fractions:
        shares = sorted({each.cell.label_fraction for each in fractions})
        groups = {f"{100 * share:g} %": [e for e in fractions if e.cell.label_fraction == share] for share in shares}
        caption = "Macro AUC by the share of the training labels; bars are one sd over draws, or 95 % intervals."
        found.append(_curve(groups | {"all": plain}, "labels", "share of the training labels", caption, prefix))
    leads = [each for each in results if each.cell.leads is not None]
    if leads:
        names = list(dict.fromkeys(" ".join(each.cell.leads or ()) for each in leads))
        groups = {name: [each for each in leads if " ".join(each.cell.leads or ()) == name] for name in names}
        caption = (
            "Macro AUC where only some leads are there, in training and test; bars are 95 % intervals over patients."
        )
        found.append(_curve(groups | {"all leads": plain}, "leads", "leads", caption, prefix))
    noisy = [each for each in results if each.cell.snr_db is not None]
    if noisy:
        levels = sorted({each.cell.snr_db for each in noisy}, key=lambda level: level or 0)
        groups = {f"{level:g} dB": [each for each in noisy if each.cell.snr_db == level] for level in levels}
        caption = "Macro AUC with noise over the test records (training records as they are), by signal over noise."
        found.append(_curve(groups | {"as recorded": plain}, "noise", "signal over noise", caption, prefix))
    return found


def _curve(groups: Mapping[str, Sequence[CellResult]], name: str, xlabel: str, caption: str, prefix: str) -> Picture:
    points: dict[str, list[ConditionPoint]] = {}
    conditioned = [each for key, group in list(groups.items())[:-1] for each in group]
    for line in lines_of(conditioned):
        row = []
        for condition, group in groups.items():
            score = score_of(group, line, "auc")
            if score is not None:
                spread = score.sd if score.sd is not None else None
                low = score.value - spread if spread is not None else score.low
                high = score.value + spread if spread is not None else score.high
                row.append(ConditionPoint(condition, score.value, low or score.value, high or score.value))
        points[line.label if line.weights == "random" else describe_model(line)] = row
    kept = dict(list(points.items())[:MAX_MODELS])
    figure = condition_curves(kept, list(groups), "Macro AUC", xlabel)
    return picture(figure, f"{prefix}-{name}", f"Macro AUC by {xlabel}", caption)


def _map(model: Shown, prefix: str) -> Picture:
    file = model.result.folder / "embeddings.parquet"
    if not file.is_file():
        return Picture("No map: the read-out that is shown has no embeddings.")
    table = pd.read_parquet(file).iloc[:MAX_MAP_RECORDS]
    if len(table) < 5:
        return Picture("No map: fewer than five test records.")
    places = project_to_map(np.stack(table["pretrained"].to_list()).astype(np.float64))
    figure = embedding_map(places, [list(names) for names in table["labels"]], model.result.summary["classes"])
    caption = f"t-SNE of the features of {model.label} on the test records, in the colours of their labels."
    return picture(figure, f"{prefix}-map", "Map of the embeddings", caption)


def _ecgs(model: Shown, store: Store | None, prefix: str) -> list[Picture]:
    errors = hardest_errors(model.labels_MK, model.probabilities_MK, HARDEST)
    if store is None:
        return [Picture("The store is not there, so no ECG can be drawn.")] if errors else []
    row_of = {record: row for row, record in enumerate(store.column("record").to_pylist())}
    classes = model.result.summary["classes"]
    drawn = []
    for number, error in enumerate(errors):
        row = row_of[str(model.records_M[error.place])]
        figure = draw_error(store, row, error, classes, model.labels_MK[error.place], model.label)
        what = "a missed call" if error.missed else "a false call"
        drawn.append(picture(figure, f"{prefix}-ecg{number}", f"ECG of {what}", f"Among the surest errors: {what}."))
    return drawn


def open_store(path: Path) -> Store | None:
    """A store, None where it is not there any more."""
    try:
        return Store.open(path)
    except (OSError, ValueError):
        return None
