"""The end of a run: what was trained on disk, one look at the test records, scores."""

import copy
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.checkpoint import SEEN, load_pickle
from ecgjepa.evaluate.head import describe_encoder
from ecgjepa.evaluate.result import RESULT
from ecgjepa.evaluate.segmentation_targets import SegmentationTargets
from ecgjepa.evaluate.summary import summarise
from ecgjepa.evaluate.targets import RegressionTargets
from ecgjepa.files import write_json
from ecgjepa.finetune.building import as_labels
from ecgjepa.finetune.ends import CLASSIFIER_END, SEGMENTER_END
from ecgjepa.finetune.material import Material
from ecgjepa.finetune.result import METRIC_OF
from ecgjepa.finetune.run_folder import RunFolder
from ecgjepa.finetune.seen import extend_seen
from ecgjepa.finetune.training import Training


def finish(
    run: RunFolder,
    training: Training,
    material: Material,
    about: dict[str, Any],
    pretrained: dict[str, Any],
    *,
    resamples: int,
    progress: bool,
    started: float,
) -> dict[str, Any]:
    """Write `best/`, `last/`, the predictions and `result.json`; returns what the last one says.

    The test records are predicted by what was written, read again from its files.

    Args:
        about: `encoder`, `checkpoint` and `command`.
        pretrained: where the encoder came from, to note in `config.json`.
    """
    settings, targets = training.settings, material.targets
    end = SEGMENTER_END if settings.task == "segmentation" else CLASSIFIER_END
    about = {
        "dataset": str(material.store.info["dataset"]),
        "level": settings.level,
        "task": settings.task,
        "protocol": settings.protocol,
        "mode": settings.mode,
        "pooling": settings.pooling,
        "leads": None if settings.leads is None else list(settings.leads),
        "label_fraction": settings.label_fraction,
        "seed": settings.seed,
        **({"unit": targets.unit} if isinstance(targets, RegressionTargets) else {}),
        **about,
    }
    parts = {"last": copy.deepcopy(training.state()["network"])}  # a copy, as the next one is loaded over it
    if training.best is not None:
        parts["best"] = load_pickle(run.best_file(training.best[0]))
    with tempfile.TemporaryDirectory() as temporary:
        seen = _seen_list(Path(temporary) / SEEN, material, settings.mode == "scratch")
        for name, weights in parts.items():
            training.network.load_state_dict(weights)
            epoch = training.best[0] if training.best is not None and name == "best" else settings.epochs
            said = {key: value for key, value in about.items() if key != "command"} | {"epoch": epoch}
            notes = {"finetuned": said | {"settings": settings.model_dump(mode="json")}, "pretrained": pretrained}
            said |= describe_encoder(training.network.encoder, about["encoder"], about["checkpoint"])
            said = {key: value for key, value in said.items() if value is not None}
            end.save(run.path / name, training, material, said, seen, {"seed": settings.seed, **notes}, progress)
    found, notes_of_end = end.predict(
        run.path, "best" if "best" in parts else "last", training.device, material, settings, resamples, progress
    )
    selection: dict[str, Any] | None = None
    if training.best is not None:
        values = [float(row["validation"]) for row in run.rows()]
        selection = {"epoch": training.best[0], "epochs": settings.epochs}
        selection |= {"metric": METRIC_OF[settings.task], "validation": values}
    summary = summarise(
        {**about, "settings": settings.model_dump(mode="json"), **found, "selection": selection},
        material.store,
        as_labels(targets) if isinstance(targets, SegmentationTargets) else targets,
        statistics={"resamples": resamples, "seed": settings.seed},
        overlap=material.overlap,
        warnings=[*material.notes, *notes_of_end],
        seconds=time.monotonic() - started,
    )
    write_json(run.path / RESULT, summary)
    return summary


def _seen_list(file: Path, material: Material, from_scratch: bool) -> Path | None:
    """What the encoder has been trained on by now; None where it is not known what it was trained on before."""
    if material.seen is None and not from_scratch:
        return None
    used = np.flatnonzero(material.targets.split_N != "test")
    extend_seen(file, material.seen, material.store, material.targets.rows_N[used])
    return file
