"""Any model -> a model folder that can be passed on."""

from pathlib import Path

from ecgjepa.checkpoint.folder import Which, refuse_folder, write_model_folder
from ecgjepa.checkpoint.load import LoadedModel, find_seen, load_model
from ecgjepa.checkpoint.pickles import PUBLISHED_HEADS
from ecgjepa.checkpoint.provenance import public_notes


def convert(
    source: Path | str,
    out: Path | str,
    which: Which | None = None,
    *,
    heads: int = PUBLISHED_HEADS,
    overwrite: bool = False,
) -> LoadedModel:
    """Write one network of a model as `NAME.safetensors` and `config.json`; the weights stay equal to the bit.

    Args:
        source: whatever `load_encoder` takes.
        out: the model folder, either whole or not there.
        which: where None, the teacher if it is there, else what is there.
        heads: attention heads of a published file, which does not state them.
        overwrite: replace the model folder that is there.

    Returns:
        What was read.

    Raises:
        CheckpointError: the source is no model, or its weights are not finite.
        FileExistsError: `out` exists and `overwrite` is False, or it holds anything but a model.
    """
    refuse_folder(Path(out), overwrite)
    model = load_model(source, which, heads=heads)
    if model.file.resolve().parent == Path(out).resolve():
        raise FileExistsError(f"{out} holds the model that is read; choose another folder")
    seen = find_seen(model)
    write_model_folder(Path(out), {model.network: model.encoder}, seen=seen, overwrite=overwrite, **public_notes(model))
    return model
