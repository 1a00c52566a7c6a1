"""The command `ecgjepa`, and what its commands share."""

import shlex
import sys
from pathlib import Path

import click

import ecgjepa
from ecgjepa.cli.flags import Stages


@click.group(cls=Stages, context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
@click.version_option(ecgjepa.__version__, prog_name="ecgjepa")
@click.option("--traceback", is_flag=True, help="Show where in the code an error arose.")
def main(traceback: bool) -> None:
    """Representations of the 12-lead ECG learned without labels: from raw files to a citable evaluation.

    Every stage reads files and writes files. Flags may be written with - or _.
    """


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Found out before hours of work, not after."""
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; --overwrite replaces it")


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["ecgjepa", *sys.argv[1:]])
