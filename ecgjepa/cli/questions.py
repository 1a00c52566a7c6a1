"""What an evaluation is told: which records, which labels, which encoder."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import Command

if TYPE_CHECKING:
    from ecgjepa.data.store import Store
    from ecgjepa.evaluate.questions import Question
    from ecgjepa.signal import SignalContract

LABELLED = ("ptbxl", "cpsc", "code15", "ludb")
DEFAULT_LEVELS = {"ptbxl": "superdiagnostic", "cpsc": "diagnosis", "code15": "abnormality", "ludb": "rhythm"}
DEFAULT_LEVELS |= {"folder": "snomed", "shaoxing": "snomed"}

_STORE = (
    click.option("--store", type=click.Path(path_type=Path), help="A prepared store with labels."),
    click.option("--dataset", type=click.Choice(LABELLED), help="Layout of --data-dir."),
    click.option("--data-dir", type=click.Path(path_type=Path), help="Raw folder; prepared once, in the cache."),
    click.option("--cache-dir", type=click.Path(path_type=Path), help="Where a raw folder is prepared to."),
)
_QUESTION = (
    click.option("--level", help="Label level, sex, age, heart_rate, or the column of --labels."),
    click.option(
        "--labels", type=click.Path(path_type=Path), help="CSV, TSV or Parquet with labels of your own, by record."
    ),
    click.option("--record-column", default="record", show_default=True, help="Of --labels."),
)


def store_options(command: Command) -> Command:
    """Where the labelled records are; see `open_store`."""
    return _all(_STORE, command)


def question_options(command: Command) -> Command:
    """What is asked of them; see `choose_question`."""
    return _all(_QUESTION, command)


def _all(options: tuple[Callable[[Any], Any], ...], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def check_store_options(store: Path | None, dataset: str | None, data_dir: Path | None) -> None:
    """Found out before anything is loaded: a usage error unless there is one way to the records."""
    if (store is None) == (data_dir is None) or (data_dir is None) != (dataset is None):
        raise click.UsageError("give either --store, or --dataset and --data-dir")


def open_labelled(
    store: Path | None, dataset: str | None, data_dir: Path | None, cache_dir: Path | None, contract: "SignalContract"
) -> "Store":
    """The store that was named, or that of a raw folder, prepared in the cache as the encoder expects it."""
    from dataclasses import replace

    from ecgjepa.data.prepare import cached_store
    from ecgjepa.data.store import Store

    if store is not None:
        return Store.open(store)
    return cached_store(str(dataset), str(data_dir), cache_dir, contract=replace(contract, filter="none"))


def choose_question(
    store: "Store", task: str | None, level: str | None, labels: Path | None, record_column: str
) -> "Question":
    """What is asked; a level of one's own table, else one of the store, which may be the only one."""
    from ecgjepa.evaluate.questions import NUMBERS, Question

    levels = [name for name, classes in (store.info.get("levels") or {}).items() if classes]
    if level is None and labels is None:
        level = DEFAULT_LEVELS.get(str(store.info["dataset"])) or (levels[0] if len(levels) == 1 else None)
    if level is None:
        raise click.UsageError(
            "--level is needed: the column of --labels"
            if labels is not None
            else f"--level is needed: this store has {', '.join(sorted(levels)) or 'no labels'}"
        )
    kind: Any = task or ("regression" if level in NUMBERS and labels is None else "multilabel")
    return Question(level, kind, labels, record_column)
