"""Run folders -> what a score cost."""

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


@main.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option(
    "--cost",
    type=click.Choice(["hours", "core-hours", "steps", "records"]),
    default="hours",
    show_default=True,
    help="What a score cost: time of training, of its processor cores, steps, or records seen.",
)
@click.option("--label", "labels", multiple=True, type=NameOfRun(), help="What to call the arm of a run; repeatable.")
@click.option("--reach", metavar="ARM", help="Say where the other arms reach the best score of this one.")
@click.option("--published", is_flag=True, help="Draw published AUC and GPU hours beside; --cost hours only.")
@click.option("--overwrite", is_flag=True, help="Replace the comparison that is there.")
def compare(
    runs: tuple[Path, ...],
    out: Path,
    cost: Any,
    labels: tuple[tuple[str, str], ...],
    reach: str | None,
    published: bool,
    overwrite: bool,
) -> None:
    """Pretraining runs -> AUC against what it cost: figure, table and one page.

    The AUC is that of the online probe, see `pretrain --probe-store`. Runs that differ in their seed only are one arm,
    with mean and extremes. Results of `ecgjepa probe --protocol strict` that the runs hold stand in the table.
    """
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
