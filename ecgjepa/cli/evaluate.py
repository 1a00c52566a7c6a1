"""Encoders x tasks x read-outs -> one table and one page."""

import sys
from pathlib import Path
from typing import Any

import click

from ecgjepa.cli.flags import HEADS
from ecgjepa.cli.main import command_line, main

# Some cells could not be evaluated; the others stand in the table.
SOME_FAILED = 3


class NamedSource(click.ParamType):
    """`runs/a` or `name=runs/a`, as (name or None, source)."""

    name = "[NAME=]CKPT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str | None, str]:
        name, equals, source = str(value).partition("=")
        if not equals or Path(str(value)).exists():
            return None, str(value)
        if not name.strip() or not source.strip() or "/" in name:
            return self.fail(f"{value!r}, expected an encoder, or a name and an encoder: ours=runs/a", param, ctx)
        return name.strip(), source.strip()


@main.command()
@click.option(
    "--ckpt", "sources", type=NamedSource(), multiple=True, required=True, help="Encoder as of probe; repeatable."
)
@click.option(
    "--store",
    "stores",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Labelled store; repeatable.",
)
@click.option("--suite", "suites", help="Data sets to evaluate on, of those stores: ptbxl,cpsc.  [all of them]")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--task", "tasks", multiple=True, help="Level, or level/kind, alone; repeatable.")
@click.option("--protocol", type=click.Choice(["strict", "paper"]), default="strict", show_default=True)
@click.option(
    "--readout",
    "readouts",
    multiple=True,
    type=click.Choice(["linear", "knn", "nearest-mean", "attention"]),
    help="Of frozen features; repeatable, the first for conditions.  [linear, knn, nearest-mean]",
)
@click.option(
    "--finetune", is_flag=True, help="Also fine-tuned, and trained from scratch on the labels, on the primary task."
)
@click.option("--epochs", type=click.IntRange(1), help="Of fine-tuning; thrice from scratch.  [10]")
@click.option(
    "--finetune-lr", type=click.FloatRange(0, min_open=True), help="Peak learning rate of fine-tuning.  [3e-4]"
)
@click.option("--scratch-lr", type=click.FloatRange(0, min_open=True), help="The same from scratch.  [5e-4]")
@click.option(
    "--fraction", "fractions", multiple=True, type=float, help="Part of the labels to learn from; repeatable."
)
@click.option("--fraction-seeds", type=click.IntRange(1), default=3, show_default=True, help="Draws of each part.")
@click.option("--leads", "lead_sets", multiple=True, help="Only these leads are there: II,V1; repeatable.")
@click.option("--snr-db", "snr_db", multiple=True, type=float, help="Noise over the test records; repeatable.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Of random weights and of training."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap over patients.")
@click.option(
    "--min-positives",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Of a class that counts in the second mean.",
)
@click.option("--encoder", type=click.Choice(["teacher", "student"]), help="Network, of runs that hold both.")
@HEADS
@click.option("--contract", type=click.Path(path_type=Path), help="JSON with the signals of an ONNX file of others.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Records embedded at once.")
@click.option("--device", default="auto", show_default=True)
@click.option("--allow-overlap", is_flag=True, help="Also on test records that were seen in pretraining.")
@click.option("--overwrite", is_flag=True, help="Begin again in the suite's folder that is there.")
def evaluate(
    sources: tuple[tuple[str | None, str], ...],
    stores: tuple[Path, ...],
    suites: str | None,
    out: Path,
    tasks: tuple[str, ...],
    protocol: Any,
    readouts: tuple[Any, ...],
    finetune: bool,
    epochs: int | None,
    finetune_lr: float | None,
    scratch_lr: float | None,
    fractions: tuple[float, ...],
    fraction_seeds: int,
    lead_sets: tuple[str, ...],
    snr_db: tuple[float, ...],
    seeds: int,
    seed: int,
    resamples: int,
    min_positives: int,
    encoder: Any,
    heads: int,
    contract: Path | None,
    batch_size: int,
    device: str,
    allow_overlap: bool,
    overwrite: bool,
) -> None:
    """Encoders -> all tasks of the stores' data sets: table.csv, table.tex and report.html.

    The same command goes on where it stopped, and more read-outs or conditions are added to what is there. Exit status
    3: some cells could not be evaluated; the table and the page say which and why.
    """
    from dataclasses import replace

    from ecgjepa.checkpoint import choose_device
    from ecgjepa.data.store import Store
    from ecgjepa.embed.inputs import split_leads
    from ecgjepa.evaluate.encoders import open_encoder
    from ecgjepa.suite.overview import format_overview, write_tables
    from ecgjepa.suite.page import write_page
    from ecgjepa.suite.results import read_suite
    from ecgjepa.suite.run import PARTS, Place, run_suite
    from ecgjepa.suite.settings import suite_settings

    settings = suite_settings(
        protocol=protocol,
        tasks=tasks,
        readouts=readouts or None,
        tuned=("finetuned", "scratch") if finetune else (),
        epochs=epochs,
        finetune_lr=finetune_lr,
        scratch_lr=scratch_lr,
        label_fractions=fractions,
        fraction_seeds=fraction_seeds,
        lead_sets=tuple(split_leads(each) for each in lead_sets),
        snr_db=snr_db,
        seeds=seeds,
        seed=seed,
        resamples=resamples,
        min_positives=min_positives,
    )
    opened = [Store.open(path) for path in stores]
    if suites is not None:
        wanted = [name.strip() for name in suites.split(",")]
        if missing := [name for name in wanted if name not in [store.info["dataset"] for store in opened]]:
            raise click.UsageError(f"--suite {missing[0]}: no --store of that data set")
        opened = [store for store in opened if store.info["dataset"] in wanted]
    encoders = []
    for name, source in sources:
        named = open_encoder(source, encoder, heads, contract if source.endswith(".onnx") else None)
        encoders.append(named if name is None else replace(named, name=name))
    if out.exists() and (foreign := sorted({path.name for path in out.iterdir()} - PARTS)):
        raise FileExistsError(f"{out} holds {foreign[0]}, which is no part of a suite; choose another --out")
    place = Place(
        out, choose_device(device), batch_size, command_line(), allow_overlap=allow_overlap, overwrite=overwrite
    )
    failures = run_suite(opened, encoders, settings, place)
    suite = read_suite(out)
    write_tables(suite)
    page = write_page(suite, {str(store.info["dataset"]): store.path for store in opened})
    click.echo("\n" + format_overview(suite))
    click.echo(f"\n{page}")
    if failures:
        sys.exit(SOME_FAILED)
