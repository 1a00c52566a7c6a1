"""Who may import whom, read from the syntax trees of all files; `docs/architecture.md` draws the same table."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "ecgjepa"
# A room may import itself and the rooms named here.
BASE = {"errors", "leads", "units", "resampling", "filtering", "signal", "windows", "patches", "files"}
MAY_IMPORT = {
    "": set(),
    "errors": set(),
    "leads": set(),
    "units": {"errors"},
    "resampling": set(),
    "filtering": set(),
    "signal": {"errors", "filtering", "leads", "resampling"},
    "windows": {"errors", "filtering", "leads", "resampling", "signal"},
    "patches": {"errors", "signal", "windows"},
    "files": set(),
    "schedules": set(),
    "config": {"signal"},
    "data": {"", "config", *BASE},
    "audit": {"", "data", "config", *BASE},
    "download": {"", "errors", "files"},
    "model": {"config", *BASE},
    "checkpoint": {"", "model", "config", *BASE},
    "hub": {"", "checkpoint", "model", "config", *BASE},
    "export": {"", "checkpoint", "model", "config", *BASE},
    "evaluate": {"", "export", "checkpoint", "model", "data", "config", "schedules", *BASE},
    "embed": {"", "evaluate", "checkpoint", "model", "data", "config", *BASE},
    "train": {"", "evaluate", "checkpoint", "model", "data", "config", "schedules", *BASE},
    "finetune": {"", "train", "evaluate", "checkpoint", "model", "data", "config", "schedules", *BASE},
    "predict": {"", "finetune", "evaluate", "embed", "checkpoint", "model", "data", "config", *BASE},
    "suite": {
        "",
        "predict",
        "finetune",
        "train",
        "embed",
        "evaluate",
        "checkpoint",
        "hub",
        "export",
        "audit",
        "download",
        "model",
        "data",
        "config",
        "schedules",
        *BASE,
    },
    "search": {"", "embed", "evaluate", "checkpoint", "model", "data", "config", *BASE},
    "serve": {"", "search", "predict", "finetune", "embed", "evaluate", "checkpoint", "model", "data", "config", *BASE},
    "demo": {"", "search", "embed", "train", "evaluate", "checkpoint", "model", "data", "config", *BASE},
    "__main__": {"cli"},
    "cli": {
        "",
        "demo",
        "audit",
        "download",
        "train",
        "finetune",
        "predict",
        "suite",
        "search",
        "serve",
        "embed",
        "hub",
        "export",
        "evaluate",
        "checkpoint",
        "model",
        "data",
        "config",
        *BASE,
    },
}
FILES = sorted(ROOT.rglob("*.py"))


def room(module: str) -> str:
    return [*module.split("."), ""][1]


def imports(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            modules |= (
                {f"{node.module}.{alias.name}" for alias in node.names}
                if node.module == "ecgjepa"
                else {node.module or ""}
            )
    return modules


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    own = room(".".join(("ecgjepa", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"))
    used = {room(module) for module in imports(file) if module.split(".")[0] == "ecgjepa"} - {own, "__version__"}
    assert used <= MAY_IMPORT[own], f"{own} must not import {sorted(used - MAY_IMPORT[own])}"


def test_signal_config_and_data_tables_do_not_need_torch() -> None:
    code = "import sys, ecgjepa.cli, ecgjepa.data.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_are_one_idea_long() -> None:
    long = {str(file.relative_to(ROOT)): n for file in FILES if (n := len(file.read_text().splitlines())) > 300}
    assert not long
