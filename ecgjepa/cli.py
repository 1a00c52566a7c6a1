"""The command `ecgjepa`: one function per stage. What it needs is imported inside, so that `--help` is quick."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

import ecgjepa
from ecgjepa.config import load_config
from ecgjepa.flags import Stages, config_flags

DATASETS = ("ptbxl", "shaoxing", "code15", "cpsc", "folder")  # `ecgjepa.data.datasets.DATASETS`, without importing it
LABELLED = ("ptbxl", "cpsc")  # those with a test split
DEFAULT_LEVELS = {"ptbxl": "superdiagnostic", "cpsc": "diagnosis"}


@click.group(cls=Stages, context_settings={"token_normalize_func": lambda name: name.replace("_", "-")})
@click.version_option(ecgjepa.__version__, prog_name="ecgjepa")
@click.option("--traceback", is_flag=True, help="Show where in the code an error arose.")
def main(traceback: bool) -> None:
    """Representations of the 12-lead ECG learned without labels: from raw files to a citable evaluation.

    Every stage reads files and writes files. Flags may be written with - or _.
    """


@main.command()
@click.option("--dataset", required=True, type=click.Choice(DATASETS), help="Layout of the folder.")
@click.option("--data-dir", required=True, type=click.Path(path_type=Path), help="The folder, as published.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to write.")
@click.option(
    "--resampling",
    type=click.Choice(["polyphase", "fft"]),
    default="polyphase",
    show_default=True,
    help="fft: as the published weights were trained.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; all processors if not given.")
@click.option("--overwrite", is_flag=True, help="Replace the store that is there.")
def prepare(dataset: str, data_dir: Path, out: Path, resampling: Any, workers: int | None, overwrite: bool) -> None:
    """Raw files -> store: one array, one table, and an account of every record."""
    from ecgjepa.data.prepare import prepare
    from ecgjepa.signal import SignalContract

    contract = SignalContract(resampling=resampling)
    store = prepare(dataset, data_dir, out, contract=contract, workers=workers, overwrite=overwrite)
    click.echo(f"{out}: {describe_account(store.info['account'])}")


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="TOML file; flags lie over it.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; a new one below runs/ if not given.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; begin one if none is there.")
@click.option("--data-dir-shao", type=click.Path(path_type=Path), help="Raw Chapman-Shaoxing-Ningbo folder.")
@click.option("--data-dir-code15", type=click.Path(path_type=Path), help="Raw CODE-15% folder.")
@click.option("--data-dir-ptbxl", type=click.Path(path_type=Path), help="Raw PTB-XL folder.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where raw folders are prepared to.")
@config_flags
def pretrain(
    config_file: Path | None,
    out: Path | None,
    resume: bool,
    data_dir_shao: Path | None,
    data_dir_code15: Path | None,
    data_dir_ptbxl: Path | None,
    cache_dir: Path | None,
    **flags: Any,
) -> None:
    """Stores -> run folder with an encoder that was trained without labels."""
    overrides: dict[str, Any] = {
        key.replace("__", "."): value for key, value in flags.items() if value not in (None, ())
    }
    if resume and out is not None and config_file is None and (out / "config.toml").is_file():
        config_file = out / "config.toml"
    if resume and out is None:
        raise click.UsageError("--resume needs --out, the run to go on with")
    config = load_config(config_file, overrides)  # a wrong setting is found before an hour of preparing
    if out is not None and (out / "run.json").is_file() and not resume:
        raise FileExistsError(f"{out} holds a run already; --resume goes on with it")
    from ecgjepa.data.prepare import cached_store
    from ecgjepa.train.pretrain import new_run_path, pretrain

    raw = {"shaoxing": data_dir_shao, "code15": data_dir_code15, "ptbxl": data_dir_ptbxl}
    prepared = [cached_store(name, folder, cache_dir).path for name, folder in raw.items() if folder is not None]
    if prepared:
        overrides["data.stores"] = [*config.data.stores, *map(str, prepared)]
        config = load_config(config_file, overrides)
    outcome = pretrain(config, out or new_run_path(), resume=resume, command=command_line())
    if outcome.stopped_by is not None:
        click.echo(f"{outcome.path}: stopped after step {outcome.step} of {outcome.steps}; --resume goes on", err=True)
        sys.exit(128 + outcome.stopped_by)
    click.echo(f"{outcome.path}: {outcome.steps} steps done, model in {outcome.path / 'model'}")


@main.command()
@click.option("--ckpt", "--ckpt-dir", required=True, type=click.Path(path_type=Path), help="Run folder or .pth file.")
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
@click.option("--encoder", type=click.Choice(["teacher", "student"]), default="teacher", show_default=True)
@click.option("--data-percentage", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of label fraction, resamples and paper's layer.")
@click.option("--resamples", type=click.IntRange(1), default=1000, show_default=True, help="Bootstrap over patients.")
@click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Records embedded at once.")
@click.option("--device", default="auto", show_default=True)
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where a raw folder is prepared to.")
@click.option("--out", type=click.Path(path_type=Path), help="Result folder; below the run's probes/ if not given.")
@click.option("--overwrite", is_flag=True, help="Replace the result that is there.")
def probe(
    ckpt: Path,
    store: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    task: Any,
    level: str | None,
    protocol: Any,
    encoder: Any,
    data_percentage: float,
    seed: int,
    resamples: int,
    batch_size: int,
    device: str,
    cache_dir: Path | None,
    out: Path | None,
    overwrite: bool,
) -> None:
    """Frozen encoder + labels -> AUC and F1 with intervals, beside the same encoder with random weights."""
    if (store is None) == (data_dir is None) or (data_dir is None) != (dataset is None):
        raise click.UsageError("give either --store, or --dataset and --data-dir")
    if out is not None:
        refuse_existing(out, overwrite)
    from ecgjepa.checkpoint import choose_device, load_encoder, random_twin, read_notes
    from ecgjepa.data.prepare import cached_store
    from ecgjepa.data.store import Store
    from ecgjepa.evaluate.probe import run_probe
    from ecgjepa.evaluate.result import folder_name, format_table

    processor = choose_device(device)
    pretrained = load_encoder(ckpt, encoder)
    if store is not None:
        labelled = Store.open(store)
    else:
        labelled = cached_store(str(dataset), str(data_dir), cache_dir, contract=pretrained.contract)
    level = level or DEFAULT_LEVELS.get(labelled.info["dataset"])
    if level is None:
        raise click.UsageError(f"--level is needed: this store has {sorted(labelled.info['levels']) or 'no labels'}")
    encoder_name = "published" if ckpt.is_file() else encoder
    name = folder_name(labelled.info["dataset"], level, task, protocol, encoder_name, data_percentage, seed)
    folder = out or (ckpt / "probes" if ckpt.is_dir() else Path("probes") / ckpt.stem) / name
    refuse_existing(folder, overwrite)
    result = run_probe(
        labelled,
        pretrained,
        random_twin(pretrained, read_notes(ckpt).get("seed", seed)),
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


def refuse_existing(folder: Path, overwrite: bool) -> None:
    """Found out before hours of work, not after."""
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; --overwrite replaces it")


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["ecgjepa", *sys.argv[1:]])


def describe_account(account: dict[str, Any]) -> str:
    """One line per part of a store's account."""
    lines = [f"{account['kept']} of {account['candidates']} records kept"]
    for part in ("changed", "refused", "flags"):
        if account[part]:
            lines.append(f"  {part}: " + ", ".join(f"{reason} {count}" for reason, count in account[part].items()))
    return "\n".join(lines)
