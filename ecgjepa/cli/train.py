"""Raw files -> store -> run folder."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ecgjepa.cli.engine import choose_engine, engine_options
from ecgjepa.cli.flags import config_flags
from ecgjepa.cli.main import command_line, main
from ecgjepa.cli.own import choose_listing, own_data_options, tell_ignored
from ecgjepa.cli.rehearsal import check_rehearsal, rehearsal_options, rehearse
from ecgjepa.config import SIZES, load_config

if TYPE_CHECKING:
    from ecgjepa.data.store import Store

DATASETS = ("ptbxl", "shaoxing", "code15", "cpsc", "ludb", "folder")  # as in `listings.datasets`, without importing it

COLLAPSED = 3  # exit status of a run that --stop-on-collapse ended

STALE_WORDS = {"changed": "files changed", "absent": "files absent", "not_listed": "records no longer listed"}


@main.command()
@click.option("--dataset", required=True, type=click.Choice([*DATASETS, "table"]), help="Layout of the folder.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The folder; of a table, its own if not given.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The store to write.")
@click.option(
    "--resampling",
    type=click.Choice(["polyphase", "fft"]),
    default="polyphase",
    show_default=True,
    help="fft: as the published weights were trained.",
)
@click.option("--workers", type=click.IntRange(1), help="Processes; all processors if not given.")
@engine_options
@click.option("--overwrite", is_flag=True, help="Prepare everything anew, and replace the store that is there.")
@click.option("--name", help="What the data set is called, for --weight and --gain; of one's own the store's folder.")
@own_data_options
def prepare(
    dataset: str,
    data_dir: Path | None,
    out: Path,
    resampling: Any,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    overwrite: bool,
    name: str | None,
    **own: Any,
) -> None:
    """Raw files -> store: one array, one table, and an account of every record.

    The same command again goes on where it stopped, or adds what is new; the rows that are there stay as they are.
    """
    chosen = choose_engine(engine, ray_address, workers)
    from ecgjepa.data.prepare import prepare
    from ecgjepa.data.preparing.engines import local
    from ecgjepa.signal import SignalContract

    contract = SignalContract(resampling=resampling)
    listing, folder = choose_listing(dataset, data_dir, own)
    store = prepare(
        listing,
        folder,
        out,
        name=name or (None if isinstance(listing, str) else out.resolve().name),
        contract=contract,
        workers=workers,
        overwrite=overwrite,
        engine=chosen or local,
    )
    if not isinstance(listing, str):
        tell_ignored(listing)
    click.echo(f"{out}: {describe_account(store.info['account'])}")
    click.echo(describe_labels(store))
    if store.info["account"]["refused"]:
        click.echo(f"  refused records by name: {out / 'refused.csv'}")
    if stale := store.info.get("stale"):
        found = ", ".join(f"{count} {STALE_WORDS[what]}" for what, count in stale.items())
        click.echo(f"  since they were prepared: {found}; rows are kept as they were: {out / 'stale.csv'}", err=True)


@main.command()
@click.option("--config", "config_file", help="TOML file, or the name of a recipe; flags lie over it.")
@click.option("--size", type=click.Choice(list(SIZES)), help="Named size of the model.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; a new one below runs/ if not given.")
@click.option("--resume", is_flag=True, help="Go on with the run in --out; begin one if none is there.")
@click.option("--data-dir-shao", type=click.Path(path_type=Path), help="Raw Chapman-Shaoxing-Ningbo folder.")
@click.option("--data-dir-code15", type=click.Path(path_type=Path), help="Raw CODE-15% folder.")
@click.option("--data-dir-ptbxl", type=click.Path(path_type=Path), help="Raw PTB-XL folder.")
@click.option("--cache-dir", type=click.Path(path_type=Path), help="Where raw folders are prepared to.")
@rehearsal_options
@config_flags
def pretrain(
    config_file: str | None,
    size: str | None,
    out: Path | None,
    resume: bool,
    data_dir_shao: Path | None,
    data_dir_code15: Path | None,
    data_dir_ptbxl: Path | None,
    cache_dir: Path | None,
    plan: bool,
    profile: int | None,
    trace: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Stores -> run folder with an encoder that was trained without labels."""
    overrides: dict[str, Any] = {
        key.replace("__", "."): value for key, value in flags.items() if value not in (None, ())
    }
    overrides |= {} if size is None else {"model.size": size}
    if resume and out is not None and config_file is None and (out / "config.toml").is_file():
        config_file = str(out / "config.toml")
    if resume and out is None:
        raise click.UsageError("--resume needs --out, the run to go on with")
    check_rehearsal(plan, profile, trace, as_json, resume)
    config = load_config(config_file, overrides)  # a wrong setting is found before an hour of preparing
    if out is not None and (out / "run.json").is_file() and not resume:
        raise FileExistsError(f"{out} holds a run already; --resume goes on with it")
    from ecgjepa.data.prepare import cached_store
    from ecgjepa.signal import SignalContract
    from ecgjepa.train.checks import warn_of_precision
    from ecgjepa.train.pretrain import new_run_path, pretrain

    raw = {"shaoxing": data_dir_shao, "code15": data_dir_code15, "ptbxl": data_dir_ptbxl}
    contract = SignalContract(resampling="fft" if config.training.reference else "polyphase")
    folders = {name: folder for name, folder in raw.items() if folder is not None}
    prepared = [cached_store(name, folder, cache_dir, contract=contract).path for name, folder in folders.items()]
    if prepared:
        overrides["data.stores"] = [*config.data.stores, *map(str, prepared)]
        config = load_config(config_file, overrides)
    if plan or profile is not None:
        rehearse(config, out or new_run_path(), profile=profile, trace=trace, as_json=as_json)
        return
    if warning := warn_of_precision(config):
        click.echo(f"warning: {warning}", err=True)
    outcome = pretrain(config, out or new_run_path(), resume=resume, command=command_line())
    if os.environ.get("RANK", "0") != "0":
        return  # the first of several processes speaks
    at = f"after step {outcome.step} of {outcome.steps}"
    if outcome.collapsed:
        click.echo(f"{outcome.path}: stopped {at} by an alarm, see above and {outcome.path / 'report.html'}", err=True)
        sys.exit(COLLAPSED)
    if outcome.stopped_by is not None:
        click.echo(f"{outcome.path}: stopped {at}; --resume goes on", err=True)
        sys.exit(128 + outcome.stopped_by)
    click.echo(f"{outcome.path}: {outcome.steps} steps done, model in {outcome.path / 'model'}")


def describe_labels(store: "Store") -> str:
    """What a store knows besides signals: splits and label levels."""
    import pyarrow.compute as pc

    counted = pc.value_counts(store.column("split")).to_pylist()
    splits = ", ".join(f"{each['values'] or 'none'} {each['counts']}" for each in counted)
    levels = ", ".join(f"{level} ({len(classes or [])} classes)" for level, classes in store.info["levels"].items())
    return f"  splits: {splits}\n  label levels: {levels or 'none'}"


def describe_account(account: dict[str, Any]) -> str:
    """One line per part of a store's account."""
    lines = [f"{account['kept']} of {account['candidates']} records kept"]
    for part in ("changed", "refused", "flags"):
        if account[part]:
            lines.append(f"  {part}: " + ", ".join(f"{reason} {count}" for reason, count in account[part].items()))
    return "\n".join(lines)
