"""Read-outs: what reads labels off frozen features. All of them learn in `fit` and are asked by `predict_proba`.

`fit(features_ND, labels_NK, validation_features_ND, validation_labels_NK)`; those of a number take values (N,) in place
of labels and are asked by `predict`. What was chosen on validation is in `selection_`, the thresholds in `thresholds_`,
what a reader must know in `notes_`. No test record is seen before the prediction.
"""

from ecgjepa.evaluate.readouts.as_published import PaperProbe
from ecgjepa.evaluate.readouts.attention import AttentionProbe
from ecgjepa.evaluate.readouts.checks import CONSTANT_LOGIT, decide
from ecgjepa.evaluate.readouts.class_means import NearestMeanProbe
from ecgjepa.evaluate.readouts.linear import C_GRID, LinearProbe
from ecgjepa.evaluate.readouts.nearest import KNearestProbe, KNearestRegression
from ecgjepa.evaluate.readouts.ridge import RidgeRegression
from ecgjepa.evaluate.readouts.tokens import (
    CachedTokens,
    ComputedTokens,
    TokenPart,
    TokenSource,
    token_source,
)

__all__ = [
    "CONSTANT_LOGIT",
    "C_GRID",
    "AttentionProbe",
    "CachedTokens",
    "ComputedTokens",
    "KNearestProbe",
    "KNearestRegression",
    "LinearProbe",
    "NearestMeanProbe",
    "PaperProbe",
    "RidgeRegression",
    "TokenPart",
    "TokenSource",
    "decide",
    "token_source",
]
