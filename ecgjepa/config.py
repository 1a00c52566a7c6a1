"""All settings of pretraining: frozen, typed, strict. A TOML file plus flags; an unknown key is an error.

The defaults are the published recipe (arXiv:2410.08559) with random masks. Settings that change the *result* stand in
`model`, `mask`, `training` and `data`; those that change only where and how fast it runs stand in `run`.
"""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo


class ConfigError(ValueError):
    """A setting that is unknown, of the wrong type or out of range; the message names it."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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


class MaskConfig(Section):
    """Which patches in time are hidden, in every lead alike (arXiv:2410.08559, section 3.1)."""

    type: Literal["random", "block"] = Field("random", description="single patches, or blocks of neighbours")
    scale: tuple[float, float] | None = Field(
        None, description="least and largest share hidden (by each block); 0.6 0.7 for random, 0.175 0.225 for block"
    )
    blocks: int = Field(4, ge=1, description="blocks of a block mask; they may overlap")

    @model_validator(mode="after")
    def _ordered(self) -> "MaskConfig":
        low, high = self.share
        if not 0 < low <= high < 1:
            raise ValueError(f"scale: expected 0 < least <= largest < 1, found {low} {high}")
        return self

    @property
    def share(self) -> tuple[float, float]:
        """The scale; the published one of this type if none is set."""
        return self.scale or {"random": (0.6, 0.7), "block": (0.175, 0.225)}[self.type]


class TrainingConfig(Section):
    """The recipe (arXiv:2410.08559, section 4.1, and its released code)."""

    epochs: int = Field(100, ge=1, description="passes over the records")
    batch_size: int = Field(128, ge=1, description="records of one step")
    lr: float = Field(2.5e-5, gt=0, description="peak learning rate")
    lr_min: float = Field(1e-6, ge=0, description="learning rate at the start of the warm-up and at the end")
    warmup_epochs: float = Field(5, ge=0, description="epochs of linear warm-up; a tenth of the run if it has fewer")
    weight_decay: float = Field(0.05, ge=0, description="AdamW's decay of matrices; biases and norms have none")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's running averages")
    momentum: tuple[float, float] = Field((0.996, 1.0), description="teacher momentum at the first and the last step")
    seed: int = Field(0, ge=0, description="of weights, order, masks and drop-path")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="of the matrix products (autocast)")

    @model_validator(mode="after")
    def _possible(self) -> "TrainingConfig":
        for name, pair, high in (("betas", self.betas, 1.0), ("momentum", self.momentum, 1.0 + 1e-12)):
            if not all(0 <= value < high for value in pair):
                raise ValueError(f"{name} must lie in 0 to 1, found {pair}")
        if self.lr_min > self.lr:
            raise ValueError(f"lr_min {self.lr_min} is above the peak lr {self.lr}")
        return self

    @property
    def warmup(self) -> float:
        """Epochs of warm-up that fit the run."""
        return self.warmup_epochs if self.warmup_epochs <= self.epochs else self.epochs / 10


class DataConfig(Section):
    """What is trained on."""

    stores: tuple[str, ...] = Field((), description="folders made by `ecgjepa prepare`")
    include_held_out: bool = Field(
        False, description="train on validation and test records too; any evaluation on them is then spoilt"
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="how often to draw from each source, by its data set's name: all or none; 0 leaves it out"
    )
    gains: dict[str, Annotated[float, Field(ge=1e-6, le=1e6)]] = Field(
        {}, description="factor on the amplitudes of a source, by its data set's name; 1 if not named"
    )

    @model_validator(mode="after")
    def _drawn_from(self) -> "DataConfig":
        if self.weights and not any(self.weights.values()):
            raise ValueError("weights: at least one must be above 0")
        return self


class RunConfig(Section):
    """Where and how; nothing here changes the result beyond the order of floating-point sums."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    log_every: int = Field(20, ge=1, description="steps between rows of metrics.csv")
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints")


class Config(Section):
    """All settings of a pretraining run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    mask: MaskConfig = MaskConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()


def load_config(path: Path | str | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a TOML file and lay flags over it.

    Args:
        path: file with the sections of `Config`; the published recipe if None.
        overrides: values by dotted key, such as `{"training.lr": 1e-4}`; None leaves the file's value, a table such as
            that of the weights is laid over it name by name.

    Raises:
        ConfigError: no such file, not TOML, an unknown key (the nearest known one is named), or a value out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not a TOML file: {error}") from error
    for key, value in (overrides or {}).items():
        if value is not None:
            section, _, name = key.partition(".")
            if not isinstance(values.get(section, {}), dict):
                raise ConfigError(f"{path}: {section} must be a section, found {values[section]!r}")
            before = values.get(section, {})
            if isinstance(value, dict) and isinstance(before.get(name), dict):
                value = {**before[name], **value}
            values[section] = {**before, name: value}
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path or 'config'}: {_explain(item)}" for item in error.errors())) from None


def settings() -> dict[str, FieldInfo]:
    """Every setting by its dotted key, `section.name`."""
    return {
        f"{section}.{name}": field
        for section, default in Config()
        for name, field in type(default).model_fields.items()
    }


def to_toml(config: Config) -> str:
    """The configuration as a TOML file that `load_config` reads back to an equal one."""
    lines: list[str] = []
    for name, section in config.model_dump(mode="json", exclude_none=True).items():
        tables = {f"{name}.{key}": value for key, value in section.items() if isinstance(value, dict) and value}
        values = {key: value for key, value in section.items() if not isinstance(value, dict)}
        for title, content in {name: values, **tables}.items():
            lines += [
                f"[{title}]",
                *(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()),
                "",
            ]
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg'].removeprefix('Value error, ')}, found {item['input']!r}"
    known = {name.rpartition(".")[2]: name for name in (*Config.model_fields, *settings())}
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1, cutoff=0.4)
    return f"unknown key {key!r}" + (f", did you mean {known[near[0]]!r}?" if near else "")
