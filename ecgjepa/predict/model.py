"""What a user calls a classifier -> an encoder with its head."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from ecgjepa.checkpoint import PUBLISHED_HEADS, CheckpointError, Which
from ecgjepa.checkpoint.description import CONFIG
from ecgjepa.checkpoint.source import find_model, parse_repository
from ecgjepa.evaluate.head import HEAD, Head, HeadError
from ecgjepa.finetune.classifier_folder import PARTS, LoadedClassifier, load_classifier
from ecgjepa.finetune.run_folder import RUN
from ecgjepa.finetune.segmenter_folder import LAYER
from ecgjepa.signal import SignalContract

Part = Literal["best", "last"]


def find_classifier(
    model: Path | str,
    *,
    ckpt: Path | str | None = None,
    part: Part | None = None,
    which: Which | None = None,
    heads: int = PUBLISHED_HEADS,
) -> LoadedClassifier:
    """Load what predictions are asked of: float32 on the CPU.

    Args:
        model: a run of `finetune`, a classifier's folder, or a repository of the hub with a head; with `ckpt` a head:
            `head.safetensors`, or a result folder that holds one.
        ckpt: the encoder of the head, whatever `load_model` takes.
        part: of a run; its best where it has one, else its last, if None.
        which, heads: of `ckpt`, see `load_model`.

    Raises:
        CheckpointError: no encoder is there, or it is not said which.
        HeadError: no head is there, or it was learned on another encoder.
    """
    if ckpt is not None:
        if part is not None:
            raise HeadError(
                f"{model}: a part ({part}) is asked of a run of finetune, and not of a head with its encoder"
            )
        return load_classifier(ckpt, model, which=which, heads=heads)
    if parse_repository(model) is not None:
        return _from_hub(str(model), which)
    folder = Path(model)
    if folder.name == HEAD and folder.is_file():
        folder = folder.parent
    if not folder.exists():
        raise HeadError(f"no classifier at {model}: no such file or folder")
    parts = [folder, *(folder / name for name in PARTS)]
    if any((each / LAYER).is_file() for each in parts):
        raise HeadError(f"{folder} holds a segmenter, which says something of samples; expected a classifier of ECGs")
    if part is not None:
        if not (folder / part / HEAD).is_file():
            raise HeadError(f"{folder} has no {part}/{HEAD}, expected a run of finetune that has ended")
        return load_classifier(folder / part, which=which)
    if (folder / RUN).is_file() and not any((each / HEAD).is_file() for each in parts):
        raise HeadError(f"{folder}: a run of finetune that has not ended has no classifier; --resume goes on with it")
    if (folder / HEAD).is_file() and not (folder / CONFIG).is_file():
        about = Head.load(folder).about
        said = f", {about.get('encoder', 'an encoder')} of {about['checkpoint']}" if about.get("checkpoint") else ""
        raise CheckpointError(
            f"{folder} holds a head alone: name the encoder that it was learned on{said}, with --ckpt"
        )
    return load_classifier(folder, which=which)


def _from_hub(model: str, which: Which | None) -> LoadedClassifier:
    folder = find_model(model, which)
    if not (folder / HEAD).is_file():
        raise HeadError(
            f"{model} comes as an encoder without a {HEAD}, expected a classifier; give the head's file in its place, "
            "and the repository with --ckpt"
        )
    return load_classifier(folder, which=which)


def reading_contract(classifier: LoadedClassifier) -> SignalContract:
    """What is read of a recording: the encoder's contract, of its leads those that the classifier looks at."""
    return replace(classifier.encoder.contract, leads=classifier.leads)
