"""Run folders -> arms of a comparison: what a score cost, over the seeds of each recipe.

Runs that differ in nothing but their seed (and in `run`, which changes no result) are one arm.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from ecgjepa.config import Config
from ecgjepa.evaluate.run_files import ProbeSummary, ReportError, RunInfo, read_evaluations, read_json

Cost = Literal["hours", "core-hours", "steps", "records"]
# Column of `PretrainingRun.points`, and what the axis says.
COSTS: dict[Cost, tuple[str, str]] = {
    "hours": ("hours", "hours of pretraining"),
    "core-hours": ("core_hours", "core hours of pretraining"),
    "steps": ("step", "steps of pretraining"),
    "records": ("records", "records seen in pretraining"),
}
SCORE = "probe_auc"
OBJECTIVES = {"jepa": "JEPA", "mae": "masked autoencoder", "sigreg": "latent SIGReg"}


@dataclass(frozen=True)
class PretrainingRun:
    """One run folder.

    Attributes:
        recipe: every setting that changes the result but the seed, by dotted key, and the data.
        points: one row per evaluation with the columns step, hours, core_hours, records and probe_auc, by ascending
            step; a cost that the run did not note is NaN.
        results: finished strict evaluations of the run, by data set, level, task, encoder and part of the labels.
    """

    path: Path
    info: RunInfo
    recipe: dict[str, str]
    seed: int
    points: pd.DataFrame
    results: dict[str, ProbeSummary]


@dataclass(frozen=True)
class Arm:
    """Runs of one recipe, by ascending seed."""

    label: str
    runs: list[PretrainingRun]

    @property
    def steps(self) -> int:
        """How many steps a run of this arm was to take, or took if that is not said."""
        return max(run.info.steps or int(run.points["step"].max()) for run in self.runs)

    def mean(self) -> pd.DataFrame:
        """Mean score and costs over the seeds at the steps that all of them evaluated; `low`, `high`: their extremes.

        The columns of `PretrainingRun.points` and these two; no row if the seeds share no step.
        """
        stacked = pd.concat([run.points for run in self.runs])
        rows = stacked.groupby("step")[SCORE]
        complete = rows.size()[rows.size() == len(self.runs)].index
        table = stacked.groupby("step").mean().assign(low=rows.min(), high=rows.max())
        return table.loc[complete].reset_index()


@dataclass(frozen=True)
class Reach:
    """Where an arm first reaches the best score of another.

    Attributes:
        score: the highest point of the other's mean curve, which it has at `goal_step` and `goal_cost`.
        step, cost: the first evaluation at which the arm's mean curve is as high; None if none is.
        seed_steps: the same of each seed of the arm.
    """

    label: str
    goal: str
    score: float
    goal_step: int
    goal_cost: float
    step: int | None
    cost: float | None
    steps: int
    seed_steps: list[int | None]


def read_run(path: Path | str) -> PretrainingRun:
    """A run folder with its evaluations.

    Raises:
        ReportError: not a run, a broken file, or no evaluation with a score.
    """
    path = Path(path)
    info = read_json(path / "run.json", RunInfo)
    if info is None:
        raise ReportError(f"{path} is not a run folder: no run.json in it")
    evaluations = read_evaluations(path / "evaluations.csv")
    if evaluations is None:
        raise ReportError(
            f"{path} has no evaluations.csv: pretrain with --probe-store, and not with --evaluate-epochs 0"
        )
    if SCORE not in evaluations or not (scored := evaluations.dropna(subset=SCORE)).size:
        raise ReportError(f"{path / 'evaluations.csv'} holds no {SCORE}: pretrain with --probe-store")
    batch_size = info.config.get("training", {}).get("batch_size", float("nan"))
    missing = pd.Series(float("nan"), index=scored.index)
    points = pd.DataFrame(
        {
            "step": scored["step"].astype(int),
            "hours": scored.get("seconds", missing) / 3600,
            "core_hours": scored.get("core_seconds", missing) / 3600,
            "records": scored["step"] * batch_size,
            SCORE: scored[SCORE],
        }
    ).reset_index(drop=True)
    found = [read_json(file, ProbeSummary) for file in sorted(path.glob("probes/*/result.json"))]
    strict = [each for each in found if each is not None and each.protocol == "strict" and "pretrained" in each.models]
    seed = info.seed if info.seed is not None else int(info.config.get("training", {}).get("seed", 0))
    return PretrainingRun(path, info, _recipe(info), seed, points, {_name(each): each for each in strict})


def group_runs(runs: Sequence[PretrainingRun], labels: Mapping[str, str] | None = None) -> list[Arm]:
    """Arms in the order in which their first runs come.

    Args:
        labels: what the arm of a run is called, by the run's path or the name of its folder. Without, an arm is called
            by its objective, and where several have the same one by the settings in which they differ.

    Raises:
        ReportError: a label of no run, one name for two arms, two names for one, or a seed twice in an arm.
    """
    by_recipe: dict[str, list[PretrainingRun]] = {}
    for run in runs:
        by_recipe.setdefault(json.dumps(run.recipe, sort_keys=True), []).append(run)
    groups = list(by_recipe.values())
    automatic = _automatic_labels([group[0].recipe for group in groups])
    given = dict(labels or {})
    known = {name for run in runs for name in (str(run.path), run.path.resolve().name)}
    if unknown := sorted(given.keys() - known):
        raise ReportError(
            f"label of {unknown[0]!r}: no such run here, found {', '.join(str(run.path) for run in runs)}"
        )
    arms = []
    for group, label in zip(groups, automatic, strict=True):
        names = {given[key] for run in group for key in (str(run.path), run.path.resolve().name) if key in given}
        if len(names) > 1:
            raise ReportError(f"two labels for runs that differ in their seed only: {' and '.join(sorted(names))}")
        group = sorted(group, key=lambda run: run.seed)
        for one, other in itertools.pairwise(group):
            if one.seed == other.seed:
                raise ReportError(f"{one.path} and {other.path} are of one recipe and one seed ({one.seed}): give one")
        arms.append(Arm(names.pop() if names else label, group))
    for k, arm in enumerate(arms):
        if arm.label in (twice := [other.label for other in arms[:k]]):
            first = arms[twice.index(arm.label)].runs[0].path
            raise ReportError(
                f"{first} and {arm.runs[0].path} differ in more than the seed, but both are {arm.label!r}"
            )
    return arms


def check_comparable(arms: Sequence[Arm], cost: Cost) -> list[str]:
    """What a reader must know before comparing these arms.

    Raises:
        ReportError: a run did not note this cost, or the scores are of different labels or data sets.
    """
    runs = [run for arm in arms for run in arm.runs]
    column, title = COSTS[cost]
    for run in runs:
        if run.points[column].isna().any():
            raise ReportError(f"{run.path} does not say how many {title} an evaluation came after: take another --cost")
    for what in ("dataset", "level", "checksum"):
        found = {run.path: _probed(run)[what] for run in runs}
        known = {str(value): path for path, value in found.items() if value is not None}
        if len(known) > 1:
            (one, first), (other, second), *_ = known.items()
            raise ReportError(
                f"{SCORE} of {first} and {second} cannot stand in one figure: the {what} of their online probes is "
                f"{one} and {other}"
            )
    warnings = []
    stores = {str(_probed(run)["store"]) for run in runs}
    if len(stores) > 1 and any(_probed(run)["checksum"] is None for run in runs):
        warnings.append(f"The online probes read different folders, which may hold different records: {_list(stores)}.")
    if cost in ("hours", "core-hours") and len(devices := {run.info.device for run in runs}) > 1:
        warnings.append(f"Hours of different machines stand side by side: {_list(devices)}.")
    if running := [str(run.path) for run in runs if run.info.status != "finished"]:
        warnings.append(f"Not finished: {_list(running)}.")
    if short := [arm.label for arm in arms if arm.mean().empty]:
        warnings.append(f"The seeds of {_list(short)} were never evaluated at the same step, so there is no mean.")
    return warnings


def find_reach(arm: Arm, goal: Arm, cost: Cost) -> Reach:
    """Where `arm` first reaches the best score of `goal`, both as means over their seeds.

    Raises:
        ReportError: the seeds of one of them were never evaluated at the same step.
    """
    column = COSTS[cost][0]
    ours, theirs = arm.mean(), goal.mean()
    for each, table in ((arm, ours), (goal, theirs)):
        if table.empty:
            raise ReportError(f"the seeds of {each.label} were never evaluated at the same step, so there is no mean")
    best = theirs.loc[theirs[SCORE].idxmax()]
    reached = ours[ours[SCORE] >= best[SCORE]]
    seeds = [run.points.loc[run.points[SCORE] >= best[SCORE], "step"] for run in arm.runs]
    return Reach(
        arm.label,
        goal.label,
        float(best[SCORE]),
        int(best["step"]),
        float(best[column]),
        int(reached["step"].iloc[0]) if len(reached) else None,
        float(reached[column].iloc[0]) if len(reached) else None,
        arm.steps,
        [int(steps.iloc[0]) if len(steps) else None for steps in seeds],
    )


def _recipe(info: RunInfo) -> dict[str, str]:
    settings = _flat(Config().model_dump(mode="json")) | _flat(info.config)
    left_out = ("training.seed", "data.stores")
    recipe = {key: value for key, value in settings.items() if not key.startswith("run.") and key not in left_out}
    data = [[store.dataset, store.trained_on, store.checksum] for store in info.stores]
    return recipe | {"data": json.dumps(data)}


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    sections = {section: values for section, values in config.items() if isinstance(values, dict)}
    return {
        f"{section}.{name}": value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        for section, values in sections.items()
        for name, value in values.items()
    }


def _automatic_labels(recipes: Sequence[Mapping[str, str]]) -> list[str]:
    labels = []
    for recipe in recipes:
        objective = recipe["training.objective"]
        rivals = [other for other in recipes if other["training.objective"] == objective]
        differ = [key for key in recipe if len({other.get(key) for other in rivals}) > 1]
        words = [_data(recipe[key]) if key == "data" else f"{key} {recipe[key]}" for key in differ]
        labels.append(", ".join([OBJECTIVES.get(objective, objective), *words]))
    return labels


def _data(described: str) -> str:
    return "data " + " + ".join(f"{dataset} {records}" for dataset, records, _ in json.loads(described))


def _probed(run: PretrainingRun) -> dict[str, Any]:
    """What the score of a run was measured on, as far as the run says."""
    settings, probe = run.info.config.get("run", {}), run.info.probe
    return {
        "store": settings.get("probe_store"),
        "level": (probe and probe.level) or settings.get("probe_level"),
        "dataset": probe and probe.dataset,
        "checksum": probe and probe.checksum,
    }


def _name(result: ProbeSummary) -> str:
    part = f", {100 * result.label_fraction:g} % of the labels" if result.label_fraction < 1 else ""
    return f"{result.dataset} {result.level}, {result.task}, {result.encoder}{part}"


def _list(names: Any) -> str:
    return ", ".join(sorted(map(str, names)))
