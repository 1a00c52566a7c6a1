"""Macro AUC from the literature, to print beside ours, and when the two may be compared.

Only what the sources state; linear rows are the ones that the probe repeats.
"""

from typing import NamedTuple

from ecgjepa.evaluate.logistic import Task

ECG_JEPA = "arXiv:2410.08559"
ER_JEPA = "arXiv:2607.01145"
REALITY_CHECK = "arXiv:2509.25095"

# Records of the complete data sets, by release.
FULL_SIZES = {"ptbxl": {21837: "1.0.1", 21799: "1.0.3"}, "cpsc": {6877: "CPSC2018"}}
LEVELS = {"ptbxl": "superdiagnostic", "cpsc": "diagnosis"}


class PublishedNumber(NamedTuple):
    """One published macro AUC."""

    dataset: str
    task: Task
    model: str
    value: float
    how: str
    source: str


def _both_tasks(dataset: str, model: str, multilabel: float, multiclass: float, how: str, source: str) -> list:
    return [
        PublishedNumber(dataset, "multilabel", model, multilabel, how, source),
        PublishedNumber(dataset, "multiclass", model, multiclass, how, source),
    ]


NUMBERS = (
    *_both_tasks("ptbxl", "ECG-JEPA (multi-block)", 0.912, 0.903, "linear", ECG_JEPA),
    *_both_tasks("cpsc", "ECG-JEPA (multi-block)", 0.966, 0.973, "linear", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.893, "linear, 10 % of labels, ±0.001", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.839, "linear, 1 % of labels, ±0.002", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.879, "linear, leads II and V1", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.849, "linear, lead II", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA (random masks)", 0.931, "fine-tuned", ECG_JEPA),
    PublishedNumber("ptbxl", "multiclass", "ECG-JEPA (multi-block)", 0.934, "fine-tuned", ECG_JEPA),
    *_both_tasks("cpsc", "ECG-JEPA", 0.973, 0.980, "fine-tuned", ECG_JEPA),
    *_both_tasks("ptbxl", "ER-JEPA", 0.913, 0.911, "linear", ER_JEPA),
    *_both_tasks("cpsc", "ER-JEPA", 0.964, 0.969, "linear", ER_JEPA),
    *_both_tasks("ptbxl", "ER-JEPA", 0.936, 0.943, "fine-tuned", ER_JEPA),
    *_both_tasks("cpsc", "ER-JEPA", 0.974, 0.981, "fine-tuned", ER_JEPA),
    PublishedNumber("ptbxl", "multiclass", "ST-MEM", 0.880, "linear", ECG_JEPA),
    PublishedNumber("ptbxl", "multiclass", "MTAE", 0.807, "linear", ECG_JEPA),
    PublishedNumber("ptbxl", "multiclass", "MLAE", 0.779, "linear", ECG_JEPA),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.911, "linear", REALITY_CHECK),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.917, "frozen, attention pooling", REALITY_CHECK),
    PublishedNumber("ptbxl", "multilabel", "ECG-JEPA", 0.921, "fine-tuned", REALITY_CHECK),
    PublishedNumber("ptbxl", "multilabel", "ECGFounder (best other)", 0.924, "linear", REALITY_CHECK),
    PublishedNumber(
        "ptbxl", "multilabel", "ECGFounder (best other)", 0.928, "frozen, attention pooling", REALITY_CHECK
    ),
    PublishedNumber("ptbxl", "multilabel", "ECGFounder (best other)", 0.935, "fine-tuned", REALITY_CHECK),
    PublishedNumber("cpsc", "multilabel", "ECG-JEPA", 0.975, "linear", REALITY_CHECK),
    PublishedNumber("cpsc", "multilabel", "ECG-JEPA", 0.975, "frozen, attention pooling", REALITY_CHECK),
    PublishedNumber("cpsc", "multilabel", "ECG-JEPA", 0.974, "fine-tuned", REALITY_CHECK),
)


def published_numbers(dataset: str, level: str, task: str) -> list[PublishedNumber]:
    """What is published for a data set at the level of its published evaluation; none for other levels."""
    if LEVELS.get(dataset) != level:
        return []
    return [number for number in NUMBERS if (number.dataset, number.task) == (dataset, task)]


def comparison_warnings(dataset: str, level: str, task: str, records: int, protocol: str) -> list[str]:
    """Why our numbers must not be set beside the published ones; none where nothing is published.

    Args:
        records: how many records the store was made from, kept or refused.
    """
    if not published_numbers(dataset, level, task):
        return []
    warnings = []
    if records not in (full := FULL_SIZES[dataset]):
        sizes = " or ".join(f"{size:,} ({release})" for size, release in full.items())
        warnings.append(
            f"These are not the full data: the store was made from {records:,} records, the full {dataset} has "
            f"{sizes}. Do not compare with published numbers."
        )
    if protocol != "paper":
        warnings.append(
            "Published linear numbers follow the paper protocol (also trained on the validation fold, no interval)"
            + (", with AUC one-vs-one; " if task == "multiclass" else "; ")
            + "this is the strict one."
        )
    return warnings
