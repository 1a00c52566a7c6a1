"""A linear classifier on the embeddings of an encoder, as one file: `head.safetensors`.

The tensors are `weight` (K, D) and `bias` (K) in float64, on features as the encoder gives them: a standardisation is
folded in. float64, because features of little trained weights differ by thousandths of their size. What the numbers
mean stands in the file's header, as JSON under the key `ecgjepa_head`.

Axes: N records, D features, K classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import expit, logsumexp, softmax

import ecgjepa
from ecgjepa.evaluate.logistic import Task
from ecgjepa.evaluate.protocols import CONSTANT_LOGIT, decide
from ecgjepa.files import atomic_path
from ecgjepa.model.encoder import Encoder

HEAD = "head.safetensors"
FORMAT = 1
KEY = "ecgjepa_head"


class HeadError(ValueError):
    """A file that is no head, or a head that does not fit; the message says what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier on embeddings.

    A class that could not be learned has weights of 0 and a bias of -10,000 (never) or 10,000 (always): finite, and a
    probability of exactly 0 or 1.

    Attributes:
        weight_KD, bias_K: the layer, on features as the encoder gives them.
        classes: K names.
        task: `multilabel` (a sigmoid per class) or `multiclass` (a softmax over all).
        thresholds_K: probabilities from which a class is called; 0.5 each if not given; None for multiclass.
        about: where it comes from, JSON values: `dataset`, `level`, `protocol`, `label_fraction`, `seed`, and of the
            encoder `encoder`, `checkpoint`, `width`, `contract`, `weights_sha256`. May be empty.

    Raises:
        HeadError: the parts do not fit each other, or a number is not finite.
    """

    weight_KD: Float64[ndarray, "k d"]
    bias_K: Float64[ndarray, "k"]
    classes: tuple[str, ...]
    task: Task = "multilabel"
    thresholds_K: Float64[ndarray, "k"] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names, is_multilabel = self.classes, self.task == "multilabel"
        if self.task not in get_args(Task):
            raise HeadError(f"head: task {self.task!r}, expected one of {get_args(Task)}")
        if not names or len(set(names)) != len(names) or (not is_multilabel and len(names) < 2):
            raise HeadError(f"head: classes {names}, expected distinct names, two at least for multiclass")
        if self.thresholds_K is None and is_multilabel:
            object.__setattr__(self, "thresholds_K", np.full(len(names), 0.5))
        if self.thresholds_K is not None and not is_multilabel:
            raise HeadError("head: thresholds for a multiclass head, which calls the most probable class")
        thresholds_are_flat = self.thresholds_K is None or self.thresholds_K.ndim == 1
        if self.weight_KD.ndim != 2 or self.bias_K.ndim != 1 or not thresholds_are_flat:
            raise HeadError(f"head: weights of shape {self.weight_KD.shape}, expected (classes, width)")
        shapes = [each.shape for each in (self.weight_KD[:, :1], self.bias_K)]
        if self.thresholds_K is not None:
            shapes.append(self.thresholds_K.shape)
        if any(shape[0] != len(names) for shape in shapes):
            raise HeadError(f"head: {len(names)} classes, but weights of shape {self.weight_KD.shape} and {shapes[1:]}")
        numbers = (self.weight_KD, self.bias_K, () if self.thresholds_K is None else self.thresholds_K)
        if not all(np.isfinite(each).all() for each in numbers):
            raise HeadError("head: a weight, bias or threshold is not a finite number")

    @property
    def width(self) -> int:
        """Features it reads."""
        return self.weight_KD.shape[1]

    def index(self, class_name: str) -> int:
        """Column of a class; raises HeadError for a name that is none."""
        if class_name not in self.classes:
            raise HeadError(f"head: no class {class_name!r}, expected one of {', '.join(self.classes)}")
        return self.classes.index(class_name)

    def predict_proba(self, features_ND: Float[ndarray, "n d"]) -> Float64[ndarray, "n k"]:
        """Probability of every class, (N, K); of a multiclass head the rows sum to 1."""
        logits_NK = self._logits(features_ND)
        return expit(logits_NK) if self.task == "multilabel" else softmax(logits_NK, axis=1)

    def log_odds(self, features_ND: Float[ndarray, "n d"]) -> Float64[ndarray, "n k"]:
        """log(p / (1 - p)) of every class, (N, K), without the rounding of p near 0 and 1."""
        logits_NK = self._logits(features_ND)
        if self.task == "multilabel":
            return logits_NK
        others = [np.delete(logits_NK, k, axis=1) for k in range(len(self.classes))]
        return logits_NK - np.stack([logsumexp(each, axis=1) for each in others], axis=1)

    def decide(self, probabilities_NK: Float64[ndarray, "n k"]) -> Bool[ndarray, "n k"]:
        """Which classes are called: those at their threshold, or the most probable one alone (multiclass)."""
        return decide(probabilities_NK, self.thresholds_K)

    def is_constant(self, class_name: str) -> bool:
        """Whether a class could not be learned, so that every record has the same score."""
        column = self.index(class_name)
        return bool(abs(self.bias_K[column]) >= CONSTANT_LOGIT and not self.weight_KD[column].any())

    def check(self, encoder: Encoder) -> None:
        """Whether the head may read the features of an encoder.

        Raises:
            HeadError: the encoder is of another width, or the head says that it was learned on other weights.
        """
        if encoder.config.width != self.width:
            raise HeadError(f"head: it reads {self.width} features, the encoder gives {encoder.config.width}")
        learned_on = self.about.get("weights_sha256")
        if learned_on is not None and learned_on != encoder.weights_sha256():
            which = f"{self.about.get('checkpoint') or 'another checkpoint'} ({self.about.get('encoder', 'encoder')})"
            raise HeadError(f"head: it was learned on the features of {which}, and this encoder has other weights")

    def _logits(self, features_ND: ndarray) -> ndarray:
        if features_ND.shape[1] != self.width:
            raise HeadError(f"head: it reads {self.width} features, found {features_ND.shape[1]}")
        return features_ND.astype(np.float64) @ self.weight_KD.T + self.bias_K

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write the file, whole or not at all.

        Raises:
            FileExistsError: it exists and `overwrite` is False.
        """
        path = Path(path)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists already; choose another name, or overwrite it")
        thresholds = None if self.thresholds_K is None else self.thresholds_K.tolist()
        header = {"format": FORMAT, "version": ecgjepa.__version__, "task": self.task, "classes": list(self.classes)}
        header |= {"thresholds": thresholds, "about": dict(self.about)}
        metadata = {KEY: json.dumps(header, ensure_ascii=False, allow_nan=False)}
        tensors = {"weight": np.ascontiguousarray(self.weight_KD), "bias": np.ascontiguousarray(self.bias_K)}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: Path | str) -> "Head":
        """Read a head, or that of a result folder of `ecgjepa probe`.

        Raises:
            HeadError: nothing is there, or it is no head.
        """
        path = Path(path)
        file = path / HEAD if path.is_dir() else path
        if not file.is_file():
            raise HeadError(f"no head at {path}: expected a {HEAD}, or a result folder of probe that holds one")
        try:
            with safe_open(file, framework="numpy") as opened:
                described = json.loads((opened.metadata() or {})[KEY])
                weight_KD, bias_K = (opened.get_tensor(name).astype(np.float64) for name in ("weight", "bias"))
            if described["format"] != FORMAT:
                raise HeadError(f"{file}: head format {described['format']}, expected {FORMAT}")
            thresholds = described["thresholds"]
            thresholds_K = None if thresholds is None else np.array(thresholds, dtype=np.float64)
            classes, task, about = tuple(map(str, described["classes"])), described["task"], dict(described["about"])
        except HeadError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise HeadError(f"{file} is not a head: {type(error).__name__}: {error}") from error
        return cls(weight_KD, bias_K, classes, task, thresholds_K, about)

    @classmethod
    def from_sklearn(
        cls, estimator: Any, classes: Sequence[str] | None = None, about: Mapping[str, Any] | None = None
    ) -> "Head":
        """A fitted `LogisticRegression`, alone, behind a `StandardScaler` in a pipeline, or in a `OneVsRestClassifier`.

        One of two or more exclusive classes becomes a multiclass head with the same probabilities; with a single name
        in `classes`, one of two classes becomes a multilabel head for the second of them. `OneVsRestClassifier` must
        have learned from indicators (N, K).

        Args:
            classes: names; those that the estimator saw if None.

        Raises:
            ValueError: another kind of estimator, not fitted, or one whose probabilities no single layer gives.
        """
        from ecgjepa.evaluate.from_sklearn import layer_of

        weight_KD, bias_K, seen, task = layer_of(estimator)
        names = tuple(map(str, seen if classes is None else classes))
        if len(names) == 1 and len(weight_KD) == 2 and task == "multiclass":
            weight_KD, bias_K, task = weight_KD[1:] - weight_KD[:1], bias_K[1:] - bias_K[:1], "multilabel"
        if len(names) != len(weight_KD):
            raise HeadError(f"head: {len(names)} names for {len(weight_KD)} classes: {names}")
        return cls(weight_KD, bias_K, names, task, None, about or {})


def describe_encoder(encoder: Encoder, name: str, checkpoint: str) -> dict[str, Any]:
    """What a head says about its encoder."""
    described = {"encoder": name, "checkpoint": checkpoint, "width": encoder.config.width}
    return {**described, "contract": encoder.contract.to_dict(), "weights_sha256": encoder.weights_sha256()}
