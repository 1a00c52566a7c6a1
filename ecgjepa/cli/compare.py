"""Pretraining runs -> what a score cost; two results -> their paired difference."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.main import command_line, main


class NameOfRun(click.ParamType):
    """`runs/a=my name`, as (run, name)."""

    name = "RUN=NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        run, _, label = str(value).partition("=")
        if not run.strip() or not label.strip():
            return self.fail(f"{value!r}, expected a run and what to call its arm, such as runs/a=JEPA", param, ctx)
        return str(Path(run.strip())), label.strip()


# Options of one of the two comparisons alone, by the names of their parameters.
OF_RUNS = ("cost", "labels", "reach", "published")
OF_RESULTS = ("models", "common", "task", "resamples", "seed", "min_positives", "paired")


@main.command()
@click.argument("runs", metavar="RUN... | A B", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to; runs need one.")
@click.option(
    "--cost",
    type=click.Choice(["hours", "core-hours", "steps", "records"]),
    default="hours",
    show_default=True,
    help="Runs: what a score cost, as time of training, of its processor cores, steps, or records seen.",
)
@click.option("--label", "labels", multiple=True, type=NameOfRun(), help="Runs: what to call an arm; repeatable.")
@click.option("--reach", metavar="ARM", help="Runs: say where the other arms reach the best score of this one.")
@click.option("--published", is_flag=True, help="Runs: draw published AUC and GPU hours beside; --cost hours only.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Results: the model in both; given twice, in A and in B.  [pretrained, finetuned, scratch, or the only one]",
)
@click.option("--common", is_flag=True, help="Results: take the test records that both have.")
@click.option(
    "--task",
    type=click.Choice(["multilabel", "multiclass", "regression"]),
    help="Results: of two tables that do not say it.",
)
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Results: of test patients.")
@click.option("--seed", type=int, default=0, show_default=True, help="Results: of the resamples.")
@click.option(
    "--min-positives",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Results: a class with fewer positive test records is rare.",
)
@click.option("--paired", is_flag=True, help="Compare the results that two pretraining runs hold.")
@click.option("--overwrite", is_flag=True, help="Replace the comparison that is there.")
@click.pass_context
def compare(
    context: click.Context,
    runs: tuple[Path, ...],
    out: Path | None,
    cost: Any,
    labels: tuple[tuple[str, str], ...],
    reach: str | None,
    published: bool,
    overwrite: bool,
    paired: bool,
    **of_results: Any,
) -> None:
    """Pretraining runs -> AUC against what it cost; or two results -> their paired difference.

    Runs: figure, table and one page. The AUC is that of the online probe, see `pretrain --probe-store`. Runs that
    differ in their seed only are one arm, with mean and extremes. Results of `ecgjepa probe --protocol strict` that the
    runs hold stand in the table.

    Results: A and B are folders with result.json and predictions.parquet, folders that hold one such below probes/, or
    tables of predictions. B minus A of every score, on the same resamples of the test patients, with 95 % interval and
    p.
    """
    from ecgjepa.evaluate.paired_files import mean_results

    paired = paired or mean_results(runs)
    for name in OF_RUNS if paired else OF_RESULTS:
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            flag = next(option.opts[0] for option in context.command.params if option.name == name)
            found = "results" if paired else "pretraining runs"
            raise click.UsageError(f"{flag} is of no use here: {found} are compared")
    if paired:
        _compare_results(runs, out, overwrite, **of_results)
        return
    if out is None:
        raise click.UsageError(f"--out is needed to compare pretraining runs (no result.json in {runs[0]})")
    if published and cost != "hours":
        raise click.UsageError(f"--published: only hours are published, found --cost {cost}")
    from ecgjepa.evaluate.compare import check_comparable, find_reach, group_runs, read_run
    from ecgjepa.evaluate.compare_page import describe_reach, format_markdown, write_comparison
    from ecgjepa.evaluate.cost_curves import published_points

    arms = group_runs([read_run(run) for run in runs], dict(labels))
    warnings = check_comparable(arms, cost)
    goal = {arm.label: arm for arm in arms}.get(reach or "")
    if reach is not None and goal is None:
        raise click.UsageError(f"--reach {reach!r}: no such arm, found {', '.join(repr(arm.label) for arm in arms)}")
    reaches = [] if goal is None else [find_reach(arm, goal, cost) for arm in arms if arm is not goal]
    write_comparison(
        arms,
        out,
        cost,
        reaches=reaches,
        published=published_points() if published else (),
        warnings=warnings,
        command=command_line(),
        overwrite=overwrite,
    )
    for warning in warnings:
        click.echo(f"WARNING: {warning}", err=True)
    click.echo(format_markdown(arms, cost))
    for each in reaches:
        click.echo(f"\n{describe_reach(each, cost)}")
    click.echo(f"\n{out / 'compare.html'}")


def _compare_results(
    results: tuple[Path, ...],
    out: Path | None,
    overwrite: bool,
    *,
    models: tuple[str, ...],
    common: bool,
    task: str | None,
    resamples: int,
    seed: int,
    min_positives: int,
) -> None:
    if len(results) != 2 or len(models) > 2:
        raise click.UsageError(
            f"results are compared in pairs: found {len(results)} of them and {len(models)} --model, expected 2 and at "
            "most 2"
        )
    from ecgjepa.evaluate.paired import compare_predictions
    from ecgjepa.evaluate.paired_files import read_predictions
    from ecgjepa.evaluate.paired_table import check_place, format_paired, write_paired

    if out is not None:
        check_place(out, overwrite)
    names = models * 2 if len(models) == 1 else (models or (None, None))
    a, b = (read_predictions(path, name) for path, name in zip(results, names, strict=True))
    found = compare_predictions(
        a, b, common=common, task=task, resamples=resamples, seed=seed, min_positives=min_positives
    )
    click.echo(format_paired(found))
    if out is not None:
        write_paired(found | {"command": command_line()}, out, overwrite)
        click.echo(f"\n{out / 'comparison.json'}")
