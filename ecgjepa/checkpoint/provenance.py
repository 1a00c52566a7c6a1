"""Where weights came from, as `config.json` tells those to whom they are passed on: no path of this machine in it."""

import hashlib
import json
from pathlib import Path, PurePath
from typing import Any

from ecgjepa.checkpoint.description import CheckpointError
from ecgjepa.checkpoint.load import LoadedModel
from ecgjepa.config import MaskConfig

NOTES = ("seed", "steps", "epoch")
STORE = ("dataset", "records", "trained_on", "checksum", "account")
RUN = ("status", "started", "finished", "steps", "steps_done", "seconds", "device", "seed", "versions")


def public_notes(model: LoadedModel) -> dict[str, Any]:
    """What goes beside sizes and contract when a model is passed on.

    `provenance`: source (a file's name, below its run), its SHA-256, and which network. A model that has
    one keeps it. `training`: the recipe, and the stores with their accounts, from the `run.json` of its run.

    Raises:
        CheckpointError: `run.json` is not that of a run.
    """
    notes = {name: model.notes[name] for name in NOTES if name in model.notes}
    provenance = model.notes.get("provenance")
    if not isinstance(provenance, dict):
        source = model.file.relative_to(model.folder.parent) if model.file.parent != model.folder else model.file.name
        provenance = {"source": PurePath(source).as_posix(), "sha256": sha256_of(model.file), "network": model.network}
    training = model.notes.get("training") or describe_training(model.folder)
    return notes | {"provenance": provenance} | ({"training": training} if training else {})


def describe_training(folder: Path) -> dict[str, Any] | None:
    """Recipe, data and machine of a run; None where the folder is not that of a run, or of a run's model.

    Raises:
        CheckpointError: `run.json` is not that of a run.
    """
    file = next((f for f in (folder / "run.json", folder.parent / "run.json") if f.is_file()), None)
    if file is None or (file.parent != folder and folder.name != "model"):
        return None
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        config = run.get("config", {})
        mask = config.get("mask", {})
        return {
            **{name: run[name] for name in RUN if name in run},
            "mask": {**mask, "scale": list(MaskConfig(**mask).share)} if mask else {},
            "recipe": config.get("training", {}),
            "include_held_out": config.get("data", {}).get("include_held_out", False),
            **{name: config["data"][name] for name in ("weights", "gains") if config.get("data", {}).get(name)},
            "stores": [
                {"name": PurePath(store["path"]).name} | {name: store[name] for name in STORE if name in store}
                for store in run.get("stores", [])
            ],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is not that of a run: {error!r}") from error


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
