"""A run of entries -> its part of the table.

Axes: W windows, L leads, P patches, D width.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from numpy import ndarray

from ecgjepa.embed.entries import Entry, printable
from ecgjepa.embed.reading import ReadingJob, Refusal
from ecgjepa.embed.table import WINDOW_COLUMNS, PartWriter, table_schema, to_table, write_part
from ecgjepa.model.embedding import embed_tokens, embed_windows, mean_of_windows
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import Precision
from ecgjepa.patches import Windows
from ecgjepa.windows import Window

# Windows that are embedded and written together, a whole number of batches.
FLUSH_BATCHES = 4


@dataclass(frozen=True)
class Options:
    """What becomes of every ECG; see `ecgjepa.embed.pipeline.embed_files`."""

    windows: Windows
    tokens: bool
    layer: int | None
    precision: Precision
    batch_size: int

    @property
    def enough(self) -> int:
        """Windows that are embedded and written together."""
        return FLUSH_BATCHES * self.batch_size


class Embedder:
    """Collects windows until there are enough of them, then embeds and writes them; a run does not depend on others.

    Attributes:
        schema: of the parts.
        reading_job: what is taken of every recording.
    """

    def __init__(self, encoder: Encoder, options: Options) -> None:
        self.encoder, self.options = encoder, options
        self.windows, self.tokens, self.enough = options.windows, options.tokens, options.enough
        self.schema = table_schema(encoder.config.width, options.tokens)
        self.reading_job = ReadingJob(encoder.contract, encoder.config.patch_samples, options.windows)
        self.waiting: list[tuple[Entry, list[Window]]] = []

    def write_run(
        self,
        file: Path,
        entries: list[Entry],
        found: Iterable[tuple[Entry, list[Window] | Refusal]],
        tell: Callable[[], object] | None = None,
    ) -> list[Entry]:
        """Embed the entries of one run and write their part; those that could not be read.

        Args:
            found: the same entries with their windows or their refusal, see `read_all`.
            tell: called after each.
        """
        refused = []
        with write_part(file, self.schema, entries) as part:
            for entry, windows in found:
                self.take(part, entry, windows)
                if isinstance(windows, Refusal):
                    refused.append(entry)
                if tell is not None:
                    tell()
            self.flush(part)
        return refused

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

    def _embed(self, windows: list[Window]) -> Float[ndarray, "..."]:
        """What a row holds of each window, beside what it says of the window."""
        run = embed_tokens if self.tokens else embed_windows
        return run(self.encoder, windows, layer=self.options.layer, batch_size=self.options.batch_size)

    def _average(self, embedded: Float[ndarray, "w d"], windows: list[Window]) -> Float[ndarray, "d"]:
        """The same of all windows of a recording together."""
        return mean_of_windows(self.encoder, embedded, windows)

    def _table(self, columns: dict[str, list[Any]], embedded: Float[ndarray, "r d"]) -> pa.Table:
        """Rows of a part: what they say of their windows, and what they hold."""
        return to_table(columns, embedded, self.schema)

    def _mean(
        self, entry: Entry, windows: list[Window], embedded: Float[ndarray, "w d"]
    ) -> tuple[Entry, None, Window, ndarray]:
        """All windows as one, with the changes and flags of any of them."""
        changes, flags = (
            tuple(dict.fromkeys(word for window in windows for word in getattr(window, name)))
            for name in ("changes", "flags")
        )
        leads = tuple(lead for lead in self.encoder.contract.leads if any(lead in window.leads for window in windows))
        samples = sum(window.signal_mv.shape[1] for window in windows)
        whole = Window(np.broadcast_to(np.float32(0), (len(leads), samples)), leads, windows[0].start_s, changes, flags)
        return entry, None, whole, self._average(embedded, windows)

    def _write(self, part: PartWriter, some: list[tuple[Entry, int | None, Window, ndarray]]) -> None:
        names = [name for name, _ in WINDOW_COLUMNS] + ["lead", "patch"] * self.tokens
        columns: dict[str, list[Any]] = {name: [] for name in names}
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
            part.add(self._table(columns, np.concatenate(embeddings)))
