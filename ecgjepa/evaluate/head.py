"""A linear classifier or regression on the embeddings of an encoder, as one file: `head.safetensors`.

The tensors are `weight` (K, D) and `bias` (K) in float64, on features as the encoder gives them: a standardisation is
folded in. float64, because features of little trained weights differ by thousandths of their size. Where the features
are not the mean over tokens but an attention pooling, its float32 tensors stand beside, as `pooling.NAME`. What the
numbers mean stands in the file's header, as JSON under the key `ecgjepa_head`.

Axes: N records, T tokens, D features, K classes (of a regression, values).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.special import expit, logsumexp, softmax

import ecgjepa
from ecgjepa.evaluate.readouts import CONSTANT_LOGIT, decide
from ecgjepa.files import atomic_path
from ecgjepa.model.encoder import Encoder

if TYPE_CHECKING:
    from ecgjepa.model.attention_pooling import AttentionPool

HeadTask = Literal["multilabel", "multiclass", "regression"]

HEAD = "head.safetensors"
FORMATS = (1, 2)  # 2 for what a reader of 1 would take for something else: a regression, a pooling
KEY = "ecgjepa_head"
POOLING = "pooling."


class HeadError(ValueError):
    """A file that is no head, or a head that does not fit; the message says what was found and what was expected."""


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier, or regression, on embeddings.

    A class that could not be learned has weights of 0 and a bias of -10,000 (never) or 10,000 (always): finite, and a
    probability of exactly 0 or 1.

    Attributes:
        weight_KD, bias_K: the layer, on features as the encoder gives them.
        classes: K names; of a regression what each value is, such as `age`.
        task: `multilabel` (a sigmoid per class), `multiclass` (a softmax over all) or `regression` (the values).
        thresholds_K: probabilities from which a class is called; 0.5 each if not given; None if not multilabel.
        about: where it comes from, JSON values: `dataset`, `level`, `protocol`, `label_fraction`, `seed`, and of the
            encoder `encoder`, `checkpoint`, `width`, `contract`, `weights_sha256`. Where some leads alone are
            looked at, `leads`. May be empty.
        pooling: the tensors of the `AttentionPool` that gives the features; their mean over tokens where None.
        pooling_heads: its attention heads.

    Raises:
        HeadError: the parts do not fit each other, or a number is not finite.
    """

    weight_KD: Float64[ndarray, "k d"]
    bias_K: Float64[ndarray, "k"]
    classes: tuple[str, ...]
    task: HeadTask = "multilabel"
    thresholds_K: Float64[ndarray, "k"] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    pooling: Mapping[str, ndarray] | None = None
    pooling_heads: int = 1

    def __post_init__(self) -> None:
        names, is_multilabel = self.classes, self.task == "multilabel"
        if self.task not in get_args(HeadTask):
            raise HeadError(f"head: task {self.task!r}, expected one of {get_args(HeadTask)}")
        if not names or len(set(names)) != len(names) or (self.task == "multiclass" and len(names) < 2):
            raise HeadError(f"head: classes {names}, expected distinct names, two at least for multiclass")
        if self.thresholds_K is None and is_multilabel:
            object.__setattr__(self, "thresholds_K", np.full(len(names), 0.5))
        if self.thresholds_K is not None and not is_multilabel:
            how = "calls the most probable class" if self.task == "multiclass" else "calls none"
            raise HeadError(f"head: thresholds for a {self.task} head, which {how}")
        thresholds_are_flat = self.thresholds_K is None or self.thresholds_K.ndim == 1
        if self.weight_KD.ndim != 2 or self.bias_K.ndim != 1 or not thresholds_are_flat:
            raise HeadError(f"head: weights of shape {self.weight_KD.shape}, expected (classes, width)")
        shapes = [each.shape for each in (self.weight_KD[:, :1], self.bias_K)]
        if self.thresholds_K is not None:
            shapes.append(self.thresholds_K.shape)
        if any(shape[0] != len(names) for shape in shapes):
            raise HeadError(f"head: {len(names)} classes, but weights of shape {self.weight_KD.shape} and {shapes[1:]}")
        numbers = [self.weight_KD, self.bias_K, *(self.pooling or {}).values()]
        numbers += [] if self.thresholds_K is None else [self.thresholds_K]
        if not all(np.isfinite(each).all() for each in numbers):
            raise HeadError("head: a weight, bias or threshold is not a finite number")
        if self.pooling is not None:
            self.attention_pool()

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
        logits_NK = self._class_logits(features_ND)
        return expit(logits_NK) if self.task == "multilabel" else softmax(logits_NK, axis=1)

    def predict(self, features_ND: Float[ndarray, "n d"]) -> Float64[ndarray, "n k"]:
        """The values of a regression, (N, K); raises HeadError for a classifier."""
        if self.task != "regression":
            raise HeadError(f"head: values are asked of a {self.task} head, which gives probabilities")
        return self._logits(features_ND)

    def log_odds(self, features_ND: Float[ndarray, "n d"]) -> Float64[ndarray, "n k"]:
        """log(p / (1 - p)) of every class, (N, K), without the rounding of p near 0 and 1."""
        logits_NK = self._class_logits(features_ND)
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

    def check(self, encoder: Encoder, *, plain: bool = True) -> None:
        """Whether the head may read the features of an encoder.

        Args:
            plain: these are the mean over the tokens of all leads. False where the caller does what `pooling` and
                `about["leads"]` say.

        Raises:
            HeadError: the encoder is of another width, the head says that it was learned on other weights, or it reads
                other features than plain ones.
        """
        if plain and (self.pooling is not None or self.about.get("leads") is not None):
            what = "an attention pooling" if self.pooling is not None else f"the leads {self.about['leads']} alone"
            raise HeadError(f"head: it reads the features of {what}, not the mean over all tokens")
        if encoder.config.width != self.width:
            raise HeadError(f"head: it reads {self.width} features, the encoder gives {encoder.config.width}")
        learned_on = self.about.get("weights_sha256")
        if learned_on is not None and learned_on != encoder.weights_sha256():
            which = f"{self.about.get('checkpoint') or 'another checkpoint'} ({self.about.get('encoder', 'encoder')})"
            raise HeadError(f"head: it was learned on the features of {which}, and this encoder has other weights")

    def attention_pool(self) -> "AttentionPool | None":
        """The pooling of tokens that gives the features, float32 on the CPU; None where it is their mean.

        Raises:
            HeadError: its tensors are not those of an `AttentionPool` of the head's width.
        """
        if self.pooling is None:
            return None
        import torch

        from ecgjepa.model.attention_pooling import AttentionPool

        try:
            pool = AttentionPool(self.width, self.pooling_heads)
            tensors = {name: np.array(value, np.float32) for name, value in self.pooling.items()}
            pool.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
        except (ValueError, RuntimeError, TypeError) as error:
            raise HeadError(f"head: unusable attention pooling: {str(error).replace(chr(10), ' ')}") from error
        return pool.eval()

    def _class_logits(self, features_ND: ndarray) -> ndarray:
        if self.task == "regression":
            raise HeadError("head: probabilities are asked of a regression head, which gives values")
        return self._logits(features_ND)

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
        is_of_old_kind = self.pooling is None and self.task != "regression"
        header = {"format": FORMATS[0] if is_of_old_kind else FORMATS[1], "version": ecgjepa.__version__}
        header |= {"task": self.task, "classes": list(self.classes), "thresholds": thresholds}
        header |= {"about": dict(self.about)} | ({"pooling_heads": self.pooling_heads} if self.pooling else {})
        metadata = {KEY: json.dumps(header, ensure_ascii=False, allow_nan=False)}
        tensors = {"weight": np.ascontiguousarray(self.weight_KD), "bias": np.ascontiguousarray(self.bias_K)}
        for name, value in (self.pooling or {}).items():
            tensors[f"{POOLING}{name}"] = np.array(value, np.float32)
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
                names = [name for name in opened.keys() if name.startswith(POOLING)]  # noqa: SIM118
                pooling = {name.removeprefix(POOLING): opened.get_tensor(name) for name in names} or None
            if described["format"] not in FORMATS:
                raise HeadError(f"{file}: head format {described['format']}, expected {' or '.join(map(str, FORMATS))}")
            pooling_heads = int(described.get("pooling_heads", 1))
            thresholds = described["thresholds"]
            thresholds_K = None if thresholds is None else np.array(thresholds, dtype=np.float64)
            classes, task, about = tuple(map(str, described["classes"])), described["task"], dict(described["about"])
        except HeadError:
            raise
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise HeadError(f"{file} is not a head: {type(error).__name__}: {error}") from error
        return cls(weight_KD, bias_K, classes, task, thresholds_K, about, pooling, pooling_heads)

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
