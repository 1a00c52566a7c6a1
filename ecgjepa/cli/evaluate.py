"""Run folder -> scores -> report, and all of it as a demo."""

from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.flags import ENCODER, HEADS
from ecgjepa.cli.main import command_line, main, refuse_existing

LABELLED = ("ptbxl", "cpsc")  # those with a test split
DEFAULT_LEVELS = {"ptbxl": "superdiagnostic", "cpsc": "diagnosis"}


@main.command()
@click.option("--ckpt", "--ckpt-dir", required=True, help="Run or model folder, .pth file, or hf://OWNER/NAME.")
@click.option("--store", type=click.Path(path_type=Path), help="A prepared store with labels.")
@click.option("--dataset", type=click.Choice(LABELLED), help="Layout of --data-dir.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Raw folder; prepared once, in the cache.")
@click.option("--task", type=click.Choice(["multilabel", "multiclass"]), default="multilabel", show_default=True)
@click.option("--level", help="Label level; superdiagnostic for PTB-XL if not given.")
@click.option(
    "--protocol",
    type=click.Choice(["strict", "paper"]),
    default="strict",
    show_default=True,
    help="strict: selection on validation, test read once. paper: as published.",
)
@ENCODER
@HEADS
@click.option("--data-percentage", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of label fraction, resamples and paper's layer.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap over patients.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Records embedded at once.")
@click.option("--device", default="auto", show_default=True)
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where a raw folder is prepared to.")
@click.option("--allow-overlap", is_flag=True, help="Also on test records that were seen in pretraining.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder; below the run's probes/ if not given.")
@click.option("--overwrite", is_flag=True, help="Replace the result that is there.")
def probe(
    ckpt: str,
    store: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    task: Any,
    level: str | None,
    protocol: Any,
    encoder: Any,
    heads: int,
    data_percentage: float,
    seed: int,
    resamples: int,
    batch_size: int,
    device: str,
    cache_dir: Path | None,
    allow_overlap: bool,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Frozen encoder + labels -> AUC and F1 with intervals, beside the same encoder with random weights."""
    if (store is None) == (data_dir is None) or (data_dir is None) != (dataset is None):
        raise click.UsageError("give either --store, or --dataset and --data-dir")
    if out is not None:
        refuse_existing(out, overwrite)
    from ecgjepa.checkpoint import choose_device, find_seen, load_model, random_twin
    from ecgjepa.data.prepare import cached_store
    from ecgjepa.data.seen import Seen
    from ecgjepa.data.store import Store
    from ecgjepa.evaluate.probe import run_probe
    from ecgjepa.evaluate.result import folder_name, format_table

    processor = choose_device(device)
    model = load_model(ckpt, encoder, heads=heads)
    pretrained, place = model.encoder, Path(ckpt)
    if store is not None:
        labelled = Store.open(store)
    else:
        labelled = cached_store(str(dataset), str(data_dir), cache_dir, contract=pretrained.contract)
    levels = list(labelled.info["levels"])
    level = level or DEFAULT_LEVELS.get(labelled.info["dataset"]) or (levels[0] if len(levels) == 1 else None)
    if level is None:
        raise click.UsageError(f"--level is needed: this store has {sorted(labelled.info['levels']) or 'no labels'}")
    encoder_name = "published" if model.file.suffix == ".pth" else model.network
    name = folder_name(labelled.info["dataset"], level, task, protocol, encoder_name, data_percentage, seed)
    folder = out or (place / "probes" if place.is_dir() else Path("probes") / place.stem) / name
    refuse_existing(folder, overwrite)
    seen = find_seen(model)
    result = run_probe(
        labelled,
        pretrained,
        random_twin(pretrained, model.notes.get("seed", seed)),
        level=level,
        task=task,
        protocol=protocol,
        encoder_name=encoder_name,
        seed=seed,
        label_fraction=data_percentage,
        resamples=resamples,
        batch_size=batch_size,
        device=processor,
        command=command_line(),
        checkpoint=place.resolve().name,
        seen=None if seen is None else Seen.read(seen),
        allow_overlap=allow_overlap,
    )
    result.save(folder, overwrite=overwrite)
    click.echo(format_table(result))
    click.echo(f"\n{folder}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="HTML file; report.html in the run folder if not given.")
@click.option("--overwrite", is_flag=True, help="Replace another file than the run's own report.")
def report(run: Path, out: Path | None, overwrite: bool) -> None:
    """Run folder -> one self-contained HTML page."""
    from ecgjepa.evaluate.report import write_report

    click.echo(write_report(run, out, overwrite))


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--overwrite", is_flag=True, help="Replace the demo that is there.")
def demo(out: Path, seed: int, overwrite: bool) -> None:
    """The whole way on synthetic ECGs: files, stores, pretraining, evaluation, report."""
    from ecgjepa.demo import run_demo

    run_demo(out, seed=seed, overwrite=overwrite, command=command_line())
