"""`python -m ecgjepa` is `ecgjepa`."""

from ecgjepa.cli import main

main(prog_name="ecgjepa")
