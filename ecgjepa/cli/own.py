"""What `prepare` is told of one's own ECGs: a folder or a table, patients, splits, and what files do not say."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import Command, hint_options

if TYPE_CHECKING:
    from ecgjepa.data.listings.own import OwnListing

OWN = ("folder", "table")
OPTIONS = (
    click.option(
        "--table", type=click.Path(path_type=Path), help="CSV, TSV or Parquet with a column path, for --dataset table."
    ),
    click.option(
        "--patient-pattern",
        metavar="REGEX",
        help="Its first group in a file's path below the folder is the patient: '/p([0-9]+)/'.",
    ),
    click.option(
        "--split",
        type=click.Choice(["auto", "patient", "none"]),
        help="auto: the table's own, or by patient where it has labels and no split.  [auto; of a folder none]",
    ),
    click.option("--split-seed", type=int, help="Of the split by patient.  [0]"),
    click.option("--split-shares", type=float, nargs=3, help="Of train, validation and test.  [0.8 0.1 0.1]"),
    hint_options,
)


def own_data_options(command: Command) -> Command:
    """The options of one's own data; they arrive as `own`, see `choose_listing`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def choose_listing(dataset: str, data_dir: Path | None, own: dict[str, Any]) -> "tuple[str | OwnListing, Path]":
    """What to prepare, and the folder of its files; says which columns are not used.

    Args:
        dataset: `folder`, `table`, or a published one, which takes none of these options.
        own: the options of `own_data_options`, None where they were not given.

    Raises:
        click.UsageError: options that do not go together.
        DatasetError: see `ecgjepa.data.listings.own`.
    """
    given = {name: value for name, value in own.items() if value is not None}
    if dataset not in OWN and given:
        raise click.UsageError(f"{_flag(next(iter(given)))} goes with --dataset folder or table only")
    if (dataset == "table") != ("table" in given):
        raise click.UsageError("--dataset table and --table FILE go together")
    if dataset == "table" and "patient_pattern" in given:
        raise click.UsageError("--patient-pattern is for --dataset folder; a table has a column patient")
    if data_dir is None:
        if dataset != "table":
            raise click.UsageError("Missing option '--data-dir'.")
        data_dir = given["table"].absolute().parent
    if dataset not in OWN:
        return dataset, data_dir
    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.data.listings.cells import split_leads
    from ecgjepa.data.listings.own import list_folder, list_table

    leads = split_leads(given["leads"]) if "leads" in given else None
    hints = Hints(given.get("sampling_rate_hz"), leads, given.get("unit"), given.get("gain_per_mv"))
    how = {name: given[name] for name in ("split", "split_seed", "split_shares") if name in given}
    if dataset == "folder":
        listing = list_folder(data_dir, patient=given.get("patient_pattern"), hints=hints, **how)
    else:
        listing = list_table(given["table"], data_dir, hints=hints, **how)
    chosen = listing.options["split"]
    if chosen != "patient" and (unused := [name for name in ("split_seed", "split_shares") if name in given]):
        raise click.UsageError(f"{_flag(unused[0])} is for --split patient, the split here is: {chosen}")
    if listing.unknown:
        click.echo("columns that are not used: " + ", ".join(listing.unknown))
    if chosen != "none" and not listing.has_patients:
        click.echo("nothing says the patients: every record is a patient of its own")
    return listing, data_dir


def tell_ignored(listing: "OwnListing") -> None:
    """Say which files were not taken."""
    if listing.ignored:
        click.echo("no ECG formats, ignored: " + ", ".join(f"{n} {kind}" for kind, n in listing.ignored.most_common()))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
