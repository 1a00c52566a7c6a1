"""Files -> what a classifier says of them."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.files_to_table import choose_place, hints_of, say_outcome, say_stopped, table_options
from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import command_line, main


@main.command()
@click.argument("model")
@click.argument("paths", nargs=-1, required=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The .csv or .parquet file to write.")
@click.option(
    "--ckpt", help="The encoder, where MODEL is a head alone: what `ecgjepa probe` takes, or hf://OWNER/NAME."
)
@click.option("--which", type=click.Choice(["best", "last"]), help="Of a run; best, else last, if not given.")
@click.option(
    "--windows",
    type=click.Choice(["mean", "first", "all"]),
    default="mean",
    show_default=True,
    help="Of a longer recording: one row with the mean over its windows, or with the first; or a row for each.",
)
@click.option("--embedding", is_flag=True, help="Keep the features that the head reads; in Parquet only.")
@ENCODER
@HEADS
@table_options
def predict(
    model: str,
    paths: tuple[str, ...],
    out: Path,
    ckpt: str | None,
    which: Any,
    windows: Any,
    embedding: bool,
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
    """ECGs of any format, leads and length -> probabilities and decisions. For research, not for diagnosis.

    MODEL is a run of `ecgjepa finetune`, a classifier's folder, or with --ckpt a head.safetensors or a result folder
    that holds one. PATHS are those of `ecgjepa embed`. The same command again goes on where it stopped. Exit status 3:
    some inputs gave no prediction; they are listed in OUT.failed.csv. OUT.model.json says what made the table.
    """
    from ecgjepa.predict.files import check_prediction_file

    check_prediction_file(out, overwrite, embedding)
    place = choose_place(device, workers, threads, engine, ray_address)
    from ecgjepa.predict.files import predict_files
    from ecgjepa.predict.model import find_classifier

    try:
        outcome = predict_files(
            find_classifier(model, ckpt=ckpt, part=which, which=encoder, heads=heads),
            paths,
            out,
            hints=hints_of(sampling_rate_hz, leads, unit, gain_per_mv),
            windows=windows,
            embedding=embedding,
            precision=precision,
            batch_size=batch_size,
            device=place.device,
            workers=place.workers,
            overwrite=overwrite,
            source=model,
            command=command_line(),
            engine=place.engine,
        )
    except KeyboardInterrupt:
        say_stopped(out)
    say_outcome(outcome, "predicted")
