"""What an evaluation of frozen features found, as files of a run folder."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ecgjepa.evaluate.head import HEAD, Head
from ecgjepa.files import write_json

RESULT, PREDICTIONS, EMBEDDINGS = "result.json", "predictions.parquet", "embeddings.parquet"


@dataclass(frozen=True)
class ProbeResult:
    """What an evaluation of frozen features found.

    Attributes:
        summary: what `result.json` says.
        predictions: one row per test record: record, patient, split, and per class `label:`, `pretrained:`, `random:`.
        embeddings: one row per test record: record, split, labels, and the features as `pretrained`; None of tokens.
        head: the read-out of the pretrained encoder; None of one that is no layer on the encoder's own features.
    """

    summary: dict[str, Any]
    predictions: pd.DataFrame
    embeddings: pd.DataFrame | None
    head: Head | None

    @property
    def name(self) -> str:
        """Folder name that tells the evaluations of one run apart."""
        return folder_name(**{key: self.summary[key] for key in NAMED_BY})

    def save(self, directory: Path | str, overwrite: bool = False) -> None:
        """Write `result.json`, `predictions.parquet`, `embeddings.parquet` and `head.safetensors`: all or none.

        Raises:
            FileExistsError: the directory exists and `overwrite` is False.
        """
        directory = Path(directory)
        if directory.exists() and not overwrite:
            raise FileExistsError(f"{directory} exists already; choose another folder, or overwrite it")
        directory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
            finished = Path(temporary) / "finished"
            finished.mkdir()
            self.predictions.to_parquet(finished / PREDICTIONS, index=False)
            if self.embeddings is not None:
                self.embeddings.to_parquet(finished / EMBEDDINGS, index=False)
            if self.head is not None:
                self.head.save(finished / HEAD)
            write_json(finished / RESULT, self.summary)
            if not directory.exists():
                finished.rename(directory)
                return
            for file in (RESULT, HEAD, EMBEDDINGS):  # a result never stands beside the tables of another
                (directory / file).unlink(missing_ok=True)
            for file in (PREDICTIONS, EMBEDDINGS, HEAD, RESULT):
                if (finished / file).exists():
                    (finished / file).replace(directory / file)


NAMED_BY = (
    "dataset", "level", "task", "protocol", "encoder",
    "readout", "pooling", "leads", "snr_db", "label_fraction", "seed",
)  # fmt: skip


def folder_name(
    *,
    dataset: str,
    level: str,
    task: str,
    protocol: str,
    encoder: str,
    readout: str = "linear",
    pooling: str = "mean",
    leads: Sequence[str] | None = None,
    snr_db: float | None = None,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> str:
    """What `ProbeResult.name` will be, to refuse an existing folder before anything is computed."""
    parts = [dataset, level, task, protocol, encoder]
    parts += [readout] * (readout != "linear") + [pooling.replace("_", "-")] * (pooling != "mean")
    parts += [f"leads-{'-'.join(leads)}"] if leads is not None else []
    parts += [f"snr{snr_db:g}db"] if snr_db is not None else []
    parts += [f"{100 * label_fraction:g}percent"] if label_fraction < 1 else []
    parts += [f"seed{seed}"] if label_fraction < 1 or seed else []
    return re.sub(r"[^\w.+-]", "_", "-".join(parts))
