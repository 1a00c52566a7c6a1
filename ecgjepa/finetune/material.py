"""What a run works with: records, splits and labels as its protocol wants them, and what pretraining saw of them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecgjepa.checkpoint import LoadedModel, find_seen
from ecgjepa.data.seen import Seen
from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import contract_warnings
from ecgjepa.evaluate.leaks import find_overlap
from ecgjepa.evaluate.readouts.checks import learned_classes, macro_auc
from ecgjepa.evaluate.targets import Targets, arrange_splits, take_training_fraction
from ecgjepa.finetune.building import Asked, numbers_of, prepare_encoder
from ecgjepa.finetune.records import TrainingRecords, leads_of
from ecgjepa.finetune.seen import nothing_seen
from ecgjepa.finetune.settings import FinetuneSettings


@dataclass(frozen=True)
class Material:
    """What a run works with.

    Attributes:
        targets: all records that take part.
        train, validation: signals and numbers; no validation in the paper protocol.
        seen: the list of what the encoder was trained on before, if it is known; None from random weights, too.
        overlap: what it saw of the records, see `find_overlap`.
        notes: what a reader of the result must know.
    """

    store: Store
    targets: Asked
    train: TrainingRecords
    validation: TrainingRecords | None
    seen: Path | None
    overlap: dict[str, Any]
    notes: list[str]


def gather(
    store: Store,
    model: LoadedModel,
    settings: FinetuneSettings,
    asked: Asked,
    *,
    allow_overlap: bool,
    pin: bool,
) -> Material:
    """Arrange splits, look for leaks and for what cannot be learned or chosen; raises as `finetune` says."""
    contract = prepare_encoder(model.encoder, settings).contract
    notes = contract_warnings(store.contract, contract)
    asked = arrange_splits(asked, settings.protocol, settings.seed)
    asked = take_training_fraction(asked, settings.label_fraction, settings.seed)
    leads_of(contract, settings.leads)
    if isinstance(asked, Targets):
        learned_classes(asked.labels_NK[asked.of("train")], settings.task)  # type: ignore[arg-type]
        if settings.protocol == "strict":
            validation_NK = asked.labels_NK[asked.of("validation")]
            macro_auc(validation_NK, np.zeros(validation_NK.shape))
    file = None if settings.mode == "scratch" else find_seen(model)
    seen = None if file is None else Seen.read(file)
    overlap = find_overlap(
        store, asked, nothing_seen(store) if settings.mode == "scratch" else seen, allow=allow_overlap
    )

    def part(split: str) -> TrainingRecords:
        positions = asked.of(split)
        depth, numbers = model.encoder.config.depth, numbers_of(asked)
        return TrainingRecords(store, asked.rows_N[positions], numbers[positions], contract, settings, depth, pin)

    validation = part("validation") if settings.protocol == "strict" else None
    return Material(store, asked, part("train"), validation, file, overlap, [*notes, *asked.warnings])
