"""A run of entries -> its part of the table of predictions.

Axes: W windows, R rows, K classes, D features.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Float64
from numpy import ndarray

from ecgjepa.embed.embedder import Embedder, Options
from ecgjepa.embed.reading import ReadingJob
from ecgjepa.embed.table import to_column
from ecgjepa.finetune.classifier_folder import LoadedClassifier
from ecgjepa.finetune.predicting import outputs_of_head, pooled_windows
from ecgjepa.patches import present_patches
from ecgjepa.predict.columns import BETWEEN, CALLED, EMBEDDING, NAMES, PROBABILITY, VALUE, prediction_schema
from ecgjepa.predict.model import reading_contract
from ecgjepa.windows import Window


class Predictor(Embedder):
    """As an `Embedder`; a row holds what the head says of a window, and perhaps what it was said of.

    Args:
        classifier: whose encoder is on its device, accelerated or not.
        options: without tokens and layer.
        embedding: keep the features that the head reads.
    """

    def __init__(self, classifier: LoadedClassifier, options: Options, embedding: bool) -> None:
        encoder = classifier.encoder
        super().__init__(encoder, options)
        assert not options.tokens, "a head reads a window, and no token"
        assert options.layer is None, "a head reads the encoder's output"
        self.head, self.embedding = classifier.head, embedding
        pool = classifier.head.attention_pool()
        self.pool = None if pool is None else pool.to(encoder.position_LPD.device)
        self.schema = prediction_schema(classifier.head, encoder.config.width if embedding else None)
        self.reading_job = ReadingJob(reading_contract(classifier), encoder.config.patch_samples, options.windows)

    def _embed(self, windows: list[Window]) -> Float64[ndarray, "w k_and_d"]:
        """What the head says, and behind it the features if they are kept; NaN where these are not finite."""
        features_WD = pooled_windows(self.encoder, self.pool, windows, self.options.batch_size)
        outputs_WK = np.full((len(windows), len(self.head.classes)), np.nan)
        finite_W = np.isfinite(features_WD).all(axis=1)
        outputs_WK[finite_W] = outputs_of_head(self.head, features_WD[finite_W])
        return np.hstack([outputs_WK, features_WD]) if self.embedding else outputs_WK

    def _average(self, embedded: Float[ndarray, "w k_and_d"], windows: list[Window]) -> Float[ndarray, "k_and_d"]:
        return average_of_windows(embedded, windows, self.encoder.config.patch_samples)

    def _table(self, columns: dict[str, list[Any]], embedded: Float[ndarray, "r k_and_d"]) -> pa.Table:
        classes = self.head.classes
        outputs_RK, features_RD = np.split(embedded, [len(classes)], axis=1)
        said: dict[str, Any] = dict(columns)
        if self.head.task == "regression":
            said |= {f"{VALUE}{name}": outputs_RK[:, k] for k, name in enumerate(classes)}
        else:
            called_RK = self.head.decide(outputs_RK)
            said |= {f"{PROBABILITY}{name}": outputs_RK[:, k] for k, name in enumerate(classes)}
            said |= {f"{CALLED}{name}": called_RK[:, k] for k, name in enumerate(classes)}
            said[NAMES] = [BETWEEN.join(np.array(classes, dtype=object)[called_K]) for called_K in called_RK]
        if self.embedding:
            said[EMBEDDING] = to_column(features_RD.astype(np.float32))
        return pa.table(said, schema=self.schema)


def average_of_windows(
    values_WV: Float[ndarray, "w v"], windows: list[Window], patch_samples: int
) -> Float[ndarray, "v"]:
    """The mean of what windows of one recording have, each weighted by its tokens; of a single one exactly its own."""
    if len(windows) == 1:
        return values_WV[0]
    tokens_W = [present_patches(window.signal_mv, patch_samples).sum() for window in windows]
    return np.average(values_WV, axis=0, weights=tokens_W)
