"""A classifier on disk: the encoder as a model folder, and its head beside.

config.json         sizes, contract (its filter too), notes; see `ecgjepa.checkpoint`
model.safetensors   the encoder
head.safetensors    pooling, layer, names, thresholds; see `ecgjepa.evaluate.head`
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgjepa.checkpoint import PUBLISHED_HEADS, SEEN, CheckpointError, Which, load_model, save_model
from ecgjepa.evaluate.head import HEAD, Head, HeadError
from ecgjepa.finetune.records import leads_of
from ecgjepa.model.encoder import Encoder

# Of a run folder, in this order of preference.
PARTS = ("best", "last")


@dataclass(frozen=True, eq=False)
class LoadedClassifier:
    """An encoder with the head that reads its features.

    Attributes:
        encoder: float32 on the CPU until it is moved.
        head: whose `about` says what it was learned on.
        notes: what `config.json` says.
        folder: where it lies.
    """

    encoder: Encoder
    head: Head
    notes: dict[str, Any]
    folder: Path

    @property
    def leads(self) -> tuple[str, ...]:
        """Those that it looks at, in the order of the contract."""
        stated = self.head.about.get("leads")
        return leads_of(self.encoder.contract, None if stated is None else tuple(stated))


def save_classifier(
    folder: Path, encoder: Encoder, head: Head, *, seen: Path | None = None, overwrite: bool = False, **notes: Any
) -> None:
    """Write a classifier that is either whole or not there.

    Args:
        seen: a list of what the encoder was trained on, to copy.
        overwrite: replace a classifier that is there.
        notes: further JSON values for `config.json`.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False, or it holds anything but a classifier.
        HeadError: the head does not read this encoder.
    """
    head.check(encoder, plain=False)
    with replace_folder(folder, encoder, HEAD, seen=seen, overwrite=overwrite, **notes) as finished:
        head.save(finished / HEAD)


@contextmanager
def replace_folder(
    folder: Path, encoder: Encoder, beside: str, *, seen: Path | None, overwrite: bool, **notes: Any
) -> Iterator[Path]:
    """A temporary model folder, to which a file is added in the block; becomes `folder` when the block ends well.

    Args:
        beside: name of that file.

    Raises:
        FileExistsError: the folder exists and `overwrite` is False, or it holds anything else.
    """
    if folder.exists() and not overwrite:
        raise FileExistsError(f"{folder} exists already; --overwrite replaces it")
    own = {"config.json", "model.safetensors", beside, SEEN}
    if folder.exists() and (foreign := sorted({path.name for path in folder.iterdir()} - own)):
        raise FileExistsError(f"{folder} holds {foreign[0]}, which is no part of a classifier, so it is not replaced")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
        finished = Path(temporary) / "finished"
        save_model(finished, {"model": encoder}, **notes)
        if seen is not None:
            shutil.copyfile(seen, finished / SEEN)
        yield finished
        if folder.exists():
            folder.rename(Path(temporary) / "replaced")
        finished.rename(folder)


def load_classifier(
    source: Path | str,
    head: Path | str | None = None,
    *,
    which: Which | None = None,
    heads: int = PUBLISHED_HEADS,
) -> LoadedClassifier:
    """Load a classifier, ready to use: float32 on the CPU.

    Args:
        source: a classifier's folder, or a run of `ecgjepa finetune` (its `best`, or where there is none its `last`);
            with `head` whatever `load_model` takes.
        head: a head that lies elsewhere, or the result folder of `ecgjepa probe` that holds one.
        which, heads: as of `load_model`.

    Raises:
        CheckpointError: no model is there.
        HeadError: no head is there, or it was learned on another encoder.
    """
    folder = Path(source)
    if head is None:
        candidates = [folder, *(folder / part for part in PARTS)]
        found = next((each for each in candidates if (each / HEAD).is_file()), None)
        if found is None:
            raise HeadError(f"no classifier at {source}: expected a folder with {HEAD}, or the head's file beside it")
        if not (found / "config.json").is_file():
            raise CheckpointError(f"{found} holds a head but no model; name the model, and this as its head")
        folder = found
    model = load_model(source if head is not None else folder, which, heads=heads)
    read = Head.load(folder if head is None else head)
    read.check(model.encoder, plain=False)
    return LoadedClassifier(model.encoder, read, model.notes, folder)
