"""What a user calls a model -> an encoder that is ready to use, and what is known about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgjepa.checkpoint.description import CONFIG, CheckpointError, build_encoder, check_description, read_description
from ecgjepa.checkpoint.folder import SEEN, SUFFIX, Which, check_network, choose_weights, load_weights
from ecgjepa.checkpoint.pickles import PUBLISHED_HEADS, is_of_run, load_pickle, read_published, read_unfinished
from ecgjepa.checkpoint.source import find_model
from ecgjepa.model.encoder import Encoder

# Of a run that is not finished; the second where the first is not there, for it was being replaced.
UNFINISHED = (Path("checkpoints") / "last.pt", Path("checkpoints") / "previous.pt")


@dataclass(frozen=True)
class LoadedModel:
    """An encoder from a file, and what the file says about it.

    Attributes:
        encoder: float32 on the CPU.
        network: `teacher`, `student`, or `model` where it is not said which of them it is.
        notes: the description: format, model, contract, and notes such as seed, steps, epoch, provenance, training.
        file: the weights.
        folder: the run or model folder; the folder of a single file.
    """

    encoder: Encoder
    network: str
    notes: dict[str, Any]
    file: Path
    folder: Path


def load_encoder(path: Path | str, which: Which | None = None, *, heads: int = PUBLISHED_HEADS) -> Encoder:
    """Load an encoder in float32 on the CPU, ready to use.

    Args:
        path: a run folder (finished or not), one of its checkpoints, a model folder, a `.safetensors` file beside its
            config.json, a published `.pth` file, `ejepa_random` or `ejepa_multiblock`, or `hf://owner/name` of the
            Hugging Face hub (see `find_model`).
        which: teacher or student; where None, the teacher if it is there, else what is there. A published file holds
            the student alone, and gives it whatever is asked for.
        heads: attention heads of a published file, which does not state them.

    Raises:
        CheckpointError: nothing of that kind is there, or it does not fit.
    """
    return load_model(path, which, heads=heads).encoder


def load_model(path: Path | str, which: Which | None = None, *, heads: int = PUBLISHED_HEADS) -> LoadedModel:
    """As `load_encoder`, with what the files say about the model.

    Raises:
        CheckpointError: nothing of that kind is there, or it does not fit.
    """
    found = find_model(path, which)
    if found.is_file() and found.suffix == SUFFIX:
        values = _description_beside(found)
        return _from_weights(found, check_network(found, values, which), values, found.parent)
    if found.is_file() and is_of_run(found):
        values, state, network = read_unfinished(found, which)
        return LoadedModel(build_encoder(values, state, found), network, values, found, found.parents[1])
    if found.is_file():
        values, state, network = read_published(found, which, heads)
        return LoadedModel(build_encoder(values, state, found), network, values, found, found.parent)
    for directory in (found / "model", found):
        if (directory / CONFIG).is_file():
            values = read_description(directory / CONFIG)
            return _from_weights(*choose_weights(directory, values, which), values, found)
    if (unfinished := _unfinished(found)) is not None:
        values, state, network = read_unfinished(unfinished, which)
        return LoadedModel(build_encoder(values, state, unfinished), network, values, unfinished, found)
    if found.is_dir() and (weights := sorted(found.glob(f"*{SUFFIX}"))):
        raise CheckpointError(
            f"no {CONFIG} beside {weights[0]}: without it, neither sizes nor signal contract are known"
        )
    raise CheckpointError(
        f"no model at {found}: expected a run folder, a folder with {CONFIG} and {SUFFIX}, or a published .pth file"
    )


def find_seen(model: LoadedModel) -> Path | None:
    """The list of what a model was trained on, beside it or in its run; None if there is none."""
    places = [model.folder / SEEN, *([model.folder.parent / SEEN] if model.folder.name == "model" else [])]
    return next((file for file in places if file.is_file()), None)


def read_notes(path: Path | str) -> dict[str, Any]:
    """What was noted when a model was saved, its `seed` among it; empty for a published file."""
    found = find_model(path)
    if found.is_file() and is_of_run(found):
        return dict(load_pickle(found)["description"])
    if found.is_file():
        return _description_beside(found) if found.suffix == SUFFIX else {}
    for directory in (found / "model", found):
        if (directory / CONFIG).is_file():
            return read_description(directory / CONFIG)
    unfinished = _unfinished(found)
    return {} if unfinished is None else dict(load_pickle(unfinished)["description"])


def _unfinished(run: Path) -> Path | None:
    return next((run / file for file in UNFINISHED if (run / file).is_file()), None)


def _description_beside(file: Path) -> dict[str, Any]:
    if not (config := file.parent / CONFIG).is_file():
        raise CheckpointError(f"no {CONFIG} beside {file}: without it, neither sizes nor signal contract are known")
    return read_description(config)


def _from_weights(file: Path, network: str, values: dict[str, Any], folder: Path) -> LoadedModel:
    check_description(values, file.parent / CONFIG)
    return LoadedModel(build_encoder(values, load_weights(file), file), network, values, file, folder)
