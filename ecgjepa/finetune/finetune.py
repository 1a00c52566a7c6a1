"""Fine-tuning: a pretrained encoder and a labelled store -> a classifier on disk, its predictions and scores."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ecgjepa.checkpoint import LoadedModel, public_notes
from ecgjepa.data.store import SIGNALS, Store
from ecgjepa.evaluate.frozen import fingerprint_of
from ecgjepa.finetune.building import Asked, digest_of_targets, loss_of, make_network, prepare_encoder
from ecgjepa.finetune.finishing import finish
from ecgjepa.finetune.head_start import solve_head
from ecgjepa.finetune.material import Material, gather
from ecgjepa.finetune.optimizer import Stages
from ecgjepa.finetune.result import METRIC_OF, validation_score
from ecgjepa.finetune.run_folder import RunFolder
from ecgjepa.finetune.settings import FinetuneSettings
from ecgjepa.finetune.training import Training
from ecgjepa.model.classifier import Classifier
from ecgjepa.train.stopping import stop_signal


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        path: its folder.
        step, steps: done, of all.
        stopped_by: number of the signal that stopped it; None if it is done.
        summary: what `result.json` says, of a run that is done.
    """

    path: Path
    step: int
    steps: int
    stopped_by: int | None
    summary: dict[str, Any] | None


def finetune(
    store: Store,
    model: LoadedModel,
    targets: Asked,
    settings: FinetuneSettings,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str | torch.device = "cpu",
    encoder_name: str | None = None,
    checkpoint: str = "",
    command: str = "",
    allow_overlap: bool = False,
    resamples: int = 1000,
    checkpoint_minutes: float = 10.0,
    progress: bool = True,
) -> Outcome:
    """Train a classifier and evaluate it once on the test records; see `run_folder` for what is written.

    The run is a function of encoder, store and settings: stopped and resumed at any step, it gives the same numbers.

    Args:
        targets: what is learned, with the splits of the store: see `read_question`, `read_segmentation`.
        resume: go on with the run in `out`; begin one if none is there.
        overwrite: begin again in place of the run in `out`, once it is sure that this one can begin.
        encoder_name: `teacher`, `student`, `published`, ...; what the model says if None.
        checkpoint: name of the encoder's run or file, for the head.
        allow_overlap: evaluate on test records that were seen in pretraining, too.
        checkpoint_minutes: between checkpoints within an epoch; there is one at the end of each.

    Raises:
        ValueError: model, store and settings do not fit each other, or the loss is not finite.
        LeakError: test records or their patients were seen in pretraining.
        FileExistsError, RunError: see `RunFolder.open`.
    """
    started, device = time.monotonic(), torch.device(device)
    material = gather(store, model, settings, targets, allow_overlap=allow_overlap, pin=device.type == "cuda")
    encoder = prepare_encoder(model.encoder, settings)
    stages = Stages.of(settings, material.train.steps_per_epoch)
    network = make_network(encoder, material.train, settings, device)
    training = Training(network, settings, stages, loss_of(material.train, settings, device), material.train.leads)
    run = RunFolder.open(
        out,
        resume=resume,
        overwrite=overwrite,
        command=command,
        settings=settings.model_dump(mode="json"),
        encoder=fingerprint_of(encoder),
        store={
            "dataset": store.info["dataset"],
            "checksum": store.info.get("checksums", {}).get(SIGNALS),
            "targets": digest_of_targets(material.targets),
        },
        **material.targets.counts(),
        steps=stages.steps,
        device=str(device),
    )
    if (state := run.checkpoint()) is not None:
        training.restore(state)
    elif settings.head_start == "solved":
        assert isinstance(network, Classifier)
        run.write_info(head_c=solve_head(network, material))
    with stop_signal() as stop:
        _train(run, training, material, stop, checkpoint_minutes, progress)
    if training.step < stages.steps:
        run.write_info(status="stopped", steps_done=training.step)
        return Outcome(out, training.step, stages.steps, stop[0], None)
    summary = finish(
        run,
        training,
        material,
        {"encoder": encoder_name or model.network, "checkpoint": checkpoint, "command": command},
        {} if settings.mode == "scratch" else public_notes(model),
        resamples=resamples,
        progress=progress,
        started=started,
    )
    run.write_info(status="finished", steps_done=training.step)
    return Outcome(out, training.step, stages.steps, None, summary)


def _train(
    run: RunFolder, training: Training, material: Material, stop: list[int], minutes: float, progress: bool
) -> None:
    """Steps until the end or until `stop` holds a signal; a checkpoint at the end of every epoch and when it stops."""
    stages, began, saved = training.stages, time.monotonic(), time.monotonic()
    bar = tqdm(total=stages.steps, initial=training.step, desc="fine-tuning", unit=" steps", disable=not progress)
    with bar:
        for _, batch in material.train.from_step(training.step, stages.steps):
            training.advance(batch)
            bar.update()
            if training.step % stages.per_epoch == 0:
                _end_epoch(run, training, material, time.monotonic() - began, bar)
                began = saved = time.monotonic()
            elif stop or time.monotonic() - saved > 60 * minutes:
                run.save_checkpoint(training.state())
                saved = time.monotonic()
            if stop:
                return


def _end_epoch(run: RunFolder, training: Training, material: Material, seconds: float, bar: tqdm) -> None:
    """Validate, keep the weights if they are the best so far, write the row and the checkpoint."""
    epoch, found = training.step // training.stages.per_epoch, None
    if material.validation is not None:
        outputs = training.outputs(material.validation)
        found = validation_score(material.validation.wanted(), outputs, training.settings.task)
        gain = -found if METRIC_OF[training.settings.task] == "mae" else found
        if training.best is None or gain > training.best[1]:
            training.best = epoch, gain
            run.save_best(epoch, training.state()["network"])
    loss = float(np.mean(training.losses))
    bar.set_postfix_str(f"epoch {epoch}, loss {loss:.4f}" + ("" if found is None else f", validation {found:.4f}"))
    training.losses = []
    row = {"epoch": epoch, "step": training.step, "loss": loss, "validation": found, "lr": training.rate}
    run.log(row | {"seconds": round(seconds, 3)})
    run.save_checkpoint(training.state())
