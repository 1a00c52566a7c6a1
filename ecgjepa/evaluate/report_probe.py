"""The part of the report about one linear evaluation: scores, ROC curves, a map of the embeddings.

Axes: R records, C classes, D features.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecgjepa.evaluate.class_curves import MAX_CURVE_CLASSES, roc_curves
from ecgjepa.evaluate.pages import Picture, picture
from ecgjepa.evaluate.plots import embedding_map, interval_plot
from ecgjepa.evaluate.projection import project_to_map
from ecgjepa.evaluate.run_files import ProbeSummary, ReportError, read_table

MAP_RECORDS = 3_000
# What the report calls the models of a result.
MODELS = {"pretrained": "pretrained", "random": "random weights"}


@dataclass(frozen=True)
class Probe:
    """A section about one linear evaluation."""

    name: str
    result: ProbeSummary
    scores: Picture
    roc: Picture
    map: Picture


def probe_section(folder: Path, result: ProbeSummary, number: int, total: int) -> Probe:
    """A finished evaluation, the `number`-th of `total` on the page."""
    prefix = f"probe{number}"
    return Probe(
        folder.name,
        result,
        _scores(result, prefix),
        _roc(folder / "predictions.parquet", result, prefix),
        _map(folder / "embeddings.parquet", result, prefix, max(1_000, min(MAP_RECORDS, 9_000 // total))),
    )


def _scores(result: ProbeSummary, prefix: str) -> Picture:
    rows: dict[str, dict[str, tuple[float, float, float]]] = {"Macro": {}, **{name: {} for name in result.classes}}
    for model, scores in result.models.items():
        for name, score in {"Macro": scores.macro, **scores.classes}.items():
            value, low, high = (math.nan if x is None else x for x in (score.auc.value, score.auc.low, score.auc.high))
            rows[name][MODELS.get(model, model)] = value, low, high
    figure = interval_plot(rows, "AUC", chance=0.5)
    unit = result.bootstrap.get("unit", "patient")
    caption = f"AUC with 95 % intervals, by bootstrap over {unit}s. The dotted line is chance."
    return picture(figure, f"{prefix}-scores", "AUC of every class with its interval, by model", caption)


def _roc(file: Path, result: ProbeSummary, prefix: str) -> Picture:
    columns = {kind: [f"{kind}:{name}" for name in result.classes] for kind in ("label", *result.models)}
    table = read_table(file, [name for names in columns.values() for name in names])
    if table is None:
        return Picture(f"No ROC curves: {file.name} is not there.")
    values = {kind: table[names].to_numpy(np.float64) for kind, names in columns.items()}
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ReportError(f"{file}: a label or a probability is not a finite number")
    label_RC = values.pop("label") > 0.5
    figure = roc_curves(label_RC, {MODELS.get(name, name): value for name, value in values.items()}, result.classes)
    caption = f"ROC curves of the {len(table):,} test records, each class against the rest, with their AUC."
    curves = int(((label_RC.sum(0) > 0) & (label_RC.sum(0) < len(label_RC))).sum())
    if curves < len(result.classes):
        caption += f" {len(result.classes) - curves} classes have only one kind of record and therefore no curve."
    if curves > MAX_CURVE_CLASSES:
        caption += f" Shown are the {MAX_CURVE_CLASSES} most frequent of {curves}; the mean is over all."
    return picture(figure, f"{prefix}-roc", "ROC curves by class, pretrained against random weights", caption)


def _map(file: Path, result: ProbeSummary, prefix: str, limit: int) -> Picture:
    table = read_table(file, ["labels", "pretrained"])
    if table is None or len(table) < 5:
        return Picture(f"No map: {file.name} {'is not there' if table is None else 'has fewer than 5 records'}.")
    chosen = np.sort(np.random.default_rng(0).permutation(len(table))[:limit])
    features_RD = np.stack(table["pretrained"].iloc[chosen].to_list()).astype(np.float64)
    if not np.isfinite(features_RD).all():
        raise ReportError(f"{file}: an embedding is not finite")
    if not features_RD.std(axis=0).any():
        return Picture("No map: every record has the same embedding, the encoder has collapsed.")
    labels = [list(names) for names in table["labels"].iloc[chosen]]
    figure = embedding_map(project_to_map(features_RD), labels, result.classes)
    which = f"the {len(table):,} test records"
    if limit < len(table):
        which = f"{limit:,} of the {len(table):,} test records, drawn at random"
    caption = (
        f"Embeddings of {which} (pretrained encoder), placed by t-SNE: neighbours are alike, long distances mean "
        f"nothing. Grey on the left: none or several of the labels; on the right, every record with that label."
    )
    return picture(figure, f"{prefix}-map", "Two-dimensional map of the embeddings, coloured by label", caption)
