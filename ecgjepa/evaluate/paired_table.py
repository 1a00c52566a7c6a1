"""A paired comparison as tables in the terminal, and as files."""

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ecgjepa.files import write_json, write_text

JSON, CSV = "comparison.json", "comparison.csv"
WIDTH = 100
TITLES = {
    "auc": "AUROC",
    "f1": "F1",
    "auprc": "AUPRC",
    "sensitivity_at_90_specificity": "sensitivity at 90 % specificity",
    "ece": "ECE (lower is better)",
    "brier": "Brier score (lower is better)",
    "accuracy": "accuracy",
    "auc_one_vs_one": "AUROC, one-vs-one",
    "mae": "mean absolute error (lower is better)",
    "rmse": "root mean squared error (lower is better)",
    "r2": "R2",
    "pearson_r": "Pearson's r",
}


def format_paired(found: dict[str, Any]) -> str:
    """What `compare_predictions` found, for a terminal."""
    blocks = [_headline(found)]
    if found["task"] == "regression":
        blocks += [_metrics(entry, name) for name, entry in found["classes"].items()]
    else:
        blocks.append(_metrics(found["macro"], "mean of all classes"))
        if rare := sum(entry["rare"] for entry in found["classes"].values()):
            title = f"mean without {rare} rare classes"
            blocks.append(_metrics(found["macro_frequent"], title))
        blocks.append(_classes(found))
    blocks += [textwrap.fill(f"WARNING: {warning}", WIDTH) for warning in found["warnings"]]
    return "\n\n".join(blocks)


def comparison_rows(found: dict[str, Any]) -> pd.DataFrame:
    """One row per metric of every mean and class: `scope`, `class`, `positives`, `rare`, `metric`, A, B, difference."""
    entries: list[tuple[str, str, dict[str, Any]]] = [
        (scope, "", found[scope]) for scope in ("macro", "macro_frequent") if scope in found
    ]
    entries += [("class", name, entry) for name, entry in found["classes"].items()]
    rows = []
    for scope, name, entry in entries:
        about = {"scope": scope, "class": name, "positives": entry.get("positives"), "rare": entry.get("rare")}
        for metric, three in entry.items():
            if metric in TITLES:
                rows.append(about | {"metric": metric} | _flat(three))
    return pd.DataFrame(rows).astype({"positives": "Int64"})


def check_place(out: Path, overwrite: bool) -> None:
    """Raises FileExistsError if a comparison is there and `overwrite` is False."""
    if not overwrite and (there := [out / name for name in (JSON, CSV) if (out / name).exists()]):
        raise FileExistsError(f"{there[0]} exists already; --overwrite replaces it")


def write_paired(found: dict[str, Any], out: Path, overwrite: bool = False) -> None:
    """Write `comparison.json` and `comparison.csv`.

    Raises:
        FileExistsError: one of them is there and `overwrite` is False.
    """
    check_place(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    (out / JSON).unlink(missing_ok=True)  # never stands beside the table of another
    write_text(out / CSV, comparison_rows(found).to_csv(index=False))
    write_json(out / JSON, found)


def _headline(found: dict[str, Any]) -> str:
    lines = []
    for side in ("a", "b"):
        about = found[side]
        said = [str(about[key]) for key in ("dataset", "level") if key in about]
        said += [f"{about['protocol']} protocol"] if "protocol" in about else []
        lines.append(f"{side.upper()}  {about['path']}, {about['model']}" + (f": {', '.join(said)}" if said else ""))
    lines.append(f"{found['task']}, {found['records']:,} test records of {found['patients']:,} patients")
    lines.append(
        f"[95 % intervals and two-sided p from {found['bootstrap']['resamples']:,} resamples of patients, the same for "
        "A and B]"
    )
    return "\n".join(lines)


def _metrics(entry: dict[str, Any], title: str) -> str:
    rows = [[TITLES[metric], *_cells(entry[metric])] for metric in TITLES if metric in entry]
    return tabulate(rows, [title, "A", "B", "B - A", "p"], disable_numparse=True)


def _classes(found: dict[str, Any]) -> str:
    rows = []
    for name, entry in found["classes"].items():
        mark = " *" if entry["rare"] else ""
        rows.append([name + mark, f"{entry['positives']:,}", *_cells(entry["auc"])])
    table = tabulate(
        rows, ["AUROC", "positives", "A", "B", "B - A", "p"], disable_numparse=True, colalign=("left", "right")
    )
    if any(entry["rare"] for entry in found["classes"].values()):
        table += f"\n* rare: fewer than {found['min_positives']} positive test records"
    if len(rows) > 1:
        table += f"\nThe p of single classes are not corrected for there being {len(rows)} of them."
    return table


def _cells(three: dict[str, Any]) -> list[str]:
    p = three["difference"]["p"]
    return [
        _score(three["a"], ".3f"),
        _score(three["b"], ".3f"),
        _score(three["difference"], "+.3f"),
        "-" if p is None else f"{p:.3f}",
    ]


def _score(number: dict[str, float | None], form: str) -> str:
    value, low, high = number["value"], number["low"], number["high"]
    if value is None or low is None or high is None:
        return "-"
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _flat(three: dict[str, Any]) -> dict[str, float | None]:
    row: dict[str, float | None] = {}
    for side in ("a", "b", "difference"):
        number = three[side]
        row |= {side: number["value"], f"{side}_low": number["low"], f"{side}_high": number["high"]}
    return row | {"p": three["difference"]["p"]}
