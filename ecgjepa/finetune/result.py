"""What a fine-tuned classifier got right: `result.json` and the table of its predictions, in the form of a probe's.

Axes: N records of test and validation, M test records, K classes, C classes of a sample.
"""

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int, Shaped
from numpy import ndarray
from scipy.special import softmax
from tabulate import tabulate

from ecgjepa.data.store import Store
from ecgjepa.evaluate.head import Head
from ecgjepa.evaluate.metrics import macro
from ecgjepa.evaluate.readouts.checks import macro_auc
from ecgjepa.evaluate.result_table import format_interval
from ecgjepa.evaluate.scoring import Scored, score_models, score_regression, score_segmentation
from ecgjepa.evaluate.segmentation_metrics import confusion_counts, segmentation_metrics
from ecgjepa.evaluate.segmentation_targets import WAVE_CLASSES, SegmentationTargets
from ecgjepa.evaluate.summary import label_predictions, number_predictions, thresholds_of
from ecgjepa.evaluate.targets import Kind, RegressionTargets, Targets

MODEL = "finetuned"
# Of the macro means, those that the table in the terminal shows.
SHOWN = ("auc", "auprc", "f1", "iou", "accuracy", "auc_one_vs_one")
# By what an epoch is chosen: the highest mean AUC or mean intersection over union, the lowest mean absolute error.
METRIC_OF: dict[Kind, str] = {"multilabel": "auc", "multiclass": "auc", "regression": "mae", "segmentation": "miou"}


def score(
    test: Targets | RegressionTargets, outputs_MK: Float64[ndarray, "m k"], head: Head, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Scores of the test records with intervals, as `ecgjepa.evaluate.scoring` gives them."""
    if isinstance(test, RegressionTargets):
        return score_regression(test, {MODEL: outputs_MK[:, 0]}, resamples=resamples, seed=seed)
    assert head.task != "regression"
    scored = Scored(outputs_MK, head.decide(outputs_MK))
    found = score_models(test, {MODEL: scored}, task=head.task, resamples=resamples, seed=seed)
    return found | {"classes": list(test.classes), "thresholds": thresholds_of(test, head.thresholds_K)}


def prediction_table(
    store: Store, targets: Targets | RegressionTargets, outputs_NK: Float64[ndarray, "n k"]
) -> pd.DataFrame:
    """One row a record: record, patient, split, `label:CLASS` (`value:NAME`) and `finetuned:CLASS`."""
    if isinstance(targets, RegressionTargets):
        return number_predictions(store, targets, {MODEL: outputs_NK[:, 0]})
    return label_predictions(store, targets, {MODEL: outputs_NK})


def score_waves(
    test: SegmentationTargets, counts_MCC: Int[ndarray, "m c c"], *, resamples: int, seed: int
) -> dict[str, Any]:
    """The same of samples: intersection over union and F1 of every wave, and accuracy."""
    found = score_segmentation(WAVE_CLASSES, test.patients_N, {MODEL: counts_MCC}, resamples=resamples, seed=seed)
    return found | {"classes": list(WAVE_CLASSES)}


def count_table(store: Store, targets: SegmentationTargets, counts_NCC: Int[ndarray, "n c c"]) -> pd.DataFrame:
    """One row a record: record, patient, split, and `samples:TRUE>CALLED`, how many of its samples are which."""
    columns: dict[str, Any] = {"record": store.records["record"].to_numpy()[targets.rows_N]}
    columns |= {"patient": targets.patients_N, "split": targets.split_N}
    for t, true in enumerate(WAVE_CLASSES):
        columns |= {f"samples:{true}>{called}": counts_NCC[:, t, c] for c, called in enumerate(WAVE_CLASSES)}
    return pd.DataFrame(columns)


def format_result(summary: dict[str, Any]) -> str:
    """The result for a terminal: what was done, scores with 95 % intervals, what is published, warnings."""
    counts = ", ".join(f"{split} {count:,}" for split, count in summary["records"].items() if count)
    lines = [
        f"{summary['dataset']} {summary['level']}, {summary['task']}, {summary['protocol']} protocol, "
        f"{summary['mode']} fine-tuning of {summary['encoder']} encoder, {summary['pooling']} pooling, "
        f"seed {summary['seed']}",
        f"records: {counts}",
    ]
    if selection := summary["selection"]:
        lines.append(f"epoch {selection['epoch']} of {selection['epochs']} chosen on validation")
    scores = summary["models"][MODEL]
    macro = scores["macro"]
    if "classes" not in scores:
        shown = [[name, format_interval(each)] for name, each in macro.items()]
        table = tabulate(shown, [f"{summary['level']} ({summary['unit']})", "value"], disable_numparse=True)
    else:
        metrics = [name for name in SHOWN if name in macro]
        rows = [
            [name, f"{each['positives']:,}", *(format_interval(each.get(metric, {})) for metric in metrics)]
            for name, each in scores["classes"].items()
        ]
        rows.append(["macro", "", *(format_interval(macro[metric]) for metric in metrics)])
        table = tabulate(rows, ["class", "positives", *metrics], disable_numparse=True, colalign=("left", "right"))
    blocks = ["\n".join(lines), table]
    if summary["published"]:
        published = [[row["model"], row["metric"], f"{row['value']:.3f}"] for row in summary["published"]]
        blocks.append(tabulate(published, ["published", "metric", "value"], disable_numparse=True))
    return "\n\n".join([*blocks, *(f"WARNING: {warning}" for warning in summary["warnings"])])


def validation_score(wanted: Shaped[ndarray, "n *form"], outputs: Float[ndarray, "n *form2"], task: Kind) -> float:
    """What an epoch is chosen by, see `METRIC_OF`.

    Args:
        wanted: numbers (N, K), or masks (N, L, S).
        outputs: what the network gives: logits or values (N, K), logits (N, L, S, C).

    Raises:
        ValueError: no class has both values among the records.
    """
    if task == "segmentation":
        records, classes = len(wanted), outputs.shape[-1]
        called_NS = outputs.argmax(axis=3).reshape(records, -1)
        counts_NCC = confusion_counts(wanted.reshape(records, -1).astype(np.int64), called_NS, classes)
        return float(macro(segmentation_metrics(counts_NCC)[:, 0])[0])
    if task == "regression":
        return float(np.abs(outputs - wanted).mean())
    scores_NK = outputs.astype(np.float64)
    return macro_auc(wanted > 0, softmax(scores_NK, axis=1) if task == "multiclass" else scores_NK)
