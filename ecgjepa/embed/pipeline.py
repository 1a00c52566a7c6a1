"""Files, folders and tables -> one table of embeddings, in bounded memory, resumable, with every failure named."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

import ecgjepa
from ecgjepa.checkpoint import choose_device, describe_model
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.preparing.engines import Engine
from ecgjepa.embed.elsewhere import embed_elsewhere, send_encoder
from ecgjepa.embed.embedder import Embedder, Options
from ecgjepa.embed.inputs import list_inputs
from ecgjepa.embed.listed import LISTING, ListedEntries, write_entries
from ecgjepa.embed.reading import read_all
from ecgjepa.embed.table import Parts, part_file, table_schema
from ecgjepa.files import write_json
from ecgjepa.model.embedding import check_windows
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import InferenceEncoder, Precision, accelerate
from ecgjepa.patches import Windows

# Entries of a part, at least: what is lost when a run is stopped.
PART_ENTRIES = 64


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs.

    Attributes:
        out: the table; it does not exist if there is no row for it.
        failed_file: the failures, if there are any.
        entries: ECGs that were pointed at.
        rows: rows of the table.
        failed: those without a row, as (record, path, row, reason, detail).
        ignored: files in folders that are of no ECG format, by suffix.
    """

    out: Path
    failed_file: Path
    entries: int
    rows: int
    failed: list[tuple[Any, ...]]
    ignored: dict[str, int]


@dataclass(frozen=True)
class Making:
    """What is made of the windows of every ECG.

    Attributes:
        verb, noun: for the bar and for messages, as `embed` and `embeddings`.
        plan: what is made and how, as JSON values; stands in the table's metadata.
        schema: of the table.
        options: what becomes of every ECG.
        here: makes what does it, on this machine.
        send: see `embed_elsewhere`.
        beside: file beside the table, and its JSON values.
    """

    verb: str
    noun: str
    plan: dict[str, Any]
    schema: pa.Schema
    options: Options
    here: Callable[[], Embedder]
    send: Callable[[Path], Callable[[], Embedder]]
    beside: tuple[Path, dict[str, Any]] | None = None


def embed_files(
    encoder: Encoder,
    paths: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    hints: Hints = NO_HINTS,
    windows: Windows = "first",
    tokens: bool = False,
    layer: int | None = None,
    precision: Precision = "fp32",
    batch_size: int = 16,
    device: str | torch.device | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    source: str = "",
    engine: Engine | None = None,
) -> Outcome:
    """Embed every ECG that the paths name into a Parquet table, a row per window (or per token).

    An interrupted call goes on where it stopped when it is repeated; files that were added or have changed meanwhile
    are read, the others are not read again. The result is that of an unbroken run.

    Args:
        paths: see `ecgjepa.embed.inputs.list_inputs`.
        out: the `.parquet` file; `OUT.parts/` beside it holds what is done, `OUT.failed.csv` what failed.
        hints: what the files do not say about themselves.
        windows: of a longer recording: the `first` window, `all`, or their `mean` as one row.
        tokens: a row per token instead of per window.
        layer: see `Encoder.forward_features`.
        precision: see `ecgjepa.model.inference.accelerate`; of an encoder that is accelerated already, its own.
        batch_size: windows that run at once.
        device: `auto`, `cpu`, `cuda`, ...; where the encoder is if None. Of an engine `auto` is `cpu`.
        workers: processes that read ahead; of an engine, what it makes of them.
        source: what the encoder was loaded from, for the table's metadata.
        engine: where runs of entries are embedded, each on one thread (`ecgjepa.data.preparing.engines`); here if None.

    Raises:
        InputError: a path that leads to no ECG.
        FileExistsError: `out` exists and `overwrite` is False.
        ValueError: options that do not go together.
        ClusterError: from an engine.
    """
    out = Path(out)
    check_out(out, overwrite)
    check_windows(windows, tokens)
    if engine is not None and isinstance(encoder, InferenceEncoder):
        raise ValueError("encoder: it is accelerated, which cannot be sent; expected the encoder it was made from")
    if layer is not None and not 1 <= layer <= encoder.config.depth:
        raise ValueError(f"layer: expected 1 to {encoder.config.depth}, found {layer}")
    used = encoder.precision if isinstance(encoder, InferenceEncoder) else precision
    options = Options(windows, tokens, layer, used, batch_size)
    making = Making(
        "embed",
        "embeddings",
        plan_of(encoder, source, {"windows": windows, "tokens": tokens, "layer": layer}, options),
        table_schema(encoder.config.width, tokens),
        options,
        lambda: Embedder(accelerated(encoder, options, device), options),
        functools.partial(send_encoder, encoder=encoder, options=options, device=device_of_nodes(encoder, device)),
    )
    how: dict[str, Any] = {"workers": workers, "overwrite": overwrite, "progress": progress, "engine": engine}
    return make_table(making, paths, out, hints=hints, **how)


def plan_of(encoder: Encoder, source: str, chosen: dict[str, Any], options: Options) -> dict[str, Any]:
    """What a table says of what made it.

    Args:
        source: what the encoder was loaded from.
        chosen: of the options, what it is asked for by name.
    """
    return {
        "format": 1,
        "checkpoint": source,
        "weights_sha256": encoder.weights_sha256(),
        **{key: value for key, value in describe_model(encoder).items() if key != "format"},
        "options": {**chosen, "precision": options.precision, "batch": options.batch_size},
        "ecgjepa": ecgjepa.__version__,
    }


def make_table(
    making: Making,
    paths: Sequence[Path | str] | Path | str,
    out: Path,
    *,
    hints: Hints = NO_HINTS,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    engine: Engine | None = None,
) -> Outcome:
    """A row, or several, of every ECG that was pointed at; resumable, see `embed_files`.

    Raises:
        InputError: a path that leads to no ECG.
        FileExistsError: parts of another table are there and `overwrite` is False, or another process is at it.
        ClusterError: from an engine.
    """
    inputs = list_inputs([paths] if isinstance(paths, str | Path) else paths, hints)
    out.parent.mkdir(parents=True, exist_ok=True)
    count, ignored = len(inputs.entries), inputs.ignored
    if engine is None:
        embedder = making.here()
    with _only_one(out):
        parts = Parts(out, making.schema, making.plan, overwrite=overwrite, what=making.noun)
        write_entries(parts.folder / LISTING, inputs.entries, max(PART_ENTRIES, making.options.enough))
        del inputs  # ten million of them are a gigabyte
        listed = ListedEntries(parts.folder / LISTING)
        todo = [run for run in range(listed.runs) if not parts.is_done(run, listed)]
        done = count - sum(map(listed.length, todo))
        with tqdm(total=count, initial=done, unit=" ECGs", desc=making.verb, disable=not progress) as bar:
            if engine is None:
                _embed_here(embedder, parts.folder, todo, workers, bar)
            else:
                for entries in embed_elsewhere(engine, making.send, parts.folder, todo, workers):
                    bar.update(entries)
        if making.beside is not None:
            write_json(*making.beside)  # first, so that there is no table without it
        rows, failed = parts.join(listed.runs)
        if making.beside is not None and not rows:
            making.beside[0].unlink()
    return Outcome(out, parts.failed_file, count, rows, failed, ignored)


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    lock = FileLock(out.with_name(f".{out.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FileExistsError(f"another process is writing {out}; {lock.lock_file} says so") from None
    try:
        yield
    finally:
        lock.release()  # its file stays: who removes it may remove another's


def accelerated(encoder: Encoder, options: Options, device: str | torch.device | None) -> Encoder:
    """An encoder as it runs here; one that is accelerated already as it is."""
    device = choose_device(device) if isinstance(device, str) else device
    is_so_already = isinstance(encoder, InferenceEncoder)
    return encoder if is_so_already else accelerate(encoder, options.precision, device=device)


def device_of_nodes(encoder: Encoder, device: str | torch.device | None) -> str:
    """Where an engine's nodes run it."""
    return "cpu" if device == "auto" else str(device or encoder.position_LPD.device)


def _embed_here(embedder: Embedder, folder: Path, todo: list[int], workers: int, bar: "tqdm[Any]") -> None:
    listed = ListedEntries(folder / LISTING)
    reading = read_all(listed, todo, embedder.reading_job, workers)
    for run in todo:
        entries = listed.take(run)
        found = itertools.islice(reading, len(entries))
        embedder.write_run(part_file(folder, run), entries, found, bar.update)


def check_out(out: Path, overwrite: bool, suffixes: Sequence[str] = (".parquet",)) -> None:
    """Found out before any work.

    Raises:
        ValueError: not the name of a file of this kind.
        FileExistsError: something is there that may not be replaced.
    """
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"{out}: expected a file that ends in {' or '.join(suffixes)}")
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder, expected a file to write")
    if os.path.lexists(out) and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")
