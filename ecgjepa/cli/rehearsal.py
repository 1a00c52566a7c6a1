"""`ecgjepa pretrain --plan` and `--profile`: what a run will take, and where its time goes, without a run."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ecgjepa.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--plan", is_flag=True, help="Check everything, time some steps, and tell what the run will take."),
    click.option(
        "--profile",
        type=click.IntRange(1),
        is_flag=False,
        flag_value="20",
        metavar="[STEPS]",
        help="Tell where the time of a step goes, over 20 steps or as many as given.",
    ),
    click.option("--trace", type=click.Path(path_type=Path), help="File for a trace of some steps, with --profile."),
    click.option("--json", "as_json", is_flag=True, help="With --plan or --profile: print numbers for programs."),
)


def rehearsal_options(command: Command) -> Command:
    """What `rehearse` is told."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check_rehearsal(plan: bool, profile: int | None, trace: Path | None, as_json: bool, resume: bool) -> None:
    """Flags that do not go together are refused."""
    if plan and profile is not None:
        raise click.UsageError("give either --plan or --profile")
    if trace is not None and profile is None:
        raise click.UsageError("--trace belongs to --profile")
    if as_json and not plan and profile is None:
        raise click.UsageError("--json belongs to --plan or --profile")
    if resume and (plan or profile is not None):
        raise click.UsageError("--plan and --profile are of a run that has not begun, --resume is not")


def rehearse(config: Config, out: Path, *, profile: int | None, trace: Path | None, as_json: bool) -> None:
    """Print a plan, or a profile over so many steps; exit status 1 if the plan found a problem."""
    if profile is not None:
        from ecgjepa.train.profiling import describe as describe_profile
        from ecgjepa.train.profiling import profile as measure

        found = measure(config, steps=profile, trace=trace)
        if found is not None:
            click.echo(json.dumps(found.to_json(), indent=2) if as_json else describe_profile(found))
        return
    from ecgjepa.train.plan import make_plan
    from ecgjepa.train.plan_text import describe

    planned = make_plan(config, out)
    if planned is not None:
        click.echo(json.dumps(planned.to_json(), indent=2) if as_json else describe(planned))
        sys.exit(1 if planned.problems else 0)
