"""A table of embeddings -> an index to search."""

from pathlib import Path

import click

from ecgjepa.cli.main import command_line, main


@main.command()
@click.argument("embeddings", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder to make.")
@click.option(
    "--store",
    "stores",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A store that knows labels, age, sex and source of the records by their names; may be repeated.",
)
@click.option("--level", help="Of the stores' labels; superdiagnostic where a store has it, else its first.")
@click.option("--no-map", is_flag=True, help="Without places on a two-dimensional map.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the samples that are drawn.")
@click.option("--overwrite", is_flag=True, help="Replace an index that is there.")
def index(
    embeddings: Path,
    out: Path,
    stores: tuple[Path, ...],
    level: str | None,
    no_map: bool,
    seed: int,
    overwrite: bool,
) -> None:
    """Embeddings -> an index: nearest ECGs, filters by label, age, sex and source, a map of all of them.

    EMBEDDINGS is the table of `ecgjepa embed`. What is known of a row comes from the store that was embedded, else from
    a --store that has a record of its name, else from columns labels, age, sex, source of the table itself.
    """
    from ecgjepa.search import build_index

    built = build_index(
        embeddings,
        out,
        stores=stores,
        level=level,
        project=not no_map,
        seed=seed,
        overwrite=overwrite,
        command=command_line(),
    )
    if unknown := built.info["rows_unknown"]:
        click.echo(
            f"warning: nothing is known of {unknown} of {len(built)} rows, which are in no store; "
            "name their store with --store",
            err=True,
        )
    click.echo(f"{out}: {len(built)} rows of width {built.width}, {len(built.label_counts)} labels")
