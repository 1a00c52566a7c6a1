"""The run folder: what is written while a model is trained, and how a run goes on where it stopped.

runs/NAME/config.toml            all settings; `--config` takes it back
          run.json               command, versions, stores with their accounts, status
          metrics.csv            one row every `run.log_every` steps
          checkpoints/last.pt    everything needed to go on, written atomically
          model/                 the result, see `ecgjepa.checkpoint`
"""

import json
import platform
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

import ecgjepa
from ecgjepa.checkpoint import CheckpointError, load_pickle
from ecgjepa.config import Config, load_config, to_toml
from ecgjepa.errors import RunError
from ecgjepa.files import atomic_path, write_json, write_text

CHECKPOINT = {"model", "optimizer", "step", "seconds", "losses", "description"}
LAST = "last.pt"
METRICS = ("step", "epoch", "loss", "lr", "momentum", "records_per_s", "seconds")


class Run:
    """A run folder that is being written.

    Attributes:
        path: the folder.
        config: the settings.
        info: what `run.json` says.
        checkpoint: the last checkpoint if the run goes on, else None.
    """

    def __init__(self, path: Path, config: Config, info: dict[str, Any], checkpoint: dict[str, Any] | None) -> None:
        self.path, self.config, self.info, self.checkpoint = path, config, info, checkpoint

    @classmethod
    def open(cls, path: Path, config: Config, *, resume: bool, **info: Any) -> "Run":
        """Begin a run, or go on with the one that is there.

        Args:
            path: the folder; must not hold a run unless `resume`.
            config: the settings; a resumed run must have the same but for those of `run`.
            info: what `run.json` is to say; `stores` among it.

        Raises:
            FileExistsError: a run is there and `resume` is False, or the folder holds something else.
            RunError: settings or data differ from those the run began with.
        """
        info |= {"seed": config.training.seed, "config": config.model_dump(mode="json"), "versions": versions()}
        if not (path / "run.json").is_file():
            if path.exists() and any(file.name != "config.toml" and file.name[0] != "." for file in path.iterdir()):
                raise FileExistsError(f"{path} is not empty and holds no run")
            path.mkdir(parents=True, exist_ok=True)
            write_text(path / "config.toml", to_toml(config))
            run = cls(path, config, {"started": now(), "status": "running", **info}, None)
            run.write_info()
            return run
        if not resume:
            raise FileExistsError(f"{path} holds a run already; --resume goes on with it")
        try:
            began = json.loads((path / "run.json").read_text(encoding="utf-8"))
            _check_same(path, config, began, info)
        except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{path / 'run.json'} is not that of a run: {error!r}") from error
        for left in path.glob(f"checkpoints/.{LAST}.*"):
            left.unlink()  # by a process that was killed while it wrote
        run = cls(path, config, began, None)
        if run.last_checkpoint.is_file():
            run.checkpoint = load_pickle(run.last_checkpoint)
            if not isinstance(run.checkpoint, dict) or not run.checkpoint.keys() >= CHECKPOINT:
                raise CheckpointError(f"{run.last_checkpoint} is not the checkpoint of a run")
        step = run.checkpoint["step"] if run.checkpoint else 0
        run._drop_metrics_after(step)
        again = {"time": now(), "step": step, **{key: info[key] for key in ("command", "device", "versions")}}
        run.write_info(status="running", resumed=[*began.get("resumed", []), again], stores=info["stores"])
        return run

    @property
    def last_checkpoint(self) -> Path:
        """Where everything needed to go on is kept."""
        return self.path / "checkpoints" / LAST

    def save(self, checkpoint: dict[str, Any]) -> None:
        """Write the last checkpoint; the file is the old or the new one whatever happens."""
        self.last_checkpoint.parent.mkdir(exist_ok=True)
        try:
            with atomic_path(self.last_checkpoint) as file:
                torch.save(checkpoint, file)
        except (RuntimeError, OSError) as error:  # torch's writer has no error of its own for a full disk
            free = shutil.disk_usage(self.path).free
            raise RunError(
                f"the checkpoint cannot be written to {self.last_checkpoint} ({free / 1e6:,.0f} MB are free); the one "
                f"before it is kept, --resume goes on from there: {str(error).partition(chr(10))[0]}"
            ) from error

    def log(self, row: dict[str, float]) -> None:
        """Append a row to `metrics.csv`."""
        file = self.path / "metrics.csv"
        header = "" if file.is_file() and file.stat().st_size else ",".join(METRICS) + "\n"
        with file.open("a", encoding="utf-8") as stream:
            stream.write(header + ",".join(f"{row[name]:.8g}" for name in METRICS) + "\n")

    def write_info(self, **values: Any) -> None:
        """Update `run.json`."""
        self.info |= values
        write_json(self.path / "run.json", self.info)

    def _drop_metrics_after(self, step: int) -> None:
        """The steps after the checkpoint are done again, and logged again."""
        file = self.path / "metrics.csv"
        if file.is_file() and file.stat().st_size:
            header, *rows = file.read_text(encoding="utf-8", errors="replace").splitlines()
            whole = [row for row in rows if row.count(",") == len(METRICS) - 1]
            kept = [row for row in whole if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) <= step]
            write_text(file, "\n".join([header, *kept]) + "\n")


class Log:
    """Follows the steps: progress bar, a row of `metrics.csv` every `run.log_every` steps, the clock of checkpoints."""

    def __init__(self, run: Run, *, first_step: int, steps: int, steps_per_epoch: int, progress: bool) -> None:
        self.run, self.steps_per_epoch = run, steps_per_epoch
        self._bar = tqdm(total=steps, initial=first_step, unit="step", desc="pretrain", disable=not progress)
        self._before = float(run.checkpoint["seconds"]) if run.checkpoint else 0.0
        self._losses: list[Tensor] = list(run.checkpoint["losses"]) if run.checkpoint else []
        self._began = self._saved = self._logged = time.monotonic()
        self._done = self._logged_at = first_step

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Time of training so far, of the earlier parts of a resumed run too."""
        return self._before + time.monotonic() - self._began

    def checkpoint_is_due(self) -> bool:
        """True when the last checkpoint is `run.checkpoint_minutes` old."""
        return time.monotonic() - self._saved >= 60 * self.run.config.run.checkpoint_minutes

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of the log: time of training, losses that no row holds yet.

        Raises:
            RunError: one of these losses is not finite, so that no such checkpoint may be written.
        """
        self._check()
        self._saved = time.monotonic()
        return {"seconds": self.seconds, "losses": [loss.float().cpu() for loss in self._losses]}

    def step(self, done: int, loss: Tensor, *, lr: float, momentum: float) -> None:
        """Note the loss after `done` steps.

        Raises:
            RunError: a loss since the last row is not finite; the checkpoint before it is kept.
        """
        self._bar.update()
        self._done = done
        self._losses.append(loss.detach())
        if done % self.run.config.run.log_every and done != self._bar.total:
            return
        mean = self._check().mean().item()
        records_per_s = (
            (done - self._logged_at) * self.run.config.training.batch_size / (time.monotonic() - self._logged)
        )
        row = {"step": done, "epoch": done / self.steps_per_epoch, "loss": mean, "lr": lr, "momentum": momentum}
        self.run.log(row | {"records_per_s": records_per_s, "seconds": self.seconds})
        self._bar.set_postfix_str(f"loss {mean:.4f}, {records_per_s:.0f} records/s")
        self._losses, self._logged, self._logged_at = [], time.monotonic(), done

    def _check(self) -> Tensor:
        """The losses since the last row; here, and nowhere else in the loop, the host waits for the device."""
        if not self._losses:
            return torch.zeros(1)
        device = self._losses[-1].device  # those of a checkpoint lie on the CPU
        losses = torch.stack([loss.to(device) for loss in self._losses]).float().cpu()
        if not losses.isfinite().all():
            first = int(losses.isfinite().logical_not().nonzero()[0])
            self.run.write_info(status="failed")
            raise RunError(
                f"the loss is {losses[first].item():g} at step {self._done - len(losses) + 1 + first}; the checkpoint "
                f"before it is kept in {self.run.path}. Begin another with a lower learning rate, or --precision fp32"
            )
        return losses


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    packages = {name: version(name) for name in ("torch", "numpy", "scipy")}
    return {"ecgjepa": ecgjepa.__version__, "python": platform.python_version(), **packages}


def now() -> str:
    """This moment in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_same(path: Path, config: Config, began: dict[str, Any], info: dict[str, Any]) -> None:
    before = load_config(path / "config.toml")
    for section in ("model", "mask", "training", "data"):
        old, new = getattr(before, section).model_dump(), getattr(config, section).model_dump()
        for name in old:
            if old[name] != new[name] and name != "stores":
                raise RunError(
                    f"{path} began with {section}.{name} = {old[name]!r}, now it is {new[name]!r}: "
                    f"use its own settings (--config {path / 'config.toml'}) or another --out"
                )
    old, new = ([store["rows_checksum"] for store in each["stores"]] for each in (began, info))
    if old != new:
        paths = [[store["path"] for store in each["stores"]] for each in (began, info)]
        raise RunError(f"{path} began on records of {paths[0]}; those of {paths[1]} are others, or in another order")
