"""What a class rests on, asked of the model's thread a batch of stretches at a time, so that others need not wait.

Axes: B stretches, L leads, S samples, P patches, D width.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from torch import Tensor, nn

from ecgjepa.errors import RefusedRecordError
from ecgjepa.evaluate.occlusion import occlusion_map
from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.model.encoder import Encoder
from ecgjepa.serve.batching import ModelThread, QueueFullError
from ecgjepa.windows import Window

# Of one map: of 12 leads of 10 s, stretches of one patch of 0.2 s are 600.
MOST_STRETCHES = 1024
# Maps that are asked for at once; one is computed at a time.
MOST_ASKED = 4


class StoppedError(RuntimeError):
    """Whoever asked is gone."""


class Occluder:
    """Makes maps, one at a time.

    Args:
        classifier: whose head reads the mean over all tokens; others are refused when a map is asked for.
        batch_size: stretches that run at once.
    """

    def __init__(self, classifier: LoadedClassifier | None, model: ModelThread, batch_size: int) -> None:
        self.classifier, self.model, self.batch_size = classifier, model, batch_size
        self._one = asyncio.Semaphore(1)
        self._asked = 0

    async def map(self, record: str, window: Window, class_name: str, stretch_patches: int) -> Float64[ndarray, "l p"]:
        """By how much the log odds fall when a stretch is hidden, see `occlusion_map`.

        Raises:
            RefusedRecordError: no map of this ECG, class or classifier can be made.
            QueueFullError: too many maps are asked for.
            ModelClosedError: the model does not run.
        """
        assert self.classifier is not None, "asked of a classifier only"
        if self.classifier.head.task == "regression":
            raise RefusedRecordError(record, "no_occlusion", "a regression gives values, which have no log odds")
        patch_samples = self.classifier.encoder.config.patch_samples
        patches = window.signal_mv.shape[1] // patch_samples
        stretches = len(window.leads) * -(-patches // stretch_patches)
        if stretches > MOST_STRETCHES:
            found = f"{stretches} stretches of {stretch_patches} patches, expected at most {MOST_STRETCHES}"
            raise RefusedRecordError(record, "too_many_stretches", f"{found}: hide longer ones")
        if self._asked >= MOST_ASKED:
            raise QueueFullError(f"{self._asked} maps are asked for already, expected at most {MOST_ASKED}")
        stopped = threading.Event()
        signal_mv_LS = window.signal_mv[:, : patches * patch_samples]
        self._asked += 1
        try:
            async with self._one:
                return await asyncio.to_thread(
                    self._map, record, signal_mv_LS, window.leads, class_name, stretch_patches, stopped.is_set
                )
        finally:
            self._asked -= 1
            stopped.set()

    def _map(
        self,
        record: str,
        signal_mv_LS: ndarray,
        leads: tuple[str, ...],
        class_name: str,
        stretch_patches: int,
        is_stopped: Callable[[], bool],
    ) -> Float64[ndarray, "l p"]:
        assert self.classifier is not None, "asked of a classifier only"
        encoder = EncoderElsewhere(self.classifier.encoder, self.model, is_stopped)
        try:
            return occlusion_map(
                encoder,
                self.classifier.head,
                signal_mv_LS,
                leads,
                class_name,
                stretch_patches=stretch_patches,
                score="log_odds",
                batch_size=self.batch_size,
            )
        except ValueError as error:
            raise RefusedRecordError(record, "no_occlusion", str(error)) from error


class EncoderElsewhere(Encoder):
    """An encoder whose forward passes run in the model's thread, one call between two batches.

    Args:
        encoder: that runs there.
        is_stopped: asked before each pass.
    """

    _encoder: Encoder
    _model: ModelThread
    _is_stopped: Callable[[], bool]

    def __init__(self, encoder: Encoder, model: ModelThread, is_stopped: Callable[[], bool]) -> None:
        nn.Module.__init__(self)
        self.config, self.contract, self.position_LPD = encoder.config, encoder.contract, encoder.position_LPD
        # Not as modules: they are the encoder's, and stay so.
        self.__dict__ |= {"_encoder": encoder, "_model": model, "_is_stopped": is_stopped}

    def forward_features(
        self, signal_mv_BLS: Float[Tensor, "b l samples"], leads: Sequence[str] | None = None, *args: Any, **named: Any
    ) -> Float[Tensor, "b l kept d"]:
        """As the encoder's own.

        Raises:
            StoppedError: whoever asked is gone.
            ModelClosedError: the model does not run.
        """

        def run() -> Tensor:
            with torch.inference_mode():
                return self._encoder.forward_features(signal_mv_BLS, leads, *args, **named)

        if self._is_stopped():
            raise StoppedError("the map is not asked for any more")
        features: Tensor = self._model.call(run)
        return features

    def pool(
        self, features_BLPD: Float[Tensor, "b l p d"], present_BLP: Bool[Tensor, "b l p"] | None = None
    ) -> Float[Tensor, "b d"]:
        """As the encoder's own."""
        return self._encoder.pool(features_BLPD, present_BLP)

    def weights_sha256(self) -> str:
        """As the encoder's own."""
        return self._encoder.weights_sha256()
