"""Public archives -> raw folders; the only command that fetches data."""

import shlex
import sys
from pathlib import Path

import click

from ecgjepa.cli.main import main

ARCHIVES = ("ptbxl", "cpsc2018", "shaoxing", "code15")  # `ecgjepa.download.ARCHIVES`, without importing it
STOPPED = 130


@main.command()
@click.argument("archive", type=click.Choice(ARCHIVES))
@click.argument("data_dir", type=click.Path(path_type=Path))
@click.option("--connections", type=click.IntRange(1, 16), default=4, show_default=True, help="Files at once.")
@click.option("--all", "everything", is_flag=True, help="Of PTB-XL the records at 100 Hz as well.")
@click.option("--overwrite", is_flag=True, help="Replace files that differ from the published ones.")
@click.option(
    "--dry-run", is_flag=True, help="Ask for the list of files, say what would be fetched, and fetch nothing."
)
def download(archive: str, data_dir: Path, connections: int, everything: bool, overwrite: bool, dry_run: bool) -> None:
    """A public archive -> DATA_DIR, as `ecgjepa prepare` reads it; every file verified by its published checksum.

    The same command again goes on where it stopped, and fetches nothing that is there. Proxies are taken from the
    environment (HTTPS_PROXY, NO_PROXY).
    """
    from ecgjepa.download import ARCHIVES, fetch_files, list_files, missing_files, needed_bytes
    from ecgjepa.download.room import download_bytes, format_bytes, free_bytes

    chosen = ARCHIVES[archive]
    if everything and chosen.optional is None:
        raise click.UsageError(f"--all: {archive} has no further files, only ptbxl has")
    click.echo(f"{chosen.title}\n  source   {chosen.page}\n  licence  {chosen.licence}")
    for citation in chosen.citations:
        click.echo(f"  cite     {citation}")
    about = "about " if chosen.mean_file_bytes else ""
    try:
        files = list_files(chosen, everything=everything)
        total = f"{len(files):,} files, {about}{format_bytes(download_bytes(chosen, files))}"
        click.echo(f"  files    {total}, from {chosen.address}")
        if dry_run:
            missing = missing_files(files, data_dir, overwrite=overwrite, connections=connections)
            needed = needed_bytes(chosen, missing, connections)
            click.echo(
                f"{data_dir}: would fetch {len(missing):,} files, {about}"
                f"{format_bytes(download_bytes(chosen, missing))}; needs about {format_bytes(needed)} of disk, "
                f"{format_bytes(free_bytes(data_dir))} are free"
            )
            return
        outcome = fetch_files(chosen, files, data_dir, overwrite=overwrite, connections=connections)
    except KeyboardInterrupt:
        click.echo(f"\nstopped; the same command goes on in {data_dir}", err=True)
        sys.exit(STOPPED)
    click.echo(
        f"{data_dir}: {outcome.files:,} files, all as published; {outcome.fetched:,} fetched now "
        f"({format_bytes(outcome.fetched_bytes)})"
    )
    raw = shlex.quote(str(data_dir))
    click.echo(f"go on with: ecgjepa prepare --dataset {chosen.dataset} --data-dir {raw} --out stores/{chosen.dataset}")
