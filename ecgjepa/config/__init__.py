"""All settings of pretraining: frozen, typed, strict. A TOML file plus flags; an unknown key is an error.

The defaults are the published recipe (arXiv:2410.08559) with random masks; whole recipes lie in `ecgjepa/recipes/`.
"""

from ecgjepa.config.loading import RECIPES, ConfigError, find_recipe, load_config, settings, to_toml
from ecgjepa.config.sections import (
    SIZES,
    Config,
    DataConfig,
    MaskConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)

__all__ = [
    "RECIPES",
    "SIZES",
    "Config",
    "ConfigError",
    "DataConfig",
    "MaskConfig",
    "ModelConfig",
    "RunConfig",
    "TrainingConfig",
    "find_recipe",
    "load_config",
    "settings",
    "to_toml",
]
