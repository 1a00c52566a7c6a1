"""Run folder -> report, and all stages as a demo."""

import shlex
from pathlib import Path

import click

from ecgjepa.cli.main import command_line, main


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="HTML file; report.html in the run folder if not given.")
@click.option("--overwrite", is_flag=True, help="Replace another file than the run's own report.")
def report(run: Path, out: Path | None, overwrite: bool) -> None:
    """Run folder -> one self-contained HTML page."""
    from ecgjepa.evaluate.report import write_report

    click.echo(write_report(run, out, overwrite))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace the demo that is there.")
def demo(out: Path, seed: int, overwrite: bool) -> None:
    """The whole way on synthetic ECGs: files, stores, pretraining, evaluation, report."""
    from ecgjepa.demo import run_demo

    run_demo(out, seed=seed, overwrite=overwrite, command=command_line())
    click.echo(f"look at it in a browser: ecgjepa serve --demo --demo-dir {shlex.quote(str(out))}")
