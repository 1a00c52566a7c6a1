"""What `embed` and `predict` share: how files become a table, and what the terminal says of it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from ecgjepa.cli.engine import choose_engine, engine_options
from ecgjepa.cli.flags import BATCH_SIZE, PRECISION, Command, hint_options

if TYPE_CHECKING:
    import torch

    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.data.preparing.engines import Engine
    from ecgjepa.embed.pipeline import Outcome

# Some inputs gave no row; those that did are in the table.
SOME_FAILED = 3
STOPPED = 130
SHOWN = 10

_OPTIONS = (
    PRECISION,
    BATCH_SIZE,
    click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda; on Ray auto is cpu."),
    click.option(
        "--workers",
        type=click.IntRange(0),
        help="Processes that read ahead; on a CPU none, else one per core. On Ray: tasks at once, if not all it can.",
    ),
    click.option(
        "--threads", type=click.IntRange(1), help="Of the matrix products on a CPU; on a busy machine take fewer."
    ),
    engine_options,
    hint_options,
    click.option("--overwrite", is_flag=True, help="Replace the table that is there."),
)


def table_options(command: Command) -> Command:
    """How and where it is computed, what the files do not say, whether a table is replaced."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Place:
    """Where the work is done.

    Attributes:
        device: of the encoder, here or on the nodes.
        workers: processes that read ahead; tasks at once on Ray.
        engine: Ray's, or None.
    """

    device: "torch.device"
    workers: int
    engine: "Engine | None"


def choose_place(device: str, workers: int | None, threads: int | None, engine: str, ray_address: str | None) -> Place:
    """Where the work is done, by the options of these names.

    Raises:
        click.UsageError: options that do not go together.
        ClusterError: Ray is not installed.
    """
    if engine == "ray" and threads not in (None, 1):
        raise click.UsageError("--threads goes with --engine local: on Ray every task has one thread")
    if engine == "ray" and device not in ("auto", "cpu", "cuda"):
        raise click.UsageError(f"--device {device}: on Ray expected cpu or cuda")
    gpus = 1 if device == "cuda" else 0
    elsewhere = choose_engine(engine, ray_address, workers or None, gpus=gpus)
    import torch

    from ecgjepa.checkpoint import choose_device

    if threads is not None:
        torch.set_num_threads(threads)
    if elsewhere is not None:
        return Place(torch.device("cuda" if gpus else "cpu"), workers or os.cpu_count() or 1, elsewhere)
    processor = choose_device(device)
    if workers is None:
        workers = 0 if processor.type == "cpu" else min(os.cpu_count() or 1, 16)
    return Place(processor, workers, None)


def hints_of(sampling_rate_hz: float | None, leads: str | None, unit: str | None, gain_per_mv: float | None) -> "Hints":
    """What was typed of the files."""
    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.embed.inputs import split_leads

    return Hints(sampling_rate_hz, split_leads(leads) if leads else None, unit, gain_per_mv)


def say_stopped(out: Path) -> NoReturn:
    """After Ctrl-C."""
    click.echo(f"\nstopped; the same command goes on from {out}.parts", err=True)
    sys.exit(STOPPED)


def say_outcome(outcome: "Outcome", done: str) -> None:
    """What became of the inputs; ends the command with an exit status that says whether some failed.

    Args:
        done: to an ECG, as `embedded`.
    """
    good = outcome.entries - len({(record, path) for record, path, *_ in outcome.failed})
    if outcome.ignored:
        click.echo("no ECG formats, ignored: " + ", ".join(f"{n} {kind}" for kind, n in outcome.ignored.items()))
    if outcome.rows:
        click.echo(f"{outcome.out}: {outcome.rows} rows from {good} of {outcome.entries} ECGs")
    broken = [each for each in outcome.failed if each[3] != "not_an_ecg"]
    if outcome.failed:
        for record, _, _, reason, detail in outcome.failed[:SHOWN]:
            click.echo(f"  {record}: {detail} [{reason}]", err=True)
        more = f", {len(outcome.failed) - SHOWN} more" if len(outcome.failed) > SHOWN else ""
        click.echo(f"{len(outcome.failed)} failed{more}: {outcome.failed_file}", err=True)
    if not outcome.rows:
        click.echo(f"nothing could be {done}, {outcome.out} is not written", err=True)
    if broken or not outcome.rows:
        sys.exit(SOME_FAILED if outcome.rows else 1)
