"""Where the work of a command is done: in processes of this machine, or on Ray."""

from typing import TYPE_CHECKING

import click

from ecgjepa.cli.flags import Command

if TYPE_CHECKING:
    from ecgjepa.data.preparing.engines import Engine

OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="local: processes of this machine; ray: see docs/cluster.md.",
    ),
    click.option(
        "--ray-address", metavar="HOST:PORT", help="Of a running Ray cluster, or auto; else one is started here."
    ),
)


def engine_options(command: Command) -> Command:
    """The options that `choose_engine` takes."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def choose_engine(engine: str, ray_address: str | None, tasks: int | None, *, gpus: int = 0) -> "Engine | None":
    """Ray's engine, or None for the local one.

    Args:
        tasks: at once at most, if it was said.
        gpus: of each task.

    Raises:
        click.UsageError: an address without its engine.
        ClusterError: Ray is not installed.
    """
    if engine == "local":
        if ray_address is not None:
            raise click.UsageError("--ray-address goes with --engine ray only")
        return None
    from ecgjepa.data.preparing.cluster import ray_engine

    return ray_engine(ray_address, tasks=tasks, gpus=gpus)
