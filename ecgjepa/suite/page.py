"""The page of a suite: one file that anybody can open, made from the suite's folder."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ecgjepa
from ecgjepa.evaluate.pages import DATASETS, page_template
from ecgjepa.evaluate.result_table import METRICS, format_interval
from ecgjepa.files import write_text
from ecgjepa.suite.overview import Line, overview, score_of
from ecgjepa.suite.results import AVERAGES, SuiteResults
from ecgjepa.suite.sections import Section, open_store, task_section

PAGE = "report.html"
# Metrics of the table of a task, where it has them.
COLUMNS = (
    "auc",
    "auprc",
    "f1",
    "accuracy",
    "sensitivity_at_90_specificity",
    "ece",
    "mae",
    "rmse",
    "r2",
    "pearson_r",
    "iou",
)


def write_page(suite: SuiteResults, stores: Mapping[str, Path]) -> Path:
    """Write `report.html` into the suite's folder, and return its path.

    Args:
        stores: data set -> store, for the pictures of ECGs; what is not there is said to be absent.
    """
    sections, primary = [], set()
    for number, task in enumerate(suite.tasks, 1):
        store = open_store(stores[task.dataset]) if task.dataset in stores else None
        section = task_section(suite, task, store, number, task.dataset not in primary)
        if section is not None:
            sections.append(section)
            primary.add(task.dataset)
    header, rows = overview(suite)
    html = page_template("suite.html").render(
        name=suite.path.resolve().name,
        info=suite.info,
        header=header,
        rows=rows,
        sections=[_described(section) for section in sections],
        failed=[(cell.folder.removeprefix("results/"), reason) for cell, reason in suite.failed],
        datasets=DATASETS,
        version=ecgjepa.__version__,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
    )
    target = suite.path / PAGE
    write_text(target, html)
    return target


def _described(section: Section) -> dict[str, Any]:
    """A section as its template takes it."""
    first, task = section.first, section.task
    plain = [each for each in section.results if each.cell.is_plain]
    metrics = [metric for metric in COLUMNS if metric in next(iter(first["models"].values()))["macro"]]
    has_rare = any(
        values.get("rare") for model in first["models"].values() for values in model.get("classes", {}).values()
    )
    averages = AVERAGES if has_rare else AVERAGES[:1]
    return {
        "title": f"{DATASETS.get(task.dataset, task.dataset)} · {task.level} · {task.kind}",
        "first": first,
        "metrics": [METRICS.get(metric, metric) for metric in metrics],
        "averages": [
            (
                "Macro mean" if average == "macro" else "Mean of frequent classes",
                _lines(section, plain, metrics, average),
            )
            for average in averages
        ],
        "apart": _apart(section),
        "differences": [{**each, "text": format_interval(each["interval"], "+.3f")} for each in section.differences],
        "classes": _classes(section),
        "subgroups": _subgroups(section),
        "pictures": section.pictures,
        "ecgs": section.ecgs,
        "warnings": list(dict.fromkeys(warning for each in plain for warning in each.summary["warnings"])),
        "selections": [(each.cell.folder.removeprefix("results/"), each.summary.get("selection")) for each in plain],
    }


def _lines(section: Section, plain: Any, metrics: list[str], average: str) -> list[list[str]]:
    rows = []
    for label, line in section.lines:
        scores = [score_of(plain, line, metric, average) for metric in metrics]
        rows.append([label, *("–" if score is None else score.text() for score in scores)])
    return rows


def _apart(section: Section) -> list[dict[str, str]]:
    """Pretrained minus random, of every read-out."""
    rows = []
    for each in section.results:
        if each.cell.is_plain and "difference" in each.summary:
            metric = next(name for name in COLUMNS if name in each.summary["difference"])
            found = each.summary["difference"][metric]
            label = Line(each.cell.encoder, "pretrained", each.cell.readout).label
            seed = f", seed {each.cell.seed}"
            rows.append(
                {
                    "label": label + seed,
                    "metric": METRICS[metric],
                    "text": format_interval(found, "+.3f"),
                    "p": found.get("p"),
                }
            )
    return rows


def _classes(section: Section) -> dict[str, Any] | None:
    """Class by class: what the models of the figures score."""
    if not section.shown:
        return None
    columns = ("auc", "auprc", "f1")
    rows = []
    for name in section.first["classes"]:
        row, about = [], None
        for model in section.shown:
            models = model.result.summary["models"]
            key = next(key for key in models if model.result.weights_of(key) == model.line.weights)
            about = models[key]["classes"][name]
            row += [format_interval(about[metric]) for metric in columns]
        assert about is not None
        rows.append((name, about["positives"], about["rare"], row))
    return {
        "models": [model.label for model in section.shown],
        "metrics": [METRICS[metric] for metric in columns],
        "rows": rows,
    }


def _subgroups(section: Section) -> dict[str, Any] | None:
    """Macro AUC of the first model in every group of patients."""
    groups = section.first.get("subgroups")
    if not groups:
        return None
    model = next(iter(section.first["models"]))
    rows = []
    for name, group in groups.items():
        scores = group["models"][model]["macro"] if group["scored"] else None
        texts = [format_interval(scores[metric]) for metric in ("auc", "f1", "ece")] if scores else []
        rows.append((name, group["records"], group["patients"], texts, group.get("why", "")))
    return {"model": section.lines[0][0], "rows": rows}
