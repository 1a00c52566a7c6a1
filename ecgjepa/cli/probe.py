"""Frozen encoder + labels -> scores."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import command_line, main, refuse_existing
from ecgjepa.cli.questions import check_store_options, choose_question, open_labelled, question_options, store_options


@main.command()
@click.option(
    "--ckpt",
    "--ckpt-dir",
    required=True,
    help="Run or model folder, .pth file, hf://OWNER/NAME, an .onnx file, or package.module:function.",
)
@click.option("--contract", type=click.Path(path_type=Path), help="JSON with the signals of an ONNX file of others.")
@store_options
@click.option("--task", type=click.Choice(["multilabel", "multiclass", "regression"]), help="[multilabel]")
@question_options
@click.option(
    "--protocol",
    type=click.Choice(["strict", "paper"]),
    default="strict",
    show_default=True,
    help="strict: selection on validation, test read once. paper: as published.",
)
@click.option(
    "--readout",
    type=click.Choice(["linear", "knn", "nearest-mean", "attention"]),
    default="linear",
    show_default=True,
    help="What learns on the frozen features; see docs/readouts.md.",
)
@click.option(
    "--pooling",
    type=click.Choice(["mean", "mean_std"]),
    default="mean",
    show_default=True,
    help="Of the tokens; mean-std: mean and standard deviation, twice as wide.",
)
@click.option("--leads", help="Only these leads are there: II,V1")
@click.option("--snr-db", type=float, help="Noise over the test records, signal over noise in decibels.")
@ENCODER
@HEADS
@click.option("--data-percentage", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of whatever is drawn, resamples among it.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap over patients.")
@click.option(
    "--min-positives",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Classes with fewer positive test records are marked, and left out of a second mean.",
)
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Records embedded at once.")
@click.option("--device", default="auto", show_default=True)
@click.option("--allow-overlap", is_flag=True, help="Also on test records that were seen in pretraining.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder; below the run's probes/ if not given.")
@click.option("--overwrite", is_flag=True, help="Replace the result that is there.")
def probe(
    ckpt: str,
    contract: Path | None,
    store: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    cache_dir: Path | None,
    task: str | None,
    level: str | None,
    labels: Path | None,
    record_column: str,
    protocol: Any,
    readout: Any,
    pooling: Any,
    leads: str | None,
    snr_db: float | None,
    encoder: Any,
    heads: int,
    data_percentage: float,
    seed: int,
    resamples: int,
    min_positives: int,
    batch_size: int,
    device: str,
    allow_overlap: bool,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Frozen encoder + labels -> AUC and more with intervals, beside the same encoder with random weights."""
    check_store_options(store, dataset, data_dir)
    if out is not None:
        refuse_existing(out, overwrite)
    from ecgjepa.checkpoint import choose_device, find_seen
    from ecgjepa.data.seen import Seen
    from ecgjepa.embed.inputs import split_leads
    from ecgjepa.evaluate.encoders import open_encoder, random_twin_of
    from ecgjepa.evaluate.feature_cache import FeatureCache
    from ecgjepa.evaluate.probe import Conditions, run_probe
    from ecgjepa.evaluate.questions import read_question
    from ecgjepa.evaluate.result import folder_name
    from ecgjepa.evaluate.result_table import format_table

    processor = choose_device(device)
    named = open_encoder(ckpt, encoder, heads, contract)
    labelled = open_labelled(store, dataset, data_dir, cache_dir, named.encoder.contract)
    question = choose_question(labelled, task, level, labels, record_column)
    conditions = Conditions(readout, pooling, data_percentage, split_leads(leads) if leads else None, snr_db, seed)
    is_published = named.loaded is not None and named.loaded.file.suffix == ".pth"
    encoder_name = "published" if is_published else named.network
    name = folder_name(
        dataset=labelled.info["dataset"],
        level=question.level,
        task=question.kind,
        protocol=protocol,
        encoder=encoder_name,
        readout=readout,
        pooling=pooling,
        leads=conditions.leads,
        snr_db=snr_db,
        label_fraction=data_percentage,
        seed=seed,
    )
    place = Path(ckpt)
    folder = out or (place / "probes" if place.is_dir() else Path("probes") / named.name) / name
    refuse_existing(folder, overwrite)
    seen = None if named.loaded is None else find_seen(named.loaded)
    began_with = seed if named.loaded is None else int(named.loaded.notes.get("seed", seed))
    result = run_probe(
        labelled,
        named.encoder,
        random_twin_of(named.encoder, began_with),
        level=question.level,
        task="multiclass" if question.kind == "multiclass" else "multilabel",
        targets=read_question(labelled, question),
        protocol=protocol,
        conditions=conditions,
        encoder_name=encoder_name,
        resamples=resamples,
        min_positives=min_positives,
        cache=FeatureCache(None, batch_size, processor),
        command=command_line(),
        checkpoint=place.resolve().name,
        seen=None if seen is None else Seen.read(seen),
        allow_overlap=allow_overlap,
    )
    result.save(folder, overwrite=overwrite)
    click.echo(format_table(result.summary))
    click.echo(f"\n{folder}")
