"""A look at ECGs before they are used."""

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecgjepa.cli.flags import hint_options
from ecgjepa.cli.main import main, refuse_existing

if TYPE_CHECKING:
    from ecgjepa.audit.inputs import Inputs

# Some records would be refused; the audit is whole.
SOME_REFUSED = 3
STOPPED = 130
# Tables of something else beside the ECGs are listed, and are no reason for another exit status.
NO_ECG = "not_an_ecg"
DATASETS = ("ptbxl", "shaoxing", "code15", "cpsc")


@main.command()
@click.argument("path", metavar="DIR|STORE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dataset", type=click.Choice(DATASETS), help="The folder is a published one; else any ECGs in it.")
@click.option("--records", type=click.IntRange(1), help="Look at a random sample of this many.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the sample.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a page as well: audit.html.")
@click.option(
    "--list", "list_file", type=click.Path(path_type=Path, dir_okay=False), help="CSV of all that is refused or noted."
)
@click.option("--workers", type=click.IntRange(1), help="Processes; all processors if not given.")
@hint_options
@click.option("--overwrite", is_flag=True, help="Replace --out and --list if they are there.")
def inspect(
    path: Path,
    dataset: str | None,
    records: int | None,
    seed: int,
    out: Path | None,
    list_file: Path | None,
    workers: int | None,
    sampling_rate_hz: float | None,
    leads: str | None,
    unit: str | None,
    gain_per_mv: float | None,
    overwrite: bool,
) -> None:
    """ECGs of a folder or a store -> what there is, what is odd, and what `prepare` would refuse.

    Nothing is changed. Exit status 3: `prepare` would refuse some; tables of something else do not count.
    """
    for file in (out, list_file):
        if file is not None:
            refuse_existing(file, overwrite)
            if not file.absolute().parent.is_dir():
                raise FileNotFoundError(f"no folder {file.absolute().parent} to write {file.name} to")
    from ecgjepa.audit.run import look_over
    from ecgjepa.audit.text import as_text
    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.data.listings.cells import split_leads

    told = Hints(sampling_rate_hz, split_leads(leads) if leads else None, unit, gain_per_mv)
    with tempfile.TemporaryDirectory(prefix="ecgjepa-inspect-") as scratch:
        inputs = _inputs(path, dataset, told, Path(scratch), records, seed)
        try:
            audit = look_over(
                inputs,
                workers=workers or os.cpu_count() or 1,
                list_file=list_file,
                progress=sys.stderr.isatty(),
            )
        except KeyboardInterrupt:
            click.echo("\nstopped; nothing was written", err=True)
            sys.exit(STOPPED)
    before = _refused_before(inputs.store)
    click.echo(as_text(audit, str(path), seed, before))
    if out is not None:
        from ecgjepa.audit.page import write_page

        write_page(audit, out, str(path), seed, before)
    for file in (out, list_file):
        if file is not None:
            click.echo(f"{file} is written")
    reasons = audit.tally.of("refused")
    if reasons.total() > reasons[NO_ECG]:
        sys.exit(SOME_REFUSED)


def _inputs(path: Path, dataset: str | None, told: object, scratch: Path, records: int | None, seed: int) -> "Inputs":
    from ecgjepa.audit.inputs import from_listing, from_store
    from ecgjepa.data.formats.hints import NO_HINTS, Hints
    from ecgjepa.data.listings.datasets import list_records
    from ecgjepa.data.listings.own import list_folder
    from ecgjepa.data.store import DESCRIPTION
    from ecgjepa.signal import DEFAULT_CONTRACT

    assert isinstance(told, Hints)
    is_store = (path / DESCRIPTION).is_file()
    if (is_store or dataset) and told != NO_HINTS:
        raise click.UsageError("what files do not say is told of a folder of one's own files only")
    if is_store and dataset:
        raise click.UsageError(f"{path} is a store; --dataset is for folders of raw files")
    if is_store:
        return from_store(path, scratch, records, seed)
    listing = list_records(dataset, path) if dataset else list_folder(path, hints=told)
    return from_listing(listing, scratch, DEFAULT_CONTRACT, records, seed)


def _refused_before(store: Path | None) -> dict[str, int]:
    from ecgjepa.data.store import read_description

    return {} if store is None else dict(read_description(store)["account"].get("refused", {}))
