"""What a linear evaluation found: as files of a run folder, and as a table in the terminal."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ecgjepa.files import write_json

RESULT, PREDICTIONS, EMBEDDINGS = "result.json", "predictions.parquet", "embeddings.parquet"


@dataclass(frozen=True)
class ProbeResult:
    """What a linear evaluation found.

    Attributes:
        summary: what `result.json` says.
        predictions: one row per test record: record, patient, split, and per class `label:`, `pretrained:`, `random:`.
        embeddings: one row per test record: record, split, labels, and the features as `pretrained`.
    """

    summary: dict[str, Any]
    predictions: pd.DataFrame
    embeddings: pd.DataFrame

    @property
    def name(self) -> str:
        """Folder name that tells the evaluations of one run apart."""
        parts = [self.summary[key] for key in ("dataset", "level", "task", "protocol", "encoder")]
        if (fraction := self.summary["label_fraction"]) < 1:
            parts.append(f"{100 * fraction:g}percent-seed{self.summary['seed']}")
        return "-".join(parts)

    def save(self, directory: Path | str, overwrite: bool = False) -> None:
        """Write `result.json`, `predictions.parquet` and `embeddings.parquet`: all of them or none.

        Raises:
            FileExistsError: the directory exists and `overwrite` is False.
        """
        directory = Path(directory)
        if directory.exists() and not overwrite:
            raise FileExistsError(f"{directory} exists already; choose another folder, or overwrite it")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
            finished = Path(temporary) / "finished"
            finished.mkdir()
            self.predictions.to_parquet(finished / PREDICTIONS, index=False)
            self.embeddings.to_parquet(finished / EMBEDDINGS, index=False)
            write_json(finished / RESULT, self.summary)
            if not directory.exists():
                finished.rename(directory)
                return
            (directory / RESULT).unlink(missing_ok=True)  # a result never stands beside the tables of another
            for file in (PREDICTIONS, EMBEDDINGS, RESULT):
                (finished / file).replace(directory / file)


def format_table(result: ProbeResult) -> str:
    """The result for a terminal: scores with 95 % intervals, random weights beside, what is published, and warnings."""
    summary = result.summary
    blocks = [_headline(summary), _table(summary, "auc", "AUC"), _table(summary, "f1", "F1")]
    if summary["published"]:
        published = [
            [row["model"], row["metric"], f"{row['value']:.3f}", row["source"]] for row in summary["published"]
        ]
        blocks.append(tabulate(published, ["published", "metric", "value", "source"], disable_numparse=True))
    blocks += [f"WARNING: {warning}" for warning in summary["warnings"]]
    return "\n\n".join(blocks)


def _table(summary: dict[str, Any], metric: str, title: str) -> str:
    models = [summary["models"][name] for name in ("pretrained", "random")]
    rows = [
        [
            name,
            f"{models[0]['classes'][name]['positives']:,}",
            *(_score(model["classes"][name][metric]) for model in models),
        ]
        for name in summary["classes"]
    ]
    for key, name in ((metric, "macro"), (f"{metric}_one_vs_one", "macro, one-vs-one")):
        if key in summary["difference"]:
            scores = [_score(model["macro"][key]) for model in models]
            rows.append([name, "", *scores, _score(summary["difference"][key], "+.3f")])
    headers = [title, "positives", "pretrained", "random weights", "difference"]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", "right"))


def _headline(summary: dict[str, Any]) -> str:
    parts = [
        f"{split} {count:,} records of {summary['patients'][split]:,} patients"
        for split, count in summary["records"].items()
        if count
    ]
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in summary["left_out"].items() if count)
    resamples = summary["bootstrap"]["resamples"]
    lines = [
        f"{summary['dataset']} {summary['level']}, {summary['task']}, {summary['protocol']} protocol, "
        f"{summary['encoder']} encoder, seed {summary['seed']}",
        "; ".join(parts) + (f"; left out: {left_out}" if left_out else ""),
        f"[95 % intervals from {resamples:,} resamples of the test patients]",
    ]
    if summary["selection"]:
        chosen = [summary["selection"]["C"], summary["models"]["random"]["selection"]["C"]]
        lines.insert(2, "C chosen on validation: {:g} (random weights: {:g})".format(*chosen))
    return "\n".join(lines)


def _score(interval: dict[str, float | None] | None, number: str = ".3f") -> str:
    if interval is None or interval["value"] is None:
        return "-"
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if low is None or high is None:
        return f"{value:{number}}"
    return f"{value:{number}} [{low:{number}}, {high:{number}}]"
