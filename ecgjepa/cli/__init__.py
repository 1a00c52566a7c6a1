"""The command line: one function per command. What a command needs is imported inside, so that `--help` is quick."""

from ecgjepa.cli import download, audit, masks, train, evaluate, compare, embed, plot, model, export  # noqa: F401, I001  # commands are listed in this order
from ecgjepa.cli.main import main

__all__ = ["main"]
