"""How the command line understands what is typed: aliases, `-` or `_`, near names, a flag for every setting."""

import difflib
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click

from ecgjepa.config import settings
from ecgjepa.errors import USER_ERRORS

Command = TypeVar("Command", bound=Callable[..., Any])

ALIASES = {"linear-eval": "probe", "finetuning": "finetune"}  # the names of the published scripts
# Flags whose name is not that of the setting with its underscores turned to hyphens.
FLAG_NAMES = {
    "mask.type": "mask-type",
    "mask.scale": "mask-scale",
    "mask.blocks": "mask-blocks",
    "mask.scope": "mask-scope",
    "run.trackers": "track",
    "data.stores": "store",
    "data.weights": "weight",
    "data.gains": "gain",
}
# Further flags of the published scripts for the same settings.
FLAG_ALIASES = {"training.weight_decay": "wd", "training.warmup_epochs": "warmup"}


ENCODER = click.option(
    "--encoder",
    type=click.Choice(["teacher", "student"]),
    help="Network; the teacher if it is there, else what is there.",
)
HEADS = click.option(
    "--heads",
    type=click.IntRange(1),
    default=16,
    show_default=True,
    help="Attention heads of a published .pth file, which does not state them.",
)
PRECISION = click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of the matrix products; see docs/embedding.md for what each costs.",
)
BATCH_SIZE = click.option(
    "--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Windows that run at once."
)

_HINTS = (
    click.option("--sampling-rate-hz", type=float, help="Of files that do not say it."),
    click.option("--leads", help="Of files that do not say them: I,II,V1,..."),
    click.option("--unit", help="Of files that do not say it: mV, uV, V, nV, or adc with --gain-per-mv."),
    click.option("--gain-per-mv", type=float, help="Counts per mV, for --unit adc."),
)


def hint_options(command: Command) -> Command:
    """What files do not say about themselves, see `ecgjepa.data.formats.hints.Hints`."""
    for option in reversed(_HINTS):
        command = option(command)
    return command


class Stages(click.Group):
    """Commands in the order of the data's way; errors of ours end in one line, not in a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = cmd_name.replace("_", "-")
        return super().get_command(ctx, ALIASES.get(name, name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], [*self.commands, *ALIASES], n=1, cutoff=0.4)
            raise click.UsageError(
                f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""), ctx
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except USER_ERRORS as error:
            if ctx.params.get("traceback"):
                raise
            raise click.ClickException(str(error)) from error


class NameAndNumber(click.ParamType):
    """`ptbxl=2`, as (name, number)."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, float]:
        name, _, number = str(value).rpartition("=")
        try:
            if not name.strip():
                raise ValueError("no name")
            return name.strip(), float(number)
        except ValueError:
            return self.fail(f"{value!r}, expected a name and a number such as ptbxl=2", param, ctx)


def _as_table(
    ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, float], ...]
) -> dict[str, float] | None:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise click.BadParameter(f"{twice[0]} is given twice", ctx, param)
    return dict(pairs) or None


def config_flags(command: Command) -> Command:
    """A flag for every setting of `ecgjepa.config`; those that are not given leave the file's value."""
    for key, field in reversed(settings().items()):
        name = FLAG_NAMES.get(key, key.rpartition(".")[2].replace("_", "-"))
        flags = [f"--{name}", *([f"--{FLAG_ALIASES[key]}"] if key in FLAG_ALIASES else [])]
        default = "" if field.default in (None, (), {}) else f"  [{_shown(field.default)}]"
        options: dict[str, Any] = {"default": None, "help": f"{field.description}{default}"}
        if key == "data.stores":
            options |= {"multiple": True, "type": click.Path(exists=True, file_okay=False)}
        elif isinstance(field.default, dict):
            options |= {"multiple": True, "type": NameAndNumber(), "callback": _as_table}
        elif isinstance(field.default, bool):
            flags = [f"--{name}/--no-{name}"]
        elif key == "run.trackers":
            options |= {"multiple": True, "type": click.Choice(get_args(get_args(field.annotation)[0]))}
        elif key == "mask.scale" or isinstance(field.default, tuple):
            options |= {"nargs": 2, "type": float}
        elif choices := [choice for choice in get_args(field.annotation) if isinstance(choice, str)]:
            options |= {"type": click.Choice(choices)}
        else:
            kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
            options |= {"type": kinds[0] if kinds else field.annotation}
        command = click.option(*flags, key.replace(".", "__"), **options)(command)
    return command


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
