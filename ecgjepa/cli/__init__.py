"""The command line: one function per command. What a command needs is imported inside, so that `--help` is quick."""

# isort: off
from ecgjepa.cli import download, audit, masks, train, probe, finetune, evaluate, report  # noqa: F401  # in this order
from ecgjepa.cli import compare, embed, index, predict, plot, serve, model, export  # noqa: F401  # are the commands listed

# isort: on
from ecgjepa.cli.main import main

__all__ = ["main"]
