"""The tutorials run as they stand: Python blocks in one namespace, commands by the command line."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ecgjepa.checkpoint import save_model
from ecgjepa.cli import main
from ecgjepa.config import ModelConfig
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.published import published_name
from ecgjepa.model.tokens import position_table
from ecgjepa.signal import PUBLISHED_CONTRACT, SignalContract

TUTORIALS = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def write_weights(folder: Path) -> None:
    """What the tutorials find: a small encoder in the published form, and a run like that of the demo."""
    chance = torch.Generator().manual_seed(0)
    published = Encoder(ModelConfig(width=32, depth=2), PUBLISHED_CONTRACT, generator=chance)
    state = {published_name(name): value for name, value in published.state_dict().items()}
    state["pos_embed"] = position_table(8, 50, 32).flatten(0, 1)
    (folder / "weights").mkdir()
    torch.save({"encoder": state, "epoch": 100}, folder / "weights" / "multiblock_epoch100.pth")
    small = ModelConfig(width=32, depth=2, heads=4, patch_norm=True)
    save_model(folder / "demo/runs/demo/model", {"teacher": Encoder(small, SignalContract(), generator=chance)})


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial(tutorial: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = BLOCK.findall(tutorial.read_text(encoding="utf-8"))
    assert len(blocks) >= 5
    write_weights(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, tutorial.name, "exec"), names)
            continue
        for line in text.splitlines():
            command, *arguments = shlex.split(line)
            assert command == "ecgjepa"
            result = CliRunner().invoke(main, arguments, catch_exceptions=False)
            assert result.exit_code == 0, f"{line}\n{result.output}"
    assert all(np.isfinite(value).all() for name, value in names.items() if name in ("embeddings", "embedding"))
