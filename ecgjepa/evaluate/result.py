"""What a linear evaluation found: as files of a run folder, and as a table in the terminal."""

import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from ecgjepa.evaluate.head import HEAD, Head
from ecgjepa.files import write_json

RESULT, PREDICTIONS, EMBEDDINGS = "result.json", "predictions.parquet", "embeddings.parquet"
WIDTH = 100


@dataclass(frozen=True)
class ProbeResult:
    """What a linear evaluation found.

    Attributes:
        summary: what `result.json` says.
        predictions: one row per test record: record, patient, split, and per class `label:`, `pretrained:`, `random:`.
        embeddings: one row per test record: record, split, labels, and the features as `pretrained`.
        head: the read-out of the pretrained encoder.
    """

    summary: dict[str, Any]
    predictions: pd.DataFrame
    embeddings: pd.DataFrame
    head: Head

    @property
    def name(self) -> str:
        """Folder name that tells the evaluations of one run apart."""
        keys = ("dataset", "level", "task", "protocol", "encoder", "label_fraction", "seed")
        return folder_name(*(self.summary[key] for key in keys))

    def save(self, directory: Path | str, overwrite: bool = False) -> None:
        """Write `result.json`, `predictions.parquet`, `embeddings.parquet` and `head.safetensors`: all or none.

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
            self.head.save(finished / HEAD)
            write_json(finished / RESULT, self.summary)
            if not directory.exists():
                finished.rename(directory)
                return
            (directory / RESULT).unlink(missing_ok=True)  # a result never stands beside the tables of another
            for file in (PREDICTIONS, EMBEDDINGS, HEAD, RESULT):
                (finished / file).replace(directory / file)


def folder_name(
    dataset: str, level: str, task: str, protocol: str, encoder: str, label_fraction: float = 1.0, seed: int = 0
) -> str:
    """What `ProbeResult.name` will be, to refuse an existing folder before anything is computed."""
    part = [f"{100 * label_fraction:g}percent-seed{seed}"] if label_fraction < 1 else []
    return "-".join([dataset, level, task, protocol, encoder, *part])


def format_table(result: ProbeResult) -> str:
    """The result for a terminal: scores with 95 % intervals, random weights beside, what is published, and warnings."""
    summary = result.summary
    blocks = [_headline(summary), _table(summary, "auc", "AUC"), _table(summary, "f1", "F1")]
    if summary["published"]:
        published = [
            [row["model"], row["metric"], f"{row['value']:.3f}", row["source"]] for row in summary["published"]
        ]
        blocks.append(tabulate(published, ["published", "metric", "value", "source"], disable_numparse=True))
    blocks += [textwrap.fill(f"WARNING: {warning}", WIDTH) for warning in summary["warnings"]]
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
    counts = [
        f"{split} {count:,} ({summary['patients'][split]:,})" for split, count in summary["records"].items() if count
    ]
    left_out = [f"{count:,} {reason}" for reason, count in summary["left_out"].items() if count]
    lines = [
        f"{summary['dataset']} {summary['level']}, {summary['task']}, {summary['protocol']} protocol, "
        f"{summary['encoder']} encoder, seed {summary['seed']}",
        f"records (patients): {', '.join(counts)}" + (f"; left out: {', '.join(left_out)}" if left_out else ""),
        f"[95 % intervals from {summary['bootstrap']['resamples']:,} resamples of patients; differences are paired]",
    ]
    if summary["selection"]:
        chosen = [summary["selection"]["C"], summary["models"]["random"]["selection"]["C"]]
        lines.insert(2, "C chosen on validation: {:g} (random weights: {:g})".format(*chosen))
    return "\n".join(lines)


def _score(interval: dict[str, float | None], number: str = ".3f") -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "-"
    return f"{value:{number}} [{low:{number}}, {high:{number}}]"
