"""Files, folders and tables -> one table of predictions, in bounded memory, resumable, with every failure named."""

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ecgjepa.checkpoint.description import CONFIG
from ecgjepa.data.formats.hints import NO_HINTS, Hints
from ecgjepa.data.preparing.engines import Engine
from ecgjepa.embed.csv_file import CSV_SUFFIX
from ecgjepa.embed.elsewhere import accelerate_here
from ecgjepa.embed.embedder import Embedder, Options
from ecgjepa.embed.pipeline import Making, Outcome, accelerated, check_out, device_of_nodes, make_table, plan_of
from ecgjepa.evaluate.summary import versions
from ecgjepa.finetune.classifier_folder import LoadedClassifier, load_classifier, save_classifier
from ecgjepa.model.embedding import check_windows
from ecgjepa.model.inference import InferenceEncoder, Precision
from ecgjepa.patches import Windows
from ecgjepa.predict.columns import describe_classifier, head_sha256, model_file, prediction_schema
from ecgjepa.predict.model import find_classifier
from ecgjepa.predict.predictor import Predictor

SUFFIXES = (".parquet", CSV_SUFFIX)


def predict_files(
    classifier: LoadedClassifier | Path | str,
    paths: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    hints: Hints = NO_HINTS,
    windows: Windows = "mean",
    embedding: bool = False,
    precision: Precision = "fp32",
    batch_size: int = 16,
    device: str | torch.device | None = None,
    workers: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    source: str = "",
    command: str = "",
    engine: Engine | None = None,
) -> Outcome:
    """What a classifier says of every ECG that the paths name, as a Parquet or CSV table; see `prediction_schema`.

    For research, not for diagnosis. Resumable as `embed_files`. `OUT.model.json` says what made the table.

    Args:
        classifier: or what `find_classifier` takes.
        paths: see `ecgjepa.embed.inputs.list_inputs`.
        out: the `.parquet` or `.csv` file.
        hints: what the files do not say about themselves.
        windows: of a longer recording the `mean` of what is said of its windows, weighted by their tokens; the `first`
            alone; or `all`, a row for each.
        embedding: keep the features that the head reads; of Parquet only.
        precision, batch_size, device, workers, overwrite, progress, engine: see `embed_files`.
        source: what the classifier was loaded from, for the table's metadata.
        command: what was typed.

    Raises:
        InputError, FileExistsError, ClusterError: see `embed_files`.
        ValueError: options that do not go together.
        CheckpointError, HeadError: see `find_classifier`.
    """
    out = Path(out)
    check_prediction_file(out, overwrite, embedding)
    check_windows(windows, tokens=False)
    if not isinstance(classifier, LoadedClassifier):
        source = source or str(classifier)
        classifier = find_classifier(classifier)
    encoder, head = classifier.encoder, classifier.head
    if engine is not None and isinstance(encoder, InferenceEncoder):
        raise ValueError("classifier: its encoder is accelerated, which cannot be sent; expected it as it was loaded")
    used = encoder.precision if isinstance(encoder, InferenceEncoder) else precision
    options = Options(windows, False, None, used, batch_size)
    about = describe_classifier(classifier)
    plan = plan_of(encoder, source, {"windows": windows, "embedding": embedding}, options)
    plan |= {"head_sha256": head_sha256(head), "classifier": about}

    def here() -> Embedder:
        return Predictor(replace(classifier, encoder=accelerated(encoder, options, device)), options, embedding)

    nodes = device_of_nodes(encoder, device)
    making = Making(
        "predict",
        "predictions",
        plan,
        prediction_schema(head, encoder.config.width if embedding else None),
        options,
        here,
        functools.partial(_send, classifier=classifier, options=options, embedding=embedding, device=nodes),
        (model_file(out), {**plan, "versions": versions(), "command": command}),
    )
    return make_table(
        making,
        paths,
        out,
        hints=hints,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
        engine=engine,
    )


def check_prediction_file(out: Path, overwrite: bool, embedding: bool) -> None:
    """Found out before any work.

    Raises:
        ValueError: neither Parquet nor CSV, or embeddings in a CSV.
        FileExistsError: something is there that may not be replaced.
    """
    check_out(out, overwrite, SUFFIXES)
    if embedding and out.suffix.lower() == CSV_SUFFIX:
        raise ValueError(f"{out}: embeddings are kept in a Parquet file only, expected one that ends in .parquet")
    beside, parts = model_file(out), out.with_name(out.name + ".parts")
    if os.path.lexists(beside) and not (overwrite or parts.is_dir()):
        raise FileExistsError(f"{beside} exists already, without its table; --overwrite replaces it")


def _send(
    model: Path, *, classifier: LoadedClassifier, options: Options, embedding: bool, device: str
) -> Callable[[], Embedder]:
    """Write the classifier to a folder once, for other processes; what opens it there, on their device."""
    if not (model / CONFIG).is_file():
        save_classifier(model, classifier.encoder, classifier.head)
    return functools.partial(_open, model, options, embedding, classifier.encoder.weights_sha256(), device)


@functools.lru_cache(maxsize=1)
def _open(model: Path, options: Options, embedding: bool, weights_sha256: str, device: str) -> Embedder:
    """Once in each process."""
    classifier = load_classifier(model)
    fast = accelerate_here(classifier.encoder, options, weights_sha256, device)
    return Predictor(replace(classifier, encoder=fast), options, embedding)
