"""All settings of pretraining: frozen, typed, strict. A TOML file plus flags; an unknown key is an error.

The defaults are the published recipe (arXiv:2410.08559) with random masks. Settings that change the *result* stand in
`model`, `mask`, `training` and `data`; those that change only where and how fast it runs stand in `run`.
"""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgjepa.signal import SignalContract


class ConfigError(ValueError):
    """A setting that is unknown, of the wrong type or out of range; the message names it."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """Sizes of encoder and predictor (arXiv:2410.08559, section 4.1)."""

    width: int = Field(768, ge=8, description="width of the encoder's tokens")
    depth: int = Field(12, ge=1, description="blocks of the encoder")
    heads: int = Field(16, ge=1, description="attention heads of the encoder")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden width of the MLP over the width")
    patch_samples: int = Field(50, ge=1, description="samples of one patch")
    patch_norm: bool = Field(
        False, description="normalise the patch embedding, so that small runs see the signal beside the position"
    )
    drop_path: float = Field(0.1, ge=0, lt=1, description="stochastic depth of the last block")
    predictor_width: int = Field(384, ge=8, description="width of the predictor's tokens")
    predictor_depth: int = Field(6, ge=1, description="blocks of the predictor")
    predictor_heads: int = Field(12, ge=1, description="attention heads of the predictor")

    @model_validator(mode="after")
    def _divisible(self) -> "ModelConfig":
        for width, heads, what in (
            (self.width, self.heads, "width and heads"),
            (self.predictor_width, self.predictor_heads, "predictor_width and predictor_heads"),
        ):
            if width % heads:
                raise ValueError(f"{what}: {width} is not a multiple of {heads}")
            if width % 4:
                raise ValueError(f"{what}: the position table needs a width that is a multiple of 4, found {width}")
        return self
