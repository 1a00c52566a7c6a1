"""The sections of the settings.

Settings that change the *result* stand in `model`, `mask`, `training` and `data`; those that change only where, how
fast and how closely watched it runs stand in `run`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# Named sizes: `size = "small"` in [model], or --size; `base` is the published one.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "width": 128, "depth": 4, "heads": 4,
        "predictor_width": 64, "predictor_depth": 2, "predictor_heads": 4,
    },
    "small": {
        "width": 384, "depth": 8, "heads": 8,
        "predictor_width": 192, "predictor_depth": 4, "predictor_heads": 6,
    },
    "base": {
        "width": 768, "depth": 12, "heads": 16,
        "predictor_width": 384, "predictor_depth": 6, "predictor_heads": 12,
    },
}  # fmt: skip


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

    @model_validator(mode="before")
    @classmethod
    def _of_named_size(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "size" not in values:
            return values
        size = values["size"]
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}")
        return SIZES[size] | {name: value for name, value in values.items() if name != "size"}

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
    scope: Literal["batch", "record"] = Field(
        "batch", description="one mask for all records of a batch, or one for each; the number hidden is the batch's"
    )
    masks_per_record: int = Field(1, ge=1, description="masks of a record in one step; the teacher looks at it once")

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

    objective: Literal["jepa", "mae", "sigreg"] = Field(
        "jepa", description="what is learned: latent prediction with a teacher, of the waveform, or with SIGReg"
    )
    target: Literal["published", "centred"] = Field(
        "published", description="the teacher's features, or what in them is not the same in all records"
    )
    reference: bool = Field(
        False, description="the released code's own ways: the teacher drops paths, the last patch is never in a block"
    )
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
    sigreg_weight: float = Field(0.05, gt=0, lt=1, description="share of SIGReg in the loss of that objective")

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
    """Where, how fast and how closely watched; nothing here changes the result beyond the order of sums."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, ...")
    micro_batch: int | None = Field(
        None, ge=1, description="records of one forward pass on a device; gradients of a batch are accumulated"
    )
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile; auto: where there is a GPU")
    attention: Literal["auto", "factorised", "dense"] = Field(
        "auto", description="how attention is computed; auto: the faster form on this device"
    )
    activation_checkpointing: bool = Field(
        False, description="compute each block again in the backward pass: less memory, a quarter more time"
    )
    shard: bool = Field(False, description="split weights and optimizer over the processes (FSDP), for large models")
    log_every: int = Field(20, ge=1, description="steps between rows of metrics.csv")
    checkpoint_minutes: float = Field(10.0, gt=0, description="minutes between checkpoints")
    keep_epochs: float | None = Field(None, gt=0, description="epochs between checkpoints that are kept for good")
    evaluate_epochs: float | None = Field(
        None, ge=0, description="epochs between looks at the representation; a tenth of the run if not given, 0: never"
    )
    probe_store: str | None = Field(None, description="labelled store for the online probe; its test split is not read")
    probe_level: str | None = Field(None, description="label level of the online probe")
    probe_encoder: Literal["teacher", "student"] = Field(
        "teacher", description="network of the online probe; the student is ahead of the teacher in short runs"
    )
    stop_on_collapse: bool = Field(False, description="end the run at the first alarm")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field((), description="where else to log")


class Config(Section):
    """All settings of a pretraining run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    mask: MaskConfig = MaskConfig()
    training: TrainingConfig = TrainingConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _agree(self) -> "Config":
        if self.training.reference:
            for wrong, what in (
                (self.training.objective != "jepa", "training.objective must be jepa"),
                (self.training.target != "published", "training.target must be published"),
                (self.mask.scope != "batch", "mask.scope must be batch"),
                (self.mask.masks_per_record != 1, "mask.masks_per_record must be 1"),
                (self.model.patch_norm, "model.patch_norm must be false"),
            ):
                if wrong:
                    raise ValueError(f"with training.reference, {what}")
        return self
