"""A TOML file or a recipe, and flags over it -> settings; an unknown key is an error that names the nearest one."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from ecgjepa.config.sections import SIZES, Config

RECIPES = Path(__file__).parents[1] / "recipes"


class ConfigError(ValueError):
    """A setting that is unknown, of the wrong type or out of range; the message names it."""


def find_recipe(name: Path | str) -> Path:
    """The file of that path, or else the recipe of that name; a path that is nowhere is given back as it is."""
    recipe = RECIPES / f"{name}.toml"
    return recipe if not Path(name).exists() and recipe.parent == RECIPES and recipe.is_file() else Path(name)


def load_config(path: Path | str | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Read a TOML file and lay flags over it.

    Args:
        path: file with the sections of `Config`, or the name of a recipe; the published recipe if None.
        overrides: values by dotted key, such as `{"training.lr": 1e-4}`; None leaves the file's value, a table such as
            that of the weights is laid over it name by name.

    Raises:
        ConfigError: no such file, not TOML, an unknown key (the nearest known one is named), or a value out of range.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(find_recipe(path).read_text(encoding="utf-8"))
        except OSError as error:
            known = ", ".join(sorted(file.stem for file in RECIPES.glob("*.toml")))
            raise ConfigError(f"{path}: {error.strerror}; the recipes are {known}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} is not a TOML file: {error}") from error
    for key, value in (overrides or {}).items():
        if value is not None:
            section, _, name = key.partition(".")
            if not isinstance(values.get(section, {}), dict):
                raise ConfigError(f"{path}: {section} must be a section, found {values[section]!r}")
            before = values.get(section, {})
            if key == "model.size":  # over whatever sizes the file names
                before = {each: kept for each, kept in before.items() if each not in SIZES["base"]}
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
        said = item["msg"].removeprefix("Value error, ")
        return f"{key}: {said}, found {item['input']!r}" if key else said
    known = {name.rpartition(".")[2]: name for name in (*Config.model_fields, *settings())}
    near = difflib.get_close_matches(key.rpartition(".")[2], known, n=1, cutoff=0.4)
    return f"unknown key {key!r}" + (f", did you mean {known[near[0]]!r}?" if near else "")
