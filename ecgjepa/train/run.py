"""The run folder: what is written while a model is trained, and how a run goes on where it stopped.

runs/NAME/config.toml            all settings; `--config` takes it back
          run.json               command, versions, stores with their accounts, status
          metrics.csv, .jsonl    one row every `run.log_every` steps
          evaluations.csv        one row for each look at the representation
          checkpoints/           see `checkpoints`
          model/                 the result, see `ecgjepa.checkpoint`
"""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ecgjepa
from ecgjepa.config import Config, load_config, to_toml
from ecgjepa.errors import RunError
from ecgjepa.files import write_json, write_text
from ecgjepa.train.checkpoints import CHECKPOINTS, clear_unfinished, read_last

METRICS, METRICS_JSON, EVALUATIONS = "metrics.csv", "metrics.jsonl", "evaluations.csv"


class Run:
    """A run folder that is being written.

    Attributes:
        path: the folder.
        config: the settings.
        info: what `run.json` says.
        checkpoint: the last whole checkpoint if the run goes on, else None.
        checkpoint_file: where it lies.
    """

    def __init__(self, path: Path, config: Config, info: dict[str, Any]) -> None:
        self.path, self.config, self.info = path, config, info
        self.checkpoint: dict[str, Any] | None = None
        self.checkpoint_file: Path | None = None

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
            run = cls(path, config, {"started": now(), "status": "running", **info})
            run.write_info()
            return run
        if not resume:
            raise FileExistsError(f"{path} holds a run already; --resume goes on with it")
        began = read_info(path)
        try:
            _check_same(path, config, began, info)
        except (KeyError, TypeError) as error:
            raise RunError(f"{path / 'run.json'} is not that of a run: {error!r}") from error
        clear_unfinished(path)
        run = cls(path, config, began)
        if (found := read_last(path / CHECKPOINTS)) is not None:
            run.checkpoint, run.checkpoint_file = found
        step = run.checkpoint["step"] if run.checkpoint else 0
        run._forget_after(step)
        again = {"time": now(), "step": step, **{key: info[key] for key in ("command", "device", "versions")}}
        alarms = [alarm for alarm in began.get("alarms", []) if alarm["step"] <= step]
        resumed = [*began.get("resumed", []), again]
        run.write_info(status="running", resumed=resumed, stores=info["stores"], alarms=alarms)
        return run

    def log(self, row: Mapping[str, float]) -> None:
        """Append a row to `metrics.csv` and `metrics.jsonl`."""
        self._append(METRICS, row)
        with (self.path / METRICS_JSON).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(dict(row)) + "\n")

    def log_evaluation(self, row: Mapping[str, float]) -> None:
        """Append a row to `evaluations.csv`."""
        self._append(EVALUATIONS, row)

    def evaluations(self) -> list[dict[str, float]]:
        """The rows of `evaluations.csv` so far."""
        file = self.path / EVALUATIONS
        if not file.is_file():
            return []
        header, *rows = file.read_text(encoding="utf-8").splitlines()
        names = header.split(",")
        cells = [dict(zip(names, row.split(","), strict=True)) for row in rows]
        return [{name: float(value) for name, value in row.items() if value} for row in cells]

    def write_info(self, **values: Any) -> None:
        """Update `run.json`."""
        self.info |= values
        write_json(self.path / "run.json", self.info)

    def _append(self, name: str, row: Mapping[str, float]) -> None:
        """Add a row to a table; columns that are new begin with empty cells."""
        with (file := self.path / name).open("a+", encoding="utf-8") as stream:
            stream.seek(0)
            names = stream.readline().strip().split(",")
            if names == [""]:
                names = list(row)
                stream.write(",".join(names) + "\n")
            elif new := [each for each in row if each not in names]:
                names += new
                write_text(
                    file, "\n".join([",".join(names), *(line.strip() + "," * len(new) for line in stream)]) + "\n"
                )
        with file.open("a", encoding="utf-8") as stream:
            stream.write(",".join(f"{row[each]:.8g}" if each in row else "" for each in names) + "\n")

    def _forget_after(self, step: int) -> None:
        """The steps after the checkpoint are done again, and logged again; half a row is what a killed process left."""
        for name in (METRICS, EVALUATIONS):
            file = self.path / name
            if file.is_file():
                text = file.read_text(encoding="utf-8", errors="replace")
                lines = [line.rstrip("\n") for line in text.splitlines(keepends=True) if line.endswith("\n")]
                if not lines:  # not even the names of the columns
                    file.unlink()
                    continue
                header, *rows = lines
                whole = [row for row in rows if row.count(",") == header.count(",")]
                kept = [row for row in whole if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) <= step]
                write_text(file, "\n".join([header, *kept]) + "\n")
        file = self.path / METRICS_JSON
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("}\n")]
            write_text(file, "".join(line for line in whole if json.loads(line)["step"] <= step))


def read_info(path: Path) -> dict[str, Any]:
    """What `run.json` says; empty where there is no run.

    Raises:
        RunError: it is damaged.
    """
    file = path / "run.json"
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is not that of a run: {error!r}") from error
    if not isinstance(found, dict):
        raise RunError(f"{file} is not that of a run: it holds no table")
    return found


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
