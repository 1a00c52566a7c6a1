"""A result for the terminal: what was asked of whom, scores with intervals, what is published, what to know."""

import textwrap
from collections.abc import Mapping
from typing import Any

from tabulate import tabulate

WIDTH = 100
# What tables call the models of a result, and its metrics.
MODELS = {
    "pretrained": "pretrained",
    "random": "random weights",
    "finetuned": "fine-tuned",
    "scratch": "from scratch",
}
METRICS = {
    "auc": "AUC",
    "auc_one_vs_one": "AUC, one-vs-one",
    "auprc": "AUPRC",
    "f1": "F1",
    "accuracy": "accuracy",
    "sensitivity_at_90_specificity": "sens. at 90 % spec.",
    "ece": "ECE",
    "brier": "Brier",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "pearson_r": "Pearson r",
    "iou": "IoU",
}
# Class by class the terminal shows one metric and the files hold all.
BY_CLASS = ("auc", "iou")


def format_table(summary: Mapping[str, Any]) -> str:
    """Scores with 95 % intervals, the models side by side, what is published, and warnings.

    Args:
        summary: what `result.json` says.
    """
    blocks = [_headline(summary)]
    if any("classes" in model for model in summary["models"].values()):
        blocks.append(_classes(summary))
    blocks.append(_means(summary, "macro", "difference"))
    if _has_rare(summary):
        blocks.append(_means(summary, "macro_frequent", "difference_frequent"))
    if summary.get("published"):
        published = [
            [row["model"], row["metric"], f"{row['value']:.3f}", row["source"]] for row in summary["published"]
        ]
        blocks.append(tabulate(published, ["published", "metric", "value", "source"], disable_numparse=True))
    blocks += [textwrap.fill(f"WARNING: {warning}", WIDTH) for warning in summary["warnings"]]
    return "\n\n".join(blocks)


def _classes(summary: Mapping[str, Any]) -> str:
    models = summary["models"]
    first = next(iter(models.values()))["classes"]
    metric = next(name for name in BY_CLASS if name in next(iter(first.values())))
    rows = [
        [name, f"{about['positives']:,}{'*' if about.get('rare') else ''}"]
        + [format_interval(model["classes"][name][metric]) for model in models.values()]
        for name, about in first.items()
    ]
    headers = [METRICS[metric], "positives", *(MODELS.get(name, name) for name in models)]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", "right"))


def _means(summary: Mapping[str, Any], key: str, difference: str) -> str:
    models = {name: model[key] for name, model in summary["models"].items()}
    regression = summary["task"] == "regression"
    title = {"macro": "macro mean", "macro_frequent": "mean of frequent classes"}[key]
    if regression:
        title = f"{summary['level']}, {summary['unit']}" if summary.get("unit") else str(summary["level"])
    rows = []
    for metric in next(iter(models.values())):
        row = [METRICS.get(metric, metric), *(format_interval(model[metric]) for model in models.values())]
        if difference in summary:
            apart = summary[difference][metric]
            row += [format_interval(apart, "+.3f"), "-" if apart.get("p") is None else f"{apart['p']:.3f}"]
        rows.append(row)
    headers = [title, *(MODELS.get(name, name) for name in models)]
    return tabulate(rows, headers + ["difference", "p"] * (difference in summary), disable_numparse=True)


def _has_rare(summary: Mapping[str, Any]) -> bool:
    first = next(iter(summary["models"].values()))
    return any(about.get("rare") for about in first.get("classes", {}).values())


def _headline(summary: Mapping[str, Any]) -> str:
    counts = [
        f"{split} {count:,} ({summary['patients'][split]:,})" for split, count in summary["records"].items() if count
    ]
    left_out = [f"{count:,} {reason}" for reason, count in summary["left_out"].items() if count]
    lines = [
        f"{summary['dataset']} {summary['level']}, {summary['task']}, {summary['protocol']} protocol, "
        f"{summary['encoder']} encoder, {summary.get('readout', 'linear')} read-out, seed {summary['seed']}",
        f"records (patients): {', '.join(counts)}" + (f"; left out: {', '.join(left_out)}" if left_out else ""),
    ]
    if chosen := describe_selection(summary.get("selection")):
        random = describe_selection(summary["models"].get("random", {}).get("selection"))
        lines.append(f"chosen on validation: {chosen}" + (f" (random weights: {random})" if random else ""))
    lines.append(
        f"[95 % intervals from {summary['bootstrap']['resamples']:,} resamples of patients; differences are paired]"
    )
    if _has_rare(summary):
        lines.append("* fewer positive test records than a number can rest on")
    return "\n".join(lines)


def describe_selection(selection: Mapping[str, Any] | None) -> str:
    """What validation chose, without how each candidate did."""
    kept = {name: value for name, value in (selection or {}).items() if isinstance(value, (int, float, str))}
    return ", ".join(
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
        for name, value in kept.items()
    )


def format_interval(interval: Mapping[str, float | None], number: str = ".3f") -> str:
    """A value with its interval in brackets; a dash where it is not defined."""
    value, low, high = (interval.get(key) for key in ("value", "low", "high"))
    if value is None:
        return "-"
    if low is None or high is None:
        return f"{value:{number}}"
    return f"{value:{number}} [{low:{number}}, {high:{number}}]"
