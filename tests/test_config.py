"""Settings: strict, named errors, flags over files, and a file that reads back."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ecgjepa.config import RECIPES, Config, ConfigError, load_config, settings, to_toml


def test_defaults_are_the_published_recipe() -> None:
    config = load_config()
    assert (config.model.width, config.model.depth, config.model.heads) == (768, 12, 16)
    assert (config.training.batch_size, config.training.lr, config.training.epochs) == (128, 2.5e-5, 100)
    assert config.mask.share == (0.6, 0.7)
    assert load_config(overrides={"mask.type": "block"}).mask.share == (0.175, 0.225)


def test_flags_lie_over_the_file_and_none_leaves_it(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[training]\nlr = 1e-3\nepochs = 7\n")
    config = load_config(file, {"training.lr": 2e-3, "training.epochs": None, "data.stores": ["a"]})
    assert (config.training.lr, config.training.epochs, config.data.stores) == (2e-3, 7, ("a",))


def test_toml_round_trip(tmp_path: Path) -> None:
    config = load_config(overrides={"mask.scale": (0.5, 0.6), "data.stores": ['od"d', "b"], "model.patch_norm": True})
    (tmp_path / "a.toml").write_text(to_toml(config))
    assert load_config(tmp_path / "a.toml") == config
    assert load_config(tmp_path / "a.toml", {"training.seed": 1}) != config


def test_tables_by_source(tmp_path: Path) -> None:
    """Names may be anything; flags are laid over the file's table name by name."""
    names = {"ptbxl": 2.0, "my clinic": 0.5, 'a"b.c': 1.0, "Zürich 𝄞": 0.0}
    config = load_config(overrides={"data.weights": names, "data.gains": {"code15": 0.4}, "data.stores": ["𝄞"]})
    (tmp_path / "a.toml").write_text(to_toml(config), encoding="utf-8")
    assert load_config(tmp_path / "a.toml") == config
    laid_over = load_config(tmp_path / "a.toml", {"data.weights": {"ptbxl": 3.0}, "data.gains": {"cpsc": 2.0}})
    assert laid_over.data.weights == {**names, "ptbxl": 3.0}
    assert laid_over.data.gains == {"code15": 0.4, "cpsc": 2.0}
    assert "weights" not in to_toml(Config())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training]\nlearning = 1", r"unknown key 'training.learning'"),
        ("[training]\nbatchsize = 1", r"did you mean 'training.batch_size'"),
        ("[trainig]\nlr = 1", r"unknown key 'trainig', did you mean 'training'"),
        ("[training]\nlr = -1", r"training.lr: .*greater than 0, found -1"),
        ('[training]\nlr = "fast"', r"training.lr: .*found 'fast'"),
        ('[mask]\ntype = "blocks"', r"mask.type: .*'random' or 'block'"),
        ("[mask]\nscale = [0.7, 0.6]", r"least <= largest"),
        ("[model]\nwidth = 100", r"width and heads: 100 is not a multiple of 16"),
        ("[data.weights]\nptbxl = -1", r"data.weights.ptbxl: .*greater than or equal to 0, found -1"),
        ("[data.weights]\nptbxl = 0", r"data: weights: at least one must be above 0"),
        ("[data.gains]\ncode15 = nan", r"data.gains.code15: .*finite number"),
        ("[data.gains]\ncode15 = 0", r"data.gains.code15: .*, found 0"),
        ("[data]\ngains = 2", r"data.gains: .*dictionary, found 2"),
        ("not toml", r"is not a TOML file"),
    ],
)
def test_errors_name_the_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(file)


def test_absent_file_and_frozen() -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config("nowhere.toml")
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.lr = 1.0  # type: ignore[misc]


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in settings().values())


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.name)
def test_shipped_configs_are_valid_and_say_what_they_cost(file: Path) -> None:
    load_config(file)
    head = file.read_text().split("[")[0]
    assert all(f"# {word}" in head for word in ("command", "machine", "time", "score"))
