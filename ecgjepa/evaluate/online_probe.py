"""The online probe: a small linear evaluation beside pretraining, on validation records only.

A number to follow a run by, not one to report: C is chosen on the records that are scored, and of the training
records only some are learned from. `ecgjepa probe` gives the number to report. No test record is ever read, neither
its signal nor its labels.

Axes: N records, K classes.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int64
from numpy import ndarray

from ecgjepa.data.store import Store
from ecgjepa.evaluate.features import embed_rows
from ecgjepa.evaluate.readouts import LinearProbe
from ecgjepa.model.encoder import Encoder

PREFERRED_LEVEL = "superdiagnostic"
# Short, as it runs many times in a run: features of little trained encoders are best read with large values.
C_GRID = (1.0, 10.0, 100.0, 1000.0)


class OnlineProbe:
    """Learns from `train` records of a labelled store and scores on its `validation` records.

    The records are drawn once, so that the numbers of a run can be compared; so can those of two runs of one seed.

    Args:
        store: with labels and the splits `train` and `validation`.
        level: label level; `superdiagnostic` if None and the store has it, else the one with the fewest classes,
            of which it needs two.
        train_records: how many records to learn from at most, drawn at random.
        validation_records: how many to score at most; the default takes the whole fold of PTB-XL.
        seed: of the draw.

    Attributes:
        level: the level that is taken.
        classes: its K names.
        train_rows, validation_rows: rows of the store, ascending.

    Raises:
        ValueError: the store has no labels of that level, no labelled record in one of the two splits, or no class
            with positive and negative records in both.
    """

    def __init__(
        self,
        store: Store,
        *,
        level: str | None = None,
        train_records: int = 2000,
        validation_records: int = 2500,
        seed: int = 0,
    ) -> None:
        if train_records < 2 or validation_records < 2:
            raise ValueError(
                f"online probe: {train_records} train and {validation_records} validation records, "
                "expected at least 2 of each"
            )
        self.store, self.level = store, choose_level(store, level)
        self.classes: tuple[str, ...] = tuple(store.info["levels"][self.level])
        rows = _labelled_rows(store, self.level)
        if empty := [split for split in ("train", "validation") if not len(rows[split])]:
            raise ValueError(
                f"online probe: store {store.path} has no record in {' and in '.join(empty)} with labels "
                f"of level {self.level!r}; it needs both splits"
            )
        chance = np.random.default_rng(seed)
        self.train_rows = np.sort(chance.permutation(rows["train"])[:train_records])
        self.validation_rows = np.sort(chance.permutation(rows["validation"])[:validation_records])
        self._train_NK = self._labels(self.train_rows)
        self._validation_NK = self._labels(self.validation_rows)
        both_K = [labels.any(axis=0) & ~labels.all(axis=0) for labels in (self._train_NK, self._validation_NK)]
        if not (both_K[0] & both_K[1]).any():
            raise ValueError(
                f"online probe: no class of level {self.level!r} in store {store.path} has positive and negative "
                f"records both among {len(self.train_rows)} of train and {len(self.validation_rows)} of validation"
            )

    def measure(
        self, encoder: Encoder, device: str | torch.device | None = None, *, batch_size: int = 64
    ) -> dict[str, float]:
        """Macro AUC on validation of a logistic regression on the frozen features, computed in float32.

        No chance is used up, and the weights stay what and where they are, unless `device` is another one.

        Args:
            device: where to compute; the encoder moves there and stays. Where it is, if None.

        Returns:
            `probe_auc`, the best over four values of C (mean over the classes that validation has both kinds of), and
            `probe_c`, the C it was reached with.

        Raises:
            ValueError: the store's contract is not the encoder's, a feature is not finite, or weights are not float32.
        """
        weight = next(encoder.parameters())
        if weight.dtype != torch.float32:
            raise ValueError(f"online probe: the encoder's weights are {weight.dtype}, expected torch.float32")
        features_ND = embed_rows(
            encoder,
            self.store,
            np.concatenate([self.train_rows, self.validation_rows]),
            batch_size=batch_size,
            device=weight.device if device is None else device,
            progress=False,
        )
        train, validation = np.split(features_ND, [len(self.train_rows)])
        probe = LinearProbe("multilabel", C_GRID).fit(train, self._train_NK, validation, self._validation_NK)
        return {"probe_auc": probe.grid_[probe.best_].macro_auc, "probe_c": probe.C_}

    def _labels(self, rows: Int64[ndarray, "n"]) -> Bool[ndarray, "n k"]:
        column_of = {name: k for k, name in enumerate(self.classes)}
        labels_NK = np.zeros((len(rows), len(self.classes)), dtype=bool)
        for n, names in enumerate(self.store.column(f"labels_{self.level}").take(rows).to_pylist()):
            if unknown := [name for name in names if name not in column_of]:
                record = self.store.column("record")[int(rows[n])].as_py()
                raise ValueError(
                    f"labels: {record} has {unknown[0]!r} at level {self.level!r}, expected some of {self.classes}"
                )
            labels_NK[n, [column_of[name] for name in names]] = True
        return labels_NK


def choose_level(store: Store, level: str | None = None) -> str:
    """The level that is asked for, or the one that `OnlineProbe` takes by itself.

    Raises:
        ValueError: the store does not have it, or none of two or more classes; its levels are named.
    """
    levels = {name: classes or () for name, classes in (store.info.get("levels") or {}).items()}
    levels = {name: classes for name, classes in levels.items() if store.has_column(f"labels_{name}")}
    found = ", ".join(f"{name} ({len(classes)} classes)" for name, classes in levels.items()) or "none"
    if level is None:
        several = [name for name, classes in levels.items() if len(classes) >= 2]
        if not several:
            raise ValueError(
                f"online probe: store {store.path} has no label level of two or more classes, found {found}"
            )
        return PREFERRED_LEVEL if PREFERRED_LEVEL in several else min(several, key=lambda name: len(levels[name]))
    if not levels.get(level):
        raise ValueError(f"online probe: store {store.path} has no labels of level {level!r}, found {found}")
    return level


def _labelled_rows(store: Store, level: str) -> dict[str, Int64[ndarray, "n"]]:
    """Rows of train and of validation that are labelled, if only as having no class."""
    labelled_N = store.column(f"labels_{level}").is_valid().to_numpy()
    split_N = np.array(store.column("split").to_pylist(), dtype=object)
    return {split: np.flatnonzero(labelled_N & (split_N == split)) for split in ("train", "validation")}
