"""The one layout of a model on disk and on the hub: the weights of each network beside one `config.json`.

teacher.safetensors   the running average: what is read unless the other is asked for
student.safetensors   the network that was trained; what the authors of the method published
model.safetensors     an encoder of which it is not said which of the two it is
config.json           see `description`
seen.parquet          hashes of what it was trained on, where that is known

A folder holds one of them or more. Nothing in it is a pickle.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ecgjepa.checkpoint.description import CONFIG, CheckpointError, describe_model
from ecgjepa.files import atomic_path, write_json
from ecgjepa.model.encoder import Encoder

Which = Literal["teacher", "student"]
SUFFIX = ".safetensors"
NETWORKS = ("teacher", "student", "model")  # in this order of preference
README = "README.md"
# What it was trained on, as hashes; stays on this machine, is never uploaded.
SEEN = "seen.parquet"


def save_model(directory: Path, encoders: Mapping[str, Encoder], **notes: Any) -> None:
    """Write encoders of one size as `NAME.safetensors`, and `config.json` with sizes, contract and the notes.

    Args:
        directory: made if absent; the files in it are replaced.
        encoders: `teacher`, `student` or `model`.
        notes: further JSON values for `config.json`, such as `seed` and `steps`.
    """
    assert encoders.keys() <= set(NETWORKS)
    directory.mkdir(parents=True, exist_ok=True)
    for name, encoder in encoders.items():
        state = {key: value.contiguous().cpu() for key, value in encoder.state_dict().items()}
        with atomic_path(directory / f"{name}{SUFFIX}") as file:
            save_file(state, file, metadata={"format": "pt"})
    write_json(directory / CONFIG, describe_model(next(iter(encoders.values()))) | notes)


def write_model_folder(
    directory: Path,
    encoders: Mapping[str, Encoder],
    *,
    readme: str | None = None,
    seen: Path | None = None,
    overwrite: bool = False,
    **notes: Any,
) -> None:
    """Write a model folder that is either whole or not there.

    Args:
        readme: text of a README.md.
        seen: a list of what the model was trained on, to copy.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False, or it holds anything but a model.
        CheckpointError: a weight is not a finite number.
    """
    refuse_folder(directory, overwrite)
    for network, encoder in encoders.items():
        if wrong := [name for name, weight in encoder.state_dict().items() if not weight.sum().isfinite()]:
            raise CheckpointError(
                f"{network}: {wrong[0]} holds numbers that are not finite, so it is no model to pass on"
            )
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}.") as temporary:
        finished = Path(temporary) / "finished"
        save_model(finished, encoders, **notes)
        if readme is not None:
            (finished / README).write_text(readme, encoding="utf-8")
        if seen is not None:
            shutil.copyfile(seen, finished / SEEN)
        if directory.exists():
            directory.rename(replaced := Path(temporary) / "replaced")
            try:
                finished.rename(directory)
            except OSError:
                replaced.rename(directory)
                raise
        else:
            finished.rename(directory)


def refuse_folder(directory: Path, overwrite: bool) -> None:
    """Found out before any work: FileExistsError where `write_model_folder` would refuse."""
    if not directory.exists() and not directory.is_symlink():
        return
    if not overwrite:
        raise FileExistsError(f"{directory} exists already; --overwrite replaces it")
    own = {CONFIG, README, SEEN, *(f"{name}{SUFFIX}" for name in NETWORKS)}
    if directory.is_symlink() or not directory.is_dir():
        raise FileExistsError(f"{directory} is not a folder, so it is not replaced")
    if foreign := sorted({path.name for path in directory.iterdir()} - own):
        raise FileExistsError(f"{directory} holds {foreign[0]}, which is no part of a model, so it is not replaced")


def choose_weights(directory: Path, values: Mapping[str, Any], which: Which | None) -> tuple[Path, str]:
    """The file of the network that is asked for, and which network it is.

    Args:
        directory: a model folder.
        values: its description.
        which: where None, the teacher if it is there, else what is there.

    Raises:
        CheckpointError: no weights are there, or not those that are asked for.
    """
    files = {name: directory / f"{name}{SUFFIX}" for name in NETWORKS if (directory / f"{name}{SUFFIX}").is_file()}
    if not files:
        expected = " or ".join(f"{name}{SUFFIX}" for name in NETWORKS)
        raise CheckpointError(f"no weights in {directory} beside its {CONFIG}: expected {expected}")
    if which in files:
        return files[which], which
    file = next(iter(files.values()))
    return file, check_network(file, values, which)


def check_network(file: Path, values: Mapping[str, Any], which: Which | None) -> str:
    """Which network a weights file holds, by its name or else by its description; `model` if neither says.

    Raises:
        CheckpointError: it is not, or not known to be, the one that is asked for.
    """
    provenance = values.get("provenance")
    stated = provenance.get("network") if isinstance(provenance, dict) else None
    network = file.stem if file.stem in ("teacher", "student") else stated if stated in NETWORKS else "model"
    if which is not None and network != which:
        holds = f"the {network}" if network != "model" else "an encoder that is not said to be teacher or student"
        raise CheckpointError(f"no {which}{SUFFIX} in {file.parent}: {file.name} holds {holds}")
    return network


def load_weights(file: Path) -> dict[str, Tensor]:
    """Tensors by name.

    Raises:
        CheckpointError: not a whole safetensors file.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is not a safetensors file, or is cut: {error}") from error
