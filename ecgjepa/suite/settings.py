"""What a suite tries, as it stands in `suite.json`; frozen and strict."""

import math
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from ecgjepa.config.sections import Section
from ecgjepa.evaluate.readings import Readout

Tuned = Literal["finetuned", "scratch"]


class SuiteSettings(Section):
    """What is tried on each data set; conditions and fine-tuning on its primary task only."""

    protocol: Literal["strict", "paper"] = "strict"
    tasks: tuple[str, ...] = Field((), description="levels, or level/kind; all of the data set's suite where empty")
    readouts: tuple[Readout, ...] = Field(("linear", "knn", "nearest-mean"), min_length=1)
    tuned: tuple[Tuned, ...] = Field(
        (), description="fine-tuning, and the same architecture trained on the labels only"
    )
    epochs: int = Field(10, ge=1, description="of fine-tuning; from scratch three times as many")
    finetune_lr: float = Field(3e-4, gt=0, description="peak learning rate of fine-tuning, strict")
    scratch_lr: float = Field(5e-4, gt=0, description="peak learning rate from scratch, strict")
    label_fractions: tuple[float, ...] = Field((), description="parts of the training records, besides all of them")
    fraction_seeds: int = Field(3, ge=1, description="draws of each label fraction")
    lead_sets: tuple[tuple[str, ...], ...] = Field((), description="leads to be there alone")
    snr_db: tuple[float, ...] = Field((), description="noise over the test records, signal over noise in decibels")
    seeds: int = Field(1, ge=1, description="seeds of random weights, of fine-tuning and of training from scratch")
    resamples: int = Field(1000, ge=1)
    min_positives: int = Field(10, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _published(self) -> "SuiteSettings":
        if self.protocol == "paper" and self.readouts != ("linear",):
            raise ValueError(f"published with protocol paper is the linear read-out alone, found {self.readouts}")
        return self

    @field_validator("snr_db")
    @classmethod
    def _finite(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if wrong := [value for value in values if not math.isfinite(value)]:
            raise ValueError(f"{wrong[0]}, expected decibels")
        return values

    @field_validator("label_fractions")
    @classmethod
    def _fractions(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if wrong := [value for value in values if not 0 < value < 1]:
            raise ValueError(f"label fraction {wrong[0]:g}, expected numbers above 0 and below 1")
        return tuple(sorted(set(values)))


def suite_settings(**given: Any) -> SuiteSettings:
    """Settings; what is None has its default.

    Raises:
        ValueError: an unknown setting, or a value out of range; the message names it.
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get("protocol") == "paper":
        chosen = {"readouts": ("linear",)} | chosen
        if useless := {"epochs", "finetune_lr", "scratch_lr"} & chosen.keys():
            raise ValueError(f"evaluate: {useless.pop()} is of protocol strict; paper has its own")
    try:
        return SuiteSettings(**chosen)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise ValueError(f"evaluate: {key}: {first['msg'].removeprefix('Value error, ')}") from None
