"""Files, folders and tables -> one table of embeddings, in bounded memory, resumable, with every failure named.

Axes: W windows, L leads, P patches, D width.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from jaxtyping import Float32
from numpy import ndarray
from tqdm import tqdm

import ecgjepa
from ecgjepa.checkpoint import choose_device, describe_model
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.embed.entries import Entries, Entry, printable
from ecgjepa.embed.inputs import list_inputs
from ecgjepa.embed.reading import ReadingJob, Refusal, read_all
from ecgjepa.embed.table import Parts, PartWriter, table_schema, to_table
from ecgjepa.model.embedding import Windows, check_windows, embed_tokens, embed_windows, mean_of_windows
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import InferenceEncoder, Precision, accelerate
from ecgjepa.windows import Window

# Entries of a part, at least: what is lost when a run is stopped.
PART_ENTRIES = 64
# Windows that are embedded and written together, a whole number of batches.
FLUSH_BATCHES = 4


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs.

    Attributes:
        out: the table; it does not exist if nothing could be embedded.
        failed_file: the failures, if there are any.
        entries: ECGs that were pointed at.
        rows: rows of the table.
        failed: those without an embedding, as (record, path, row, reason, detail).
        ignored: files in folders that are of no ECG format, by suffix.
    """

    out: Path
    failed_file: Path
    entries: int
    rows: int
    failed: list[tuple[Any, ...]]
    ignored: dict[str, int]


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
        device: `auto`, `cpu`, `cuda`, ...; where the encoder is if None.
        workers: processes that read ahead.
        source: what the encoder was loaded from, for the table's metadata.

    Raises:
        InputError: a path that leads to no ECG.
        FileExistsError: `out` exists and `overwrite` is False.
        ValueError: options that do not go together.
    """
    out = Path(out)
    check_out(out, overwrite)
    check_windows(windows, tokens)
    if layer is not None and not 1 <= layer <= encoder.config.depth:
        raise ValueError(f"layer: expected 1 to {encoder.config.depth}, found {layer}")
    inputs = list_inputs([paths] if isinstance(paths, str | Path) else paths, hints)
    used = encoder.precision if isinstance(encoder, InferenceEncoder) else precision
    plan = {
        "format": 1,
        "checkpoint": source,
        "weights_sha256": encoder.weights_sha256(),
        **{key: value for key, value in describe_model(encoder).items() if key != "format"},
        "options": {
            "windows": windows,
            "tokens": tokens,
            "layer": layer,
            "precision": used,
            "batch": batch_size,
        },
        "ecgjepa": ecgjepa.__version__,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(encoder, InferenceEncoder):
        processor = choose_device(device) if isinstance(device, str) else device
        encoder = accelerate(encoder, precision, device=processor)
    job = _Job(encoder, windows, tokens, layer, batch_size)
    with _only_one(out):
        parts = Parts(out, table_schema(encoder.config.width, tokens), plan, overwrite=overwrite)
        rows, failed = _run(job, parts, inputs.entries, workers, progress)
    return Outcome(out, parts.failed_file, len(inputs.entries), rows, failed, inputs.ignored)


@contextmanager
def _only_one(out: Path) -> Iterator[None]:
    lock = FileLock(out.with_name(out.name + ".lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FileExistsError(f"another process is writing {out}; {lock.lock_file} says so") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _run(
    job: "_Job", parts: Parts, entries: Entries, workers: int, progress: bool
) -> tuple[int, list[tuple[Any, ...]]]:
    """Embed what no part holds yet, then join the parts; the rows of the table, and the failures."""
    size = max(PART_ENTRIES, job.enough)
    ends = [*range(size, len(entries), size), len(entries)]
    runs = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    todo = [run for number, run in enumerate(runs) if not parts.is_done(number, entries[run])]
    order = np.concatenate([np.arange(run.start, run.stop) for run in todo] or [np.arange(0)])
    reading = read_all(
        entries, order, ReadingJob(job.encoder.contract, job.encoder.config.patch_samples, job.windows), workers
    )
    with tqdm(
        total=len(entries), initial=len(entries) - len(order), unit=" ECGs", desc="embed", disable=not progress
    ) as bar:
        for run in todo:
            some = entries[run]
            with parts.write(run.start // size, some) as part:
                for entry, found in itertools.islice(reading, len(some)):
                    job.take(part, entry, found)
                    bar.update()
                job.flush(part)
    return parts.join(len(runs))


def check_out(out: Path, overwrite: bool) -> None:
    """Found out before any work.

    Raises:
        ValueError: not the name of a Parquet file.
        FileExistsError: something is there that may not be replaced.
    """
    if out.suffix.lower() != ".parquet":
        raise ValueError(f"{out}: expected a file that ends in .parquet")
    if out.is_dir():
        raise FileExistsError(f"{out} is a folder, expected a file to write")
    if os.path.lexists(out) and not overwrite:
        raise FileExistsError(f"{out} exists already; --overwrite replaces it")


class _Job:
    """Collects windows until there are enough of them, then embeds and writes them."""

    def __init__(self, encoder: Encoder, windows: Windows, tokens: bool, layer: int | None, batch_size: int) -> None:
        self.encoder, self.windows, self.tokens = encoder, windows, tokens
        self.layer, self.batch_size, self.enough = layer, batch_size, FLUSH_BATCHES * batch_size
        self.schema = table_schema(encoder.config.width, tokens)
        self.waiting: list[tuple[Entry, list[Window]]] = []

    def take(self, part: PartWriter, entry: Entry, found: list[Window] | Refusal) -> None:
        """One entry with its windows, or with the reason why there are none."""
        if isinstance(found, Refusal):
            part.fail(entry, found.reason, found.detail)
            return
        self.waiting.append((entry, found))
        if sum(len(windows) for _, windows in self.waiting) >= self.enough:
            self.flush(part)

    def flush(self, part: PartWriter) -> None:
        """Embed and write what is waiting."""
        waiting, self.waiting = self.waiting, []
        flat = [(entry, number, window) for entry, windows in waiting for number, window in enumerate(windows)]
        if self.windows == "mean":
            each = iter(self._embed([window for _, _, window in flat]))
            rows = [(entry, windows, np.stack([next(each) for _ in windows])) for entry, windows in waiting]
            self._write(part, [self._mean(*row) for row in rows])
            return
        for start in range(0, len(flat), self.enough):  # a long recording alone may have more than enough
            some = flat[start : start + self.enough]
            embedded = self._embed([window for _, _, window in some])
            self._write(part, [(*each, value) for each, value in zip(some, embedded, strict=True)])

    def _embed(self, windows: list[Window]) -> Float32[ndarray, "..."]:
        run = embed_tokens if self.tokens else embed_windows
        return run(self.encoder, windows, layer=self.layer, batch_size=self.batch_size)

    def _mean(
        self, entry: Entry, windows: list[Window], embedded: Float32[ndarray, "w d"]
    ) -> tuple[Entry, None, Window, ndarray]:
        """All windows as one, with the changes and flags of any of them."""
        changes, flags = (
            tuple(dict.fromkeys(word for window in windows for word in getattr(window, name)))
            for name in ("changes", "flags")
        )
        leads = tuple(lead for lead in self.encoder.contract.leads if any(lead in window.leads for window in windows))
        samples = sum(window.signal_mv.shape[1] for window in windows)
        whole = Window(np.broadcast_to(np.float32(0), (len(leads), samples)), leads, windows[0].start_s, changes, flags)
        return entry, None, whole, mean_of_windows(self.encoder, embedded, windows)

    def _write(self, part: PartWriter, some: list[tuple[Entry, int | None, Window, ndarray]]) -> None:
        columns: dict[str, list[Any]] = {name: [] for name in self.schema.names if name != "embedding"}
        embeddings = []
        for entry, number, window, embedding in some:
            there_LP = ~np.isnan(embedding).all(axis=-1)
            if not np.isfinite(embedding[there_LP]).all() or not there_LP.any():
                part.fail(entry, "not_finite_embedding", "the encoder gives numbers that are not finite")
                continue
            row = {
                "record": printable(entry.record),
                "path": printable(entry.path),
                "row": entry.row,
                "window": number,
                "start_s": window.start_s,
                "seconds": window.signal_mv.shape[1] / self.encoder.contract.sampling_rate_hz,
                "leads": window.leads,
                "changes": window.changes,
                "flags": window.flags,
            }
            for lead, patch in zip(*np.nonzero(there_LP), strict=True) if self.tokens else [(None, None)]:
                if self.tokens:
                    row |= {"lead": self.encoder.contract.leads[lead], "patch": int(patch)}
                for name, values in columns.items():
                    values.append(row[name])
            embeddings.append(embedding[there_LP] if self.tokens else embedding[None])
        if embeddings:
            part.add(to_table(columns, np.concatenate(embeddings), self.schema))
