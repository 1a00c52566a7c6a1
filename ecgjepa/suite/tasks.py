"""What a suite asks: the tasks of each data set, each with its name, and how they are read from a store."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ecgjepa.data.store import Store
from ecgjepa.evaluate.questions import Question
from ecgjepa.evaluate.targets import Kind


@dataclass(frozen=True)
class Task:
    """One question on one data set, such as `ptbxl/superdiagnostic/multilabel`."""

    dataset: str
    level: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.level}/{self.kind}"

    @property
    def folder(self) -> str:
        """Of its results."""
        return re.sub(r"[^\w.+-]", "_", f"{self.dataset}-{self.level}-{self.kind}")

    @property
    def question(self) -> Question:
        return Question(self.level, self.kind)


# The first task of each is the primary one: conditions and fine-tuning are tried on it.
SUITES: dict[str, tuple[tuple[str, Kind], ...]] = {
    "ptbxl": (
        ("superdiagnostic", "multilabel"),
        ("superdiagnostic", "multiclass"),
        ("all", "multilabel"),
        ("diagnostic", "multilabel"),
        ("subdiagnostic", "multilabel"),
        ("form", "multilabel"),
        ("rhythm", "multilabel"),
        ("sex", "multiclass"),
        ("age", "regression"),
        ("heart_rate", "regression"),
    ),
    "cpsc": (("diagnosis", "multilabel"), ("diagnosis", "multiclass"), ("sex", "multiclass"), ("age", "regression")),
    "code15": (("abnormality", "multilabel"), ("sex", "multiclass"), ("age", "regression")),
    "ludb": (("rhythm", "multilabel"), ("sex", "multiclass"), ("age", "regression")),
}


def tasks_of(store: Store) -> list[Task]:
    """The tasks of a store: those of its data set's suite, or of another data set a task for every label level.

    Raises:
        ValueError: there is none.
    """
    dataset = str(store.info["dataset"])
    levels = [name for name, classes in (store.info.get("levels") or {}).items() if classes]
    listed = SUITES.get(dataset) or tuple((level, kind) for level in levels for kind in ("multilabel",))
    tasks = [Task(dataset, level, kind) for level, kind in listed]
    if not tasks:
        raise ValueError(f"{store.path}: no label level, so there is nothing to evaluate")
    return tasks


def choose_tasks(tasks: Sequence[Sequence[Task]], chosen: Sequence[str]) -> list[list[Task]]:
    """Of the tasks of several stores those that are named, in their order; a store may be left with none.

    Args:
        chosen: `level`, `level/kind`, `dataset/level` or `dataset/level/kind`.

    Raises:
        ValueError: a name that is no task of any store.
    """
    every = [task for of_store in tasks for task in of_store]
    if unknown := [name for name in chosen if not any(name in names_of(task) for task in every)]:
        known = ", ".join(task.name for task in every)
        raise ValueError(f"no task {unknown[0]!r}, found {known}")
    return [[task for task in of_store if names_of(task) & set(chosen)] for of_store in tasks]


def names_of(task: Task) -> set[str]:
    """What a task may be called."""
    return {task.level, f"{task.level}/{task.kind}", f"{task.dataset}/{task.level}", task.name}
