"""What is asked of ECGs -> the targets of a store's records: labels, or a number."""

import os
from dataclasses import dataclass
from pathlib import Path

from ecgjepa.data.listings.splits import SHARES, split_of_patient
from ecgjepa.data.store import Store
from ecgjepa.evaluate.divided_records import patients_of
from ecgjepa.evaluate.label_table import read_label_table
from ecgjepa.evaluate.targets import AGE, HEART_RATE, Kind, RegressionTargets, Targets, read_regression, read_targets

# What is a number by its name.
NUMBERS = (AGE, HEART_RATE)


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        level: a label level of the store, or `sex`; of a number `age`, `heart_rate`; or a column of `table`.
        kind: of the answer.
        table: a file with labels or numbers of one's own, by record.
        record_column: of the table.
    """

    level: str
    kind: Kind = "multilabel"
    table: Path | None = None
    record_column: str = "record"


def read_question(
    store: Store, question: Question, cache_dir: Path | None = None, *, split_seed: int = 0
) -> Targets | RegressionTargets:
    """The targets of every record that can answer.

    Where no record of the store is in a split, its patients are divided by a hash of their names (8 : 1 : 1), and the
    warnings say so.

    Args:
        cache_dir: where what is measured from signals is kept.
        split_seed: of that division.

    Raises:
        ValueError: the store or the table does not have them; see `read_targets`, `read_label_table`.
    """
    divided = _divided(store, split_seed)
    targets = _read(divided or store, question, cache_dir)
    if divided is None:
        return targets
    shares = " : ".join(f"{10 * share:g}" for share in SHARES)
    note = f"The store has no splits: its patients were divided into train, validation and test {shares} by a hash."
    return targets.changed(warnings=(*targets.warnings, note))


def _read(store: Store, question: Question, cache_dir: Path | None) -> Targets | RegressionTargets:
    if question.table is not None:
        return read_label_table(
            question.table, store, column=question.level, record_column=question.record_column, kind=question.kind
        )
    if question.kind == "regression":
        return read_regression(store, question.level, cache_dir, workers=os.cpu_count() or 1)
    if question.kind == "segmentation":
        raise ValueError(f"{question.level}: waves are learned by `ecgjepa finetune`, not read off whole records")
    return read_targets(store, question.level, question.kind)


def _divided(store: Store, seed: int) -> Store | None:
    """The same store with a split for every patient; None where it has splits."""
    if store.records["split"].notna().any():
        return None
    splits = [split_of_patient(str(patient), seed) for patient in patients_of(store)]
    divided = Store(store.path, store.info, store.contract, store.signals)
    divided.__dict__["records"] = store.records.assign(split=splits)  # in place of what would be read from the file
    return divided
