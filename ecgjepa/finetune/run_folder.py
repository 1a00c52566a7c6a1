"""The folder of a fine-tuning run, and how it goes on where it stopped.

finetunes/NAME/run.json              command, versions, settings, store, counts, status
               metrics.csv           a row for each epoch
               checkpoints/last.pt   everything needed to go on
                           epoch-0007.pt   weights of the best epoch so far, which last.pt names
               best/, last/          classifiers, when the run ends; see `classifier_folder`
               predictions.parquet, result.json   of the test and validation records, when the run ends
"""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from ecgjepa.checkpoint import load_pickle
from ecgjepa.errors import RunError
from ecgjepa.files import atomic_path, write_json, write_text
from ecgjepa.train.run import now, versions

RUN, METRICS, CHECKPOINTS, LAST = "run.json", "metrics.csv", "checkpoints", "last.pt"
# What tells such a run from one of pretraining, which has a run.json, too.
KIND = "finetune"
# What is removed of a run that is replaced, run.json last.
PARTS = (METRICS, CHECKPOINTS, "best", "last", "predictions.parquet", "result.json", RUN)
COLUMNS = ("epoch", "step", "loss", "validation", "lr", "seconds")
# What a resumed run must have in common with its beginning.
SAME = ("settings", "store", "encoder")


class RunFolder:
    """A run folder that is being written.

    Attributes:
        path: the folder.
        info: what `run.json` says.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def open(cls, path: Path, *, resume: bool, overwrite: bool = False, **info: Any) -> "RunFolder":
        """Begin a run, or go on with the one that is there.

        Args:
            overwrite: remove the files of the run that is there, and begin again.
            info: what `run.json` is to say; settings, store and encoder of a resumed run must be the same.

        Raises:
            FileExistsError: the folder holds something and `resume` and `overwrite` are False, or no run of finetune.
            RunError: the run that is there began with other settings, records or weights.
        """
        info |= {"kind": KIND, "versions": versions()}
        if overwrite and (path / RUN).is_file():
            _remove(path)
        if not (path / RUN).is_file():
            if path.exists() and any(path.iterdir()):
                raise FileExistsError(f"{path} is not empty and holds no run of finetune")
            (path / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            run = cls(path, {"started": now(), "status": "running", **info})
        elif not resume:
            raise FileExistsError(f"{path} holds a run already; --resume goes on with it, --overwrite replaces it")
        else:
            began = json.loads((path / RUN).read_text(encoding="utf-8"))
            same = json.loads(json.dumps(info))
            for part in SAME:
                if began.get(part) != same[part]:
                    raise RunError(f"{path} began with another {part}: {_difference(began.get(part), same[part])}")
            (path / CHECKPOINTS).mkdir(exist_ok=True)
            again = [*began.get("resumed", []), {"time": now(), "command": info.get("command", "")}]
            run = cls(path, began | {"resumed": again, "status": "running"})
        run.write_info()
        return run

    def write_info(self, **values: Any) -> None:
        """Update `run.json`."""
        self.info |= values
        write_json(self.path / RUN, self.info)

    def checkpoint(self) -> dict[str, Any] | None:
        """The last state, None where none was written; raises CheckpointError if it is damaged."""
        file = self.path / CHECKPOINTS / LAST
        return load_pickle(file) if file.is_file() else None

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the state; weights of epochs that it does not name go."""
        folder = self.path / CHECKPOINTS
        with atomic_path(folder / LAST) as file:
            torch.save(state, file)
        named = self.best_file(state["best"][0]) if state["best"] else None
        for file in folder.glob("epoch-*.pt"):
            if file != named:
                file.unlink()

    def save_best(self, epoch: int, weights: dict[str, Any]) -> None:
        """Write the weights of an epoch; the state that is written next names it."""
        with atomic_path(self.best_file(epoch)) as file:
            torch.save(weights, file)

    def best_file(self, epoch: int) -> Path:
        """Where the weights of an epoch are, if it is the best."""
        return self.path / CHECKPOINTS / f"epoch-{epoch:04d}.pt"

    def rows(self) -> list[dict[str, str]]:
        """The rows of `metrics.csv`."""
        file = self.path / METRICS
        return list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8")))) if file.is_file() else []

    def log(self, row: dict[str, float | int | None]) -> None:
        """Add a row to `metrics.csv`, in place of one of the same epoch and of those after it."""
        before = [each for each in self.rows() if int(each["epoch"]) < int(row["epoch"] or 0)]
        text = {name: "" if (value := row.get(name)) is None else f"{value:.8g}" for name in COLUMNS}
        lines = [",".join(each[name] for name in COLUMNS) for each in [*before, text]]
        write_text(self.path / METRICS, "\n".join([",".join(COLUMNS), *lines]) + "\n")


def _remove(path: Path) -> None:
    """Remove the files of a run of finetune, and nothing else."""
    if json.loads((path / RUN).read_text(encoding="utf-8")).get("kind") != KIND:
        raise FileExistsError(f"{path} holds no run of finetune, so it is not replaced")
    for name in PARTS:
        part = path / name
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


def _difference(old: Any, new: Any) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{old!r}, now {new!r}"
    name = next((key for key in new if old.get(key) != new[key]), "?")
    return f"{name} was {old.get(name)!r}, now it is {new.get(name)!r}"
