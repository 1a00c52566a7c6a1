"""Files -> embeddings."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.engine import choose_engine, engine_options
from ecgjepa.cli.flags import ENCODER, HEADS, hint_options
from ecgjepa.cli.main import main

# Some inputs gave no embedding; those that did are in the table.
SOME_FAILED = 3
STOPPED = 130
SHOWN = 10


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
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of the matrix products; see docs/embedding.md for what each costs.",
)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Windows that run at once.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda; on Ray auto is cpu.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that read ahead; on a CPU none, else one per core. On Ray: tasks at once, if not all it can.",
)
@click.option(
    "--threads", type=click.IntRange(1), help="Of the matrix products on a CPU; on a busy machine take fewer."
)
@engine_options
@hint_options
@click.option("--overwrite", is_flag=True, help="Replace the table that is there.")
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
    if engine == "ray" and threads not in (None, 1):
        raise click.UsageError("--threads goes with --engine local: on Ray every task has one thread")
    if engine == "ray" and device not in ("auto", "cpu", "cuda"):
        raise click.UsageError(f"--device {device}: on Ray expected cpu or cuda")
    gpus = 1 if device == "cuda" else 0
    elsewhere = choose_engine(engine, ray_address, workers or None, gpus=gpus)
    import torch

    from ecgjepa.checkpoint import choose_device, load_encoder
    from ecgjepa.data.formats.hints import Hints
    from ecgjepa.embed.inputs import split_leads
    from ecgjepa.embed.pipeline import embed_files

    if threads is not None:
        torch.set_num_threads(threads)
    if elsewhere is not None:
        processor, workers = torch.device("cuda" if gpus else "cpu"), workers or os.cpu_count() or 1
    else:
        processor = choose_device(device)
    if workers is None:
        workers = 0 if processor.type == "cpu" else min(os.cpu_count() or 1, 16)
    try:
        outcome = embed_files(
            load_encoder(ckpt, encoder, heads=heads),
            paths,
            out,
            hints=Hints(sampling_rate_hz, split_leads(leads) if leads else None, unit, gain_per_mv),
            windows=windows,
            tokens=tokens,
            layer=layer,
            precision=precision,
            batch_size=batch_size,
            device=processor,
            workers=workers,
            overwrite=overwrite,
            source=ckpt,
            engine=elsewhere,
        )
    except KeyboardInterrupt:
        click.echo(f"\nstopped; the same command goes on from {out}.parts", err=True)
        sys.exit(STOPPED)
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
        click.echo(f"nothing could be embedded, {out} is not written", err=True)
    if broken or not outcome.rows:
        sys.exit(SOME_FAILED if outcome.rows else 1)
