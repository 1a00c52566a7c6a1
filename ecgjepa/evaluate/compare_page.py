"""A comparison as files: the figure, its numbers, and one page that anybody can open."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

import ecgjepa
from ecgjepa.evaluate.compare import COSTS, SCORE, Arm, Cost, PretrainingRun, Reach
from ecgjepa.evaluate.cost_curves import PUBLISHED_NOTE, PublishedPoint, cost_curves
from ecgjepa.evaluate.pages import format_number, format_score, page_template, picture
from ecgjepa.evaluate.picture import save_figure
from ecgjepa.evaluate.run_files import Interval, ProbeSummary
from ecgjepa.files import write_text

FILES = ("compare.csv", "compare_points.csv", "compare.svg", "compare.html")


def write_comparison(
    arms: Sequence[Arm],
    out: Path,
    cost: Cost,
    *,
    reaches: Sequence[Reach] = (),
    published: Sequence[PublishedPoint] = (),
    warnings: Sequence[str] = (),
    command: str = "",
    overwrite: bool = False,
) -> None:
    """Write `compare.csv` (a row per run), `compare_points.csv` (per evaluation), `compare.svg` and `compare.html`.

    Raises:
        FileExistsError: one of them is there and `overwrite` is False.
    """
    if not overwrite and (there := [out / name for name in FILES if (out / name).exists()]):
        raise FileExistsError(f"{there[0]} exists already; --overwrite replaces it")
    out.mkdir(parents=True, exist_ok=True)
    goal = (reaches[0].goal, reaches[0].score) if reaches else None
    figure = cost_curves(arms, cost, goal=goal, published=published)
    caption = (
        f"{'Macro AUC' if published else 'AUC'} of the online probe, on validation records, against {COSTS[cost][1]}. "
    )
    if any(len(arm.runs) > 1 for arm in arms):
        caption += "Thick: the mean over seeds; band: their extremes; thin: each seed. "
    if published:
        caption += PUBLISHED_NOTE
    drawn = picture(figure, "compare", f"AUC against {COSTS[cost][1]}, by arm", caption.strip())
    header, rows = arm_table(arms, cost)
    page = page_template("compare.html").render(
        arms=arms,
        figure_drawn=drawn,
        reaches=[describe_reach(reach, cost) for reach in reaches],
        header=header,
        rows=rows,
        runs=[(arm.label, run) for arm in arms for run in arm.runs],
        warnings=warnings,
        command=command,
        version=ecgjepa.__version__,
    )
    write_text(out / "compare.csv", pd.DataFrame([_run_row(arm, run) for arm in arms for run in arm.runs]).to_csv(
        index=False))  # fmt: skip
    write_text(out / "compare_points.csv", pd.concat([
        run.points.assign(arm=arm.label, seed=run.seed, run=str(run.path)) for arm in arms for run in arm.runs
    ]).to_csv(index=False))  # fmt: skip
    save_figure(figure, out / "compare.svg", overwrite=True)
    write_text(out / "compare.html", page)


def arm_table(arms: Sequence[Arm], cost: Cost) -> tuple[list[str], list[list[str]]]:
    """Header and one row per arm: its size, what it cost, its scores as means with the extremes of its seeds.

    Strict evaluations that a run holds have a column each; of a single seed with the interval over patients.
    """
    column, title = COSTS[cost]
    names = list(dict.fromkeys(name for arm in arms for run in arm.runs for name in run.results))
    header = ["arm", "seeds", "parameters", *(["step"] if cost != "steps" else []), title]
    header += ["online probe, last", "online probe, best", *(f"strict: {name}" for name in names)]
    rows = []
    for arm in arms:
        last = [run.points.iloc[-1] for run in arm.runs]
        row = [arm.label, str(len(arm.runs)), _range([run.info.parameters for run in arm.runs], format_number)]
        if cost != "steps":
            row += [_range([int(point["step"]) for point in last], format_number)]
        row += [_range([float(point[column]) for point in last], format_cost)]
        row += [_mean([float(point[SCORE]) for point in last])]
        row += [_mean([float(run.points[SCORE].max()) for run in arm.runs])]
        for name in names:
            row += [_strict([run.results[name] for run in arm.runs if name in run.results], len(arm.runs))]
        rows.append(row)
    return header, rows


def format_markdown(arms: Sequence[Arm], cost: Cost) -> str:
    """The table for a terminal or a text."""
    header, rows = arm_table(arms, cost)
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def describe_reach(reach: Reach, cost: Cost) -> str:
    """Where an arm reaches another's best, as a sentence."""
    unit = COSTS[cost][1].split(" of ")[0].split(" seen")[0]
    best = f"{reach.score:.4f}, the best of {reach.goal} (at step {reach.goal_step:,}"
    best += ")" if cost == "steps" else f", {format_cost(reach.goal_cost)} {unit})"
    reached = [step for step in reach.seed_steps if step is not None]
    if reach.step is None or reach.cost is None:
        sentence = f"{reach.label} does not reach {best}"
    elif reach.step == 0:
        sentence = f"{reach.label} is at or above {best}, before its first step: that says nothing of its pretraining"
    else:
        part = 100 * reach.step / reach.steps
        sentence = f"{reach.label} reaches {best}, at step {reach.step:,} = {part:.0f} % of its {reach.steps:,} steps"
        if cost != "steps":
            sentence += f", after {format_cost(reach.cost)} {unit}"
        if reach.goal_cost > 0:
            sentence += f", {reach.cost / reach.goal_cost:.2f} of what {reach.goal} took"
    if len(reach.seed_steps) > 1:
        low_high = f", between steps {min(reached):,} and {max(reached):,}" if reached else ""
        if reached and min(reached) == max(reached):
            low_high = f", all at step {reached[0]:,}"
        sentence += f"; {len(reached)} of its {len(reach.seed_steps)} seeds do{low_high}"
    return sentence + "."


def format_cost(value: float) -> str:
    """Hours with three digits, steps and records as whole numbers."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _run_row(arm: Arm, run: PretrainingRun) -> dict[str, Any]:
    last, best = run.points.iloc[-1], run.points.loc[run.points[SCORE].idxmax()]
    row = {
        "arm": arm.label, "seed": run.seed, "run": str(run.path), "status": run.info.status,
        "device": run.info.device, "parameters": run.info.parameters, "steps_planned": run.info.steps,
        "step": int(last["step"]), "hours": last["hours"], "core_hours": last["core_hours"],
        "records": last["records"], f"{SCORE}_last": last[SCORE], f"{SCORE}_best": best[SCORE],
        "best_step": int(best["step"]),
    }  # fmt: skip
    for name, result in run.results.items():
        auc = result.models["pretrained"].macro.auc
        row |= {f"strict {name}: AUC": auc.value, f"strict {name}: low": auc.low, f"strict {name}: high": auc.high}
        if result.difference is not None:
            gain = result.difference.auc
            row |= {f"strict {name}: above random weights": gain.value}
            row |= {f"strict {name}: above, low": gain.low, f"strict {name}: above, high": gain.high}
    return row


def _strict(results: Sequence[ProbeSummary], seeds: int) -> str:
    scores = [result.models["pretrained"].macro.auc for result in results]
    values = [score.value for score in scores if score.value is not None]
    if not values:
        return "–"
    if seeds == 1:
        return _interval(scores[0])
    return _mean(values) + (f", {len(values)} of {seeds} seeds" if len(values) < seeds else "")


def _interval(score: Interval) -> str:
    within = "" if score.low is None else f" [{format_score(score.low)}, {format_score(score.high)}]"
    return format_score(score.value) + within


def _mean(values: Sequence[float]) -> str:
    mean = format_score(sum(values) / len(values))
    return mean if len(values) == 1 else f"{mean} ({format_score(min(values))} to {format_score(max(values))})"


def _range(values: Sequence[Any], form: Any) -> str:
    known = [value for value in values if value is not None and not math.isnan(value)]
    if not known:
        return "–"
    low, high = form(min(known)), form(max(known))
    return low if low == high else f"{low} to {high}"
