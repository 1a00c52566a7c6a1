"""A frozen encoder as a scikit-learn transformer: signals in, embeddings out.

Axes: N records, L leads, S samples, D width.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags

from ecgjepa.checkpoint import choose_device, load_encoder
from ecgjepa.data.formats.hints import Hints
from ecgjepa.data.readers import read
from ecgjepa.errors import RefusedRecordError
from ecgjepa.model.embedding import check_embeddings, embed_windows, mean_of_windows, name_leads, to_array
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import InferenceEncoder, Precision, accelerate
from ecgjepa.patches import take_embeddable
from ecgjepa.signal import Recording
from ecgjepa.units import to_mv
from ecgjepa.windows import Window

# Windows that run before the next records are read, in batches.
FLUSH_BATCHES = 4
WEIGHTS = ("teacher.safetensors", "student.safetensors", "model.safetensors")
MODEL_FILES = (*WEIGHTS, *(f"model/{name}" for name in WEIGHTS), "checkpoints/last.pt")


class ECGEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Embeddings of a frozen encoder, for `Pipeline`, `cross_val_score` and the like; it learns nothing.

    Args:
        encoder: what `load_encoder` takes, or an `Encoder`. A path is kept as a path: clones and pickles are small, and
            load the weights when they are used.
        sampling_rate_hz: of arrays; files say their own, or are told this one where they do not.
        leads: names of the rows of arrays, and of files that do not name them; see `Encoder.embed`.
        unit: of arrays (mV where None), and of files that do not say it: `mV`, `uV`, `V`, `nV`, or `adc` with
            `gain_per_mv`.
        gain_per_mv: counts per mV, for `adc`.
        windows: the `first` window of a longer recording, or the `mean` of all.
        layer: see `Encoder.forward_features`.
        which: teacher or student; where None, the teacher if it is there, else what is there.
        precision: see `ecgjepa.model.inference.accelerate`.
        device: `auto`, `cpu`, `cuda`, ...
        batch_size: windows that run at once.
        refused: what an ECG does that cannot be brought to the contract: `raise`, or give a row of `nan`.

    Attributes:
        contract_: the signal contract of the encoder.
        n_features_out_: D.
    """

    def __init__(
        self,
        encoder: str | Path | Encoder,
        *,
        sampling_rate_hz: float | None = None,
        leads: Sequence[str] | None = None,
        unit: str | None = None,
        gain_per_mv: float | None = None,
        windows: Literal["first", "mean"] = "first",
        layer: int | None = None,
        which: Literal["teacher", "student"] | None = None,
        precision: Precision = "fp32",
        device: str = "auto",
        batch_size: int = 16,
        refused: Literal["raise", "nan"] = "raise",
    ) -> None:
        self.encoder = encoder
        self.sampling_rate_hz = sampling_rate_hz
        self.leads = leads
        self.unit = unit
        self.gain_per_mv = gain_per_mv
        self.windows = windows
        self.layer = layer
        self.which = which
        self.precision = precision
        self.device = device
        self.batch_size = batch_size
        self.refused = refused

    def fit(self, X: Any = None, y: Any = None) -> "ECGEmbedder":
        """Load the encoder and check the options; X and y are not looked at.

        Raises:
            CheckpointError: no model, or not the one it should be.
            ValueError: an option that is unknown.
        """
        encoder = self._encoder()
        self.contract_ = encoder.contract
        self.n_features_out_ = self._n_features_out = encoder.config.width
        return self

    def transform(self, X: ndarray | Sequence[Any]) -> Float32[ndarray, "n d"]:
        """Embed ECGs.

        Args:
            X: (N, L, S) array, or a sequence of arrays (L, S) of any length, `Recording`s, or paths of files.

        Returns:
            (N, D) float32.

        Raises:
            RefusedRecordError: an ECG that cannot be brought to the contract, unless `refused` is `nan`.
        """
        if isinstance(X, str | Path) or hasattr(X, "columns"):
            raise ValueError(f"ECGEmbedder: X is a {type(X).__name__}, expected an array or a list of ECGs")
        encoder = self._encoder()
        features: list[Float32[ndarray, d]] = []
        waiting: list[list[Window]] = []
        for row, item in enumerate(X):
            try:
                recording = self._recording(item, f"X[{row}]", encoder)
                windows = take_embeddable(recording, encoder.contract, encoder.config.patch_samples, self.windows)
            except RefusedRecordError:
                if self.refused == "raise":
                    raise
                windows = []
            waiting.append(windows)
            if sum(map(len, waiting)) >= FLUSH_BATCHES * self.batch_size:
                features += self._embed(encoder, waiting)
                waiting = []
        features += self._embed(encoder, waiting)
        return np.stack(features) if features else np.empty((0, encoder.config.width), dtype=np.float32)

    def _embed(self, encoder: Encoder, records: list[list[Window]]) -> list[Float32[ndarray, "d"]]:
        flat = [window for windows in records for window in windows]
        embedded_WD = embed_windows(encoder, flat, layer=self.layer, batch_size=self.batch_size)
        check_embeddings(embedded_WD, ["a record of X"] * len(flat))
        each = iter(embedded_WD)
        nothing = np.full(encoder.config.width, np.nan, dtype=np.float32)
        own = [[next(each) for _ in windows] for windows in records]
        return [
            mean_of_windows(encoder, np.stack(embedded), windows) if embedded else nothing
            for embedded, windows in zip(own, records, strict=True)
        ]

    def _recording(self, item: Any, name: str, encoder: Encoder) -> Recording:
        if isinstance(item, Recording):
            return item
        if isinstance(item, str | Path):
            leads = None if self.leads is None else tuple(self.leads)
            return read(Path(item), hints=Hints(self.sampling_rate_hz, leads, self.unit, self.gain_per_mv))
        values = to_array(item)
        if values.ndim != 2:
            raise ValueError(f"{name}: shape {values.shape}, expected (leads, samples), a Recording or a path")
        if self.sampling_rate_hz is None:
            raise ValueError("ECGEmbedder: arrays need sampling_rate_hz=...")
        names = name_leads(self.leads, len(values), encoder.contract)
        signal_mv = to_mv(name, values, self.unit or "mV", gain_per_mv=self.gain_per_mv)
        return Recording(name, signal_mv, names, self.sampling_rate_hz)

    def _encoder(self) -> Encoder:
        """The accelerated encoder, made anew when weights or options are others than last time."""
        for name, allowed in (("windows", ("first", "mean")), ("refused", ("raise", "nan"))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"ECGEmbedder: {name} must be one of {allowed}, found {getattr(self, name)!r}")
        device = choose_device(self.device)
        if isinstance(self.encoder, InferenceEncoder):
            return self.encoder
        if not isinstance(self.encoder, Encoder):
            return _load(str(self.encoder), self.which, self.precision, device, _state_of(self.encoder))
        state = (id(self.encoder), *(weight._version for weight in self.encoder.parameters()), self.precision, device)
        if getattr(self, "_accelerated_state", None) != state:
            self._accelerated = accelerate(self.encoder, self.precision, device=device)
            self._accelerated_state = state
        return self._accelerated

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if not name.startswith("_accelerated")}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        tags.input_tags.allow_nan, tags.requires_fit = True, False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _state_of(source: str | Path) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of the files that a model on this machine may be read from."""
    place = Path(source)
    files = [place, *(place / name for name in MODEL_FILES)]
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@functools.lru_cache(maxsize=4)
def _load(
    source: str,
    which: Literal["teacher", "student"] | None,
    precision: Precision,
    device: torch.device,
    _state: tuple[tuple[str, int, int], ...],
) -> Encoder:
    """Kept, so that the clones of a cross-validation share the weights; a model that was trained on is another one."""
    return accelerate(load_encoder(source, which), precision, device=device)
