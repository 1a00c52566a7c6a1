"""Files -> embeddings."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.files_to_table import choose_place, hints_of, say_outcome, say_stopped, table_options
from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import main


@main.command()
@click.argument("ckpt")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .parquet file to write.")
@click.option(
    "--windows",
    type=click.Choice(["first", "all", "mean"]),
    default="first",
    show_default=True,
    help="Of a longer recording: its first window, a row for each, or one row with their mean.",
)
@click.option("--tokens", is_flag=True, help="A row per token (lead and patch) instead of per window.")
@click.option("--layer", type=click.IntRange(1), help="Tokens after this block, without the final norm.")
@ENCODER
@HEADS
@table_options
def embed(
    ckpt: str,
    paths: tuple[str, ...],
    out: Path,
    windows: Any,
    tokens: bool,
    layer: int | None,
    encoder: Any,
    heads: int,
    precision: Any,
    batch_size: int,
    device: str,
    workers: int | None,
    threads: int | None,
    engine: str,
    ray_address: str | None,
    sampling_rate_hz: float | None,
    leads: str | None,
    unit: str | None,
    gain_per_mv: float | None,
    overwrite: bool,
) -> None:
    """ECGs of any format, leads and length -> a table of embeddings.

    CKPT is what `ecgjepa probe` takes, or a Hugging Face repository. PATHS are files, folders, glob patterns, stores,
    or tables with a column `path`. The same command again goes on where it stopped. Exit status 3: some inputs gave
    no embedding; they are listed in OUT.failed.csv. Tables of something else among the files are listed there as well.
    """
    from ecgjepa.embed.pipeline import check_out

    check_out(out, overwrite)
    place = choose_place(device, workers, threads, engine, ray_address)
    from ecgjepa.checkpoint import load_encoder
    from ecgjepa.embed.pipeline import embed_files

    try:
        outcome = embed_files(
            load_encoder(ckpt, encoder, heads=heads),
            paths,
            out,
            hints=hints_of(sampling_rate_hz, leads, unit, gain_per_mv),
            windows=windows,
            tokens=tokens,
            layer=layer,
            precision=precision,
            batch_size=batch_size,
            device=place.device,
            workers=place.workers,
            overwrite=overwrite,
            source=ckpt,
            engine=place.engine,
        )
    except KeyboardInterrupt:
        say_stopped(out)
    say_outcome(outcome, "embedded")
