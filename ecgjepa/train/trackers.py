"""The log of a run in TensorBoard, Weights & Biases or MLflow, for those who watch their runs there.

runs/NAME/tensorboard/     events
          wandb/           what `wandb sync` sends; sent at once only if WANDB_MODE says so
          mlruns/          MLflow's own files; on a server instead if MLFLOW_TRACKING_URI names one
          trackers.json    which run it is there, so that a resumed one goes on

None of them is needed: `metrics.csv` and `evaluations.csv` hold everything. So a tracker that cannot be opened is an
error, and one that fails later is warned of once and left out.
"""

import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from ecgjepa.errors import RunError
from ecgjepa.files import write_json

TrackerName = Literal["tensorboard", "wandb", "mlflow"]

_log = logging.getLogger(__name__)

IDS = "trackers.json"
PROJECT = "ecgjepa"
# How a run ended, in the words of W&B (exit codes; 255 is Ctrl-C) and of MLflow.
WANDB_EXIT_CODES = {"finished": 0, "stopped": 255}
MLFLOW_STATUS = {"finished": "FINISHED", "stopped": "KILLED"}


@runtime_checkable
class Tracker(Protocol):
    """Something that is told the numbers of a run."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers after `step` steps; `/` in a name makes a group, as in `evaluation/probe_auc`."""

    def close(self, status: str) -> None:
        """The run is `finished`, `stopped` or `failed`."""


def check_trackers(names: Sequence[TrackerName]) -> None:
    """Whether the packages are there, to be asked before hours of preparing.

    Raises:
        RunError: one is not; the message names the extra to install.
    """
    for name in names:
        _import(name, name)


def open_trackers(
    names: Sequence[TrackerName], path: Path, config: dict[str, Any], *, name: str, first_step: int
) -> list[Tracker]:
    """Begin a run with each tracker, or go on with the one that `path` began there.

    Args:
        path: the run folder; everything that is kept on this machine lies below it.
        config: the settings by section, as `Config.model_dump(mode="json")` gives them.
        name: what the run is called there.
        first_step: steps that are done; what is logged after them is done again.

    Raises:
        RunError: a package is not installed, or a tracker cannot be opened.
    """
    check_trackers(names)
    opened: list[Tracker] = []
    for each in dict.fromkeys(names):
        try:
            opened.append(_Guarded(each, OPENERS[each](path, config, name, first_step)))
        except Exception as error:  # whatever a foreign package raises: nothing has been trained yet
            for tracker in opened:
                tracker.close("failed")
            raise RunError(f"{each} cannot be opened for {path}: {_first_line(error)}") from error
    return opened


class _Guarded:
    """A tracker that ends no training: its first failure is warned of, then it is left out."""

    def __init__(self, name: str, tracker: Tracker) -> None:
        self._name, self._tracker, self._failed = name, tracker, False

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if not self._failed:
            self._attempt(lambda: self._tracker.log(step, values), f"at step {step}")

    def close(self, status: str) -> None:
        if not self._failed:
            self._attempt(lambda: self._tracker.close(status), "while it was closed")
        self._failed = True

    def _attempt(self, call: Callable[[], None], when: str) -> None:
        try:
            call()
        except Exception as error:  # whatever a foreign package raises: a week of training is worth more
            self._failed = True
            _log.warning(
                "warning: %s failed %s and is left out from here on (%s: %s); the run goes on, metrics.csv holds "
                "everything",
                self._name,
                when,
                type(error).__name__,
                _first_line(error),
            )


class _TensorBoard:
    def __init__(self, path: Path, config: dict[str, Any], name: str, first_step: int) -> None:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        # `purge_step` hides what an earlier part of the run logged after its last checkpoint.
        self._writer = writer(log_dir=str(path / "tensorboard"), purge_step=first_step + 1)
        lines = (f"    {key} = {value}" for key, value in _flat(config).items())  # a code block in Markdown
        self._writer.add_text("settings", "\n".join(lines), first_step)
        self._writer.flush()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def close(self, status: str) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, path: Path, config: dict[str, Any], name: str, first_step: int) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # or the package reports its errors to its makers
        # Hours of training are over when it closes; what is not sent by then stays in its folder.
        os.environ.setdefault("WANDB_FINISH_TIMEOUT", "600")
        wandb = import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            id=_kept_id(path, "wandb", lambda: secrets.token_hex(4)),
            resume="allow",
            dir=str(path),
            mode=mode,
            config=config,
            save_code=False,
            settings=wandb.Settings(console="off", silent=True),
        )
        # Their own counter cannot go back to the step of a checkpoint.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")
        if mode == "offline":
            folder = path / "wandb" / "offline-run-*"
            _log.warning("wandb is offline (WANDB_MODE=online sends at once): `wandb sync %s` sends this run", folder)
        elif mode == "online":
            _log.warning("wandb: %s", self._run.url)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def close(self, status: str) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=WANDB_EXIT_CODES.get(status, 1))


class _MLflow:
    def __init__(self, path: Path, config: dict[str, Any], name: str, first_step: int) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # the package counts its uses at its makers'
        server = os.environ.get("MLFLOW_TRACKING_URI")
        if server is None:
            # Newer versions of MLflow ask for this; a database would need SQLAlchemy and six seconds to begin.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow = import_module("mlflow")
        self._metric = import_module("mlflow.entities").Metric
        self._client = mlflow.MlflowClient(tracking_uri=server or (path / "mlruns").resolve().as_uri())

        def begin() -> str:
            experiment = self._client.get_experiment_by_name(PROJECT)
            number = experiment.experiment_id if experiment else self._client.create_experiment(PROJECT)
            run_id = str(self._client.create_run(number, run_name=name).info.run_id)
            for key, value in _flat(config).items():
                self._client.log_param(run_id, key, value[:6000])  # no server takes longer ones
            return run_id

        self._run_id = _kept_id(path, f"mlflow {server}" if server else "mlflow", begin)
        self._client.update_run(self._run_id, "RUNNING")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now_ms = int(1000 * time.time())
        metrics = [self._metric(key, float(value), now_ms, step) for key, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, status: str) -> None:
        self._client.set_terminated(self._run_id, MLFLOW_STATUS.get(status, "FAILED"))


OPENERS: dict[str, Callable[[Path, dict[str, Any], str, int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _MLflow,
}


def _import(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise RunError(
            f"run.trackers: {extra} is not installed (no module {error.name}): pip install 'ecgjepa[{extra}]'"
        ) from error


def _kept_id(path: Path, key: str, begin: Callable[[], str]) -> str:
    """The id of this run at a tracker: that of `trackers.json`, else a new one, which is kept there."""
    file = path / IDS
    ids = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if key not in ids:
        ids[key] = begin()
        write_json(file, ids)
    return str(ids[key])


def _flat(config: dict[str, Any]) -> dict[str, str]:
    """Settings by dotted key, `section.name`."""
    sections = {section: values if isinstance(values, dict) else {"": values} for section, values in config.items()}
    return {
        f"{section}.{name}".rstrip("."): value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for section, values in sections.items()
        for name, value in values.items()
    }


def _first_line(error: Exception) -> str:
    return (str(error).strip() or repr(error)).splitlines()[0]
