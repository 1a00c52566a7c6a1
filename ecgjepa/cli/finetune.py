"""Encoder + labels -> a classifier on disk."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import command_line, main, refuse_existing
from ecgjepa.cli.questions import check_store_options, choose_question, open_labelled, question_options, store_options

if TYPE_CHECKING:
    from ecgjepa.finetune.building import Asked

# Spelled out, so that `--help` needs no torch; a test holds them equal to those of the settings.
OPERATIONS = ("shift", "cutout", "drop-samples", "flip", "erase-lead", "sine", "partial-sine", "partial-noise")
RANDOM = "random"


@main.command()
@click.option(
    "--ckpt", "--ckpt-dir", "--model-name", required=True,
    help="Run or model folder, .pth file, ejepa_random, ejepa_multiblock, hf://OWNER/NAME; random: from scratch.",
)  # fmt: skip
@store_options
@click.option(
    "--task", type=click.Choice(["multilabel", "multiclass", "regression", "segmentation"]), help="[multilabel]"
)
@question_options
@click.option("--target", help="Of a regression, as --level: age, heart_rate, or a column of --labels.")
@click.option(
    "--annotations", type=click.Path(path_type=Path), help="Of a segmentation: the folder of .i, .ii, ...  [--data-dir]"
)
@click.option(
    "--protocol",
    type=click.Choice(["strict", "paper"]),
    default="strict",
    show_default=True,
    help="strict: epoch and thresholds chosen on validation, test read once. paper: as published.",
)
@click.option(
    "--mode",
    type=click.Choice(["full", "two-stage", "frozen", "scratch"]),
    help="All; head then all; head alone; all from random weights.  [full]",
)
@click.option(
    "--size", type=click.Choice(["tiny", "small", "base"]), help="Of the encoder, where --ckpt is random.  [base]"
)
@click.option("--pooling", type=click.Choice(["mean", "attention"]), help="Of the encoder's tokens.  [mean]")
@click.option(
    "--filter",
    "filter_",
    type=click.Choice(["none", "butterworth"]),
    help="0.67-40 Hz; kept in the contract.  [the encoder's; paper: butterworth]",
)
@click.option("--augment", type=click.Choice(OPERATIONS), multiple=True, help="Draw from these.  [all but flip]")
@click.option("--no-augment", is_flag=True, help="Signals as they are.")
@click.option("--class-weights", type=click.Choice(["none", "balanced"]), help="By how rare they are.  [none]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="Of training.  [fp32]")
@click.option("--epochs", type=click.IntRange(1), help="[20; paper: 10]")
@click.option("--head-epochs", type=click.IntRange(1), help="Of the first of two stages.  [3]")
@click.option("--batch-size", type=click.IntRange(1), help="[32; paper: 16]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Peak.  [1e-4; paper: 1e-4 * batch size / 256]")
@click.option("--layer-decay", type=click.FloatRange(0, 1, min_open=True), help="Rate of a block over the next.")
@click.option("--weight-decay", "--wd", type=click.FloatRange(0))
@click.option("--warmup-epochs", "--warmup", type=click.FloatRange(0))
@click.option("--drop-path", type=click.FloatRange(0, 1, max_open=True))
@click.option("--clip", type=click.FloatRange(0, min_open=True), help="Largest norm of the gradient.")
@click.option("--leads", help="Only these exist: II,V1.")
@click.option("--data-percentage", type=click.FloatRange(0, 1, min_open=True), help="Part of the training records.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap over patients.")
@click.option("--device", default="auto", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Run folder; below finetunes/ if not given.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder; begin one if none is there.")
@click.option("--overwrite", is_flag=True, help="Replace the run that is there.")
@click.option("--allow-overlap", is_flag=True, help="Also on test records that were seen in pretraining.")
@ENCODER
@HEADS
def finetune(
    ckpt: str,
    store: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    cache_dir: Path | None,
    task: str | None,
    level: str | None,
    labels: Path | None,
    record_column: str,
    target: str | None,
    annotations: Path | None,
    size: str | None,
    protocol: Any,
    filter_: str | None,
    augment: tuple[str, ...],
    no_augment: bool,
    leads: str | None,
    data_percentage: float | None,
    resamples: int,
    device: str,
    out: Path | None,
    resume: bool,
    overwrite: bool,
    allow_overlap: bool,
    encoder: Any,
    heads: int,
    **chosen: Any,
) -> None:
    """Encoder + labels -> classifier, predictions and scores, trained through."""
    check_store_options(store, dataset, data_dir)
    if augment and no_augment:
        raise click.UsageError("give either --augment or --no-augment")
    if resume and overwrite:
        raise click.UsageError("give either --resume or --overwrite")
    if ckpt == RANDOM and chosen["mode"] not in (None, "scratch"):
        raise click.UsageError(f"--ckpt random is trained from scratch, not with --mode {chosen['mode']}")
    if target is not None and task != "regression":
        raise click.UsageError("--target goes with --task regression; classes have a --level")
    if task == "regression" and target is None and level is None:
        raise click.UsageError("--target is needed: age, heart_rate, or a column of --labels")
    if size is not None and ckpt != RANDOM:
        raise click.UsageError("--size goes with --ckpt random; other encoders have their own")
    if out is not None and not resume:
        refuse_existing(out, overwrite)
    from ecgjepa.checkpoint import choose_device, load_model
    from ecgjepa.embed.inputs import split_leads
    from ecgjepa.evaluate.questions import read_question
    from ecgjepa.evaluate.segmentation_targets import read_segmentation
    from ecgjepa.finetune.finetune import finetune
    from ecgjepa.finetune.result import format_result
    from ecgjepa.finetune.scratch import scratch_model
    from ecgjepa.finetune.settings import settings_of
    from ecgjepa.signal import DEFAULT_CONTRACT

    processor = choose_device(device)
    if ckpt == RANDOM:
        labelled = open_labelled(store, dataset, data_dir, cache_dir, DEFAULT_CONTRACT)
        model = scratch_model(size or "base", labelled.contract)
    else:
        model = load_model(ckpt, encoder, heads=heads)
        labelled = open_labelled(store, dataset, data_dir, cache_dir, model.encoder.contract)
    if task == "segmentation":
        if (waves := annotations or data_dir) is None:
            raise click.UsageError("--annotations is needed: the folder with the annotation files of the records")
        level = level or "waves"
        asked: Asked = read_segmentation(labelled, waves, seed=chosen["seed"])
    else:
        question = choose_question(labelled, task, target or level, labels, record_column)
        level, task = question.level, question.kind
        asked = read_question(labelled, question, split_seed=chosen["seed"])
    if ckpt == RANDOM:
        chosen["mode"] = "scratch"
    if augment or no_augment:
        chosen["augmentation"] = {"operations": augment}
    settings = settings_of(
        protocol,
        task=task,
        level=level,
        filter=filter_,
        leads=None if leads is None else split_leads(leads),
        label_fraction=data_percentage,
        **chosen,
    )
    place = Path(ckpt)
    name = "-".join(
        [labelled.info["dataset"], settings.level, settings.task, protocol, settings.mode, place.stem]
        + [f"seed{settings.seed}"] * (settings.seed != 0)
    )
    folder = out or Path("finetunes") / name
    published = model.file.suffix == ".pth"
    outcome = finetune(
        labelled,
        model,
        asked,
        settings,
        folder,
        resume=resume,
        overwrite=overwrite,
        device=processor,
        encoder_name=RANDOM if settings.mode == "scratch" else "published" if published else None,
        checkpoint=RANDOM if ckpt == RANDOM else place.resolve().name,
        command=command_line(),
        allow_overlap=allow_overlap,
        resamples=resamples,
    )
    if outcome.summary is None:
        click.echo(f"{folder}: stopped after step {outcome.step} of {outcome.steps}; --resume goes on", err=True)
        sys.exit(128 + int(outcome.stopped_by or 0))
    click.echo(format_result(outcome.summary))
    click.echo(f"\n{folder}")
