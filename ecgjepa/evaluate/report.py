"""A run folder -> one page that anybody can open: no outside request, no script, figures inline.

Axes: R records, C classes, D features.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup
from matplotlib.figure import Figure

import ecgjepa
from ecgjepa.data.store import Store, StoreError
from ecgjepa.evaluate.paper import ecg_paper
from ecgjepa.evaluate.plots import (
    MAX_LOSS_POINTS,
    MAX_ROC_CLASSES,
    embedding_map,
    interval_plot,
    loss_curve,
    roc_curves,
    to_svg,
)
from ecgjepa.evaluate.projection import project_to_map
from ecgjepa.evaluate.run_files import (
    ProbeSummary,
    ReportError,
    RunInfo,
    read_json,
    read_metrics,
    read_table,
)
from ecgjepa.files import write_text

REPORT = "report.html"
MAP_RECORDS = 3_000
# What the report calls the models of a result.
MODELS = {"pretrained": "pretrained", "random": "random weights"}
DATASETS = {
    "ptbxl": "PTB-XL",
    "shaoxing": "Chapman-Shaoxing-Ningbo",
    "code15": "CODE-15%",
    "cpsc": "CPSC2018",
}


@dataclass(frozen=True)
class Picture:
    """A figure with what it shows, or no figure and why."""

    caption: str
    svg: Markup | None = None


@dataclass(frozen=True)
class Probe:
    """A section about one linear evaluation."""

    name: str
    result: ProbeSummary
    scores: Picture
    roc: Picture
    map: Picture


def write_report(run_dir: Path | str, out: Path | str | None = None, overwrite: bool = False) -> Path:
    """Write what a run folder holds as one self-contained HTML page, and return its path.

    Made from the files of the folder, and for the picture of an ECG from the store that `run.json` names. What is
    not there (yet) is said to be absent. The same files give the same page but for the date in its last line.

    Args:
        run_dir: a run folder, finished or not, with or without probes.
        out: the file to write; `report.html` in the run folder if None, which is replaced if it is there.
        overwrite: replace another file than that one.

    Raises:
        FileExistsError: `out` is there and `overwrite` is False.
        ReportError: `run_dir` is not a run folder, or one of its files is broken; the message names it.
    """
    run_dir = Path(run_dir)
    target = run_dir / REPORT if out is None else Path(out)
    if target.exists() and not overwrite and target.resolve() != (run_dir / REPORT).resolve():
        raise FileExistsError(f"{target} exists already; --overwrite replaces it")
    run = read_json(run_dir / "run.json", RunInfo)
    if run is None:
        raise ReportError(f"{run_dir} is not a run folder: no run.json in it")
    folders = sorted(path for path in run_dir.glob("probes/*") if path.is_dir() and path.name[0] != ".")
    results = {folder: read_json(folder / "result.json", ProbeSummary) for folder in folders}
    finished = {folder: result for folder, result in results.items() if result is not None}
    strict_first = sorted(finished.items(), key=lambda each: each[1].protocol != "strict")
    probes = [_probe(*each, number, len(finished)) for number, each in enumerate(strict_first)]
    metrics, config = read_metrics(run_dir / "metrics.csv"), run_dir / "config.toml"
    html = _template().render(
        name=run_dir.resolve().name,
        run=run,
        headline=probes[0].result if probes else None,
        last=None if metrics is None else metrics.iloc[-1].to_dict(),
        loss=_loss(metrics),
        example=_example(run),
        probes=probes,
        unfinished=[folder.name for folder, result in results.items() if result is None],
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        models=MODELS,
        datasets=DATASETS,
        version=ecgjepa.__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, html)
    return target


def _loss(metrics: pd.DataFrame | None) -> Picture:
    if metrics is None:
        return Picture("No training step has been logged yet.")
    caption = (
        "Smooth L1 between predicted and target features. A falling loss alone is no sign of learning, for features "
        "that hold nothing but positions are easy to predict; the comparison with random weights tells."
    )
    if len(metrics) > MAX_LOSS_POINTS:
        caption += " The line is the mean of neighbouring rows of the log, the band their extremes."
    return _picture(loss_curve(metrics), "loss", "Loss, learning rate and teacher momentum over the steps", caption)


def _example(run: RunInfo) -> Picture:
    example = run.example
    if example is None:
        return Picture("run.json names no example record, so no ECG is drawn.")
    try:
        store = Store.open(example.store)
    except StoreError as error:
        return Picture(f"No ECG is drawn, because its store cannot be opened: {error}.")
    row, contract = example.row, store.contract
    if not 0 <= row < len(store) or store.column("record")[row].as_py() != example.record:
        return Picture(f"No ECG is drawn: row {row} of {example.store} is no longer the record {example.record}.")
    figure = ecg_paper(
        store.signals_mv([row])[0] * np.float32(example.gain),
        contract.leads,
        contract.sampling_rate_hz,
        example.hidden_patches,
        example.patch_seconds,
    )
    patches = round(contract.seconds / example.patch_seconds)
    hidden = f"{len(example.hidden_patches)} of {patches} patches of {example.patch_seconds:g} s"
    caption = (
        f"Record {example.record}, as the model gets it: {contract.sampling_rate_hz} Hz, no filter. Shaded: the "
        f"{hidden} that this mask hides, in every lead alike; their features are predicted from the rest. "
        f"III, aVR, aVL and aVF are computed from I and II and drawn for the reader only."
    )
    return _picture(figure, "ecg", f"ECG of record {example.record} on standard paper; {hidden} are shaded", caption)


def _probe(folder: Path, result: ProbeSummary, number: int, total: int) -> Probe:
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
    return _picture(figure, f"{prefix}-scores", "AUC of every class with its interval, by model", caption)


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
    if curves > MAX_ROC_CLASSES:
        caption += f" Shown are the {MAX_ROC_CLASSES} most frequent of {curves}; the mean is over all."
    return _picture(figure, f"{prefix}-roc", "ROC curves by class, pretrained against random weights", caption)


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
    return _picture(figure, f"{prefix}-map", "Two-dimensional map of the embeddings, coloured by label", caption)


def _picture(figure: Figure, name: str, description: str, caption: str) -> Picture:
    return Picture(caption, Markup(to_svg(figure, name, description)))


def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "number": _number,
        "score": _score,
        "signed": _signed,
        "duration": _duration,
        "moment": _moment,
    }
    return environment.from_string(files("ecgjepa.evaluate").joinpath(REPORT).read_text(encoding="utf-8"))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _score(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:+.3f}".replace("-", "−")


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _moment(iso: str) -> str:
    return iso.replace("T", " ").replace("+00:00", " UTC")
