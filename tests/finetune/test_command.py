"""`ecgjepa finetune` as a user types it, the published command among it."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.cli import main
from ecgjepa.cli.finetune import OPERATIONS
from ecgjepa.config import ModelConfig
from ecgjepa.data.store import Store
from ecgjepa.data.synthetic import write_ptbxl_archive
from ecgjepa.finetune.classifier_folder import load_classifier
from ecgjepa.finetune.settings import AUGMENTATIONS
from ecgjepa.finetune.training import Training
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.published import published_name
from ecgjepa.model.tokens import position_table
from ecgjepa.signal import PUBLISHED_CONTRACT
from tests.data.stores import write_store
from tests.train.runs import write_labelled_store

QUICK = "--epochs 1 --batch-size 64 --device cpu --resamples 10".split()


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def failed(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), "one line, no traceback"
    return result.output


def write_weights(folder: Path) -> None:
    """Tiny weights in the published form, by their published name."""
    encoder = Encoder(ModelConfig(width=32, depth=1), PUBLISHED_CONTRACT, generator=torch.Generator().manual_seed(0))
    state = {published_name(name): value for name, value in encoder.state_dict().items()}
    state["pos_embed"] = position_table(8, 50, 32).flatten(0, 1)
    folder.mkdir()
    torch.save({"encoder": state, "epoch": 100}, folder / "random_epoch100.pth")


@pytest.mark.slow
def test_the_published_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_weights(tmp_path / "weights")
    write_ptbxl_archive(tmp_path / "raw", 60, seed=0)
    given = "--model_name ejepa_random --dataset ptbxl --data_dir raw --task multiclass --cache-dir cache".split()
    result = run("finetuning", *given, *QUICK)
    assert result.exit_code == 0, result.output
    folder = tmp_path / "finetunes" / "ptbxl-superdiagnostic-multiclass-strict-full-ejepa_random"
    assert "ptbxl superdiagnostic, multiclass, strict protocol, full fine-tuning of published encoder" in result.output
    summary = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert (summary["encoder"], summary["checkpoint"]) == ("published", "ejepa_random")
    assert summary["command"].startswith("ecgjepa")
    assert load_classifier(folder).head.task == "multiclass"
    assert "--resume goes on" in failed("finetune", *given, *QUICK)
    assert run("finetune", *given, *QUICK, "--resume").exit_code == 0
    assert run("finetune", *given, *QUICK, "--overwrite", "--protocol", "strict").exit_code == 0


def test_flags_arrive_in_the_settings(store: Store, model: LoadedModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = "--pooling attention --mode two-stage --epochs 2 --head-epochs 1 --filter butterworth --leads V1,I".split()
    flags += "--augment sine --augment flip --class-weights balanced --lr 1e-3 --layer-decay 0.5 --seed 3".split()
    flags += "--data-percentage 0.5 --precision bf16 --batch-size 16 --device cpu --resamples 10".split()
    result = run("finetune", "--ckpt", model.folder, "--store", store.path, *flags, "--out", out)
    assert result.exit_code == 0, result.output
    settings = json.loads((out / "run.json").read_text(encoding="utf-8"))["settings"]
    expected = {"pooling": "attention", "mode": "two-stage", "epochs": 2, "head_epochs": 1, "filter": "butterworth"}
    expected |= {"leads": ["V1", "I"], "class_weights": "balanced", "lr": 1e-3, "layer_decay": 0.5, "seed": 3}
    expected |= {"label_fraction": 0.5, "precision": "bf16", "batch_size": 16, "level": "kind"}
    assert expected.items() <= settings.items()
    assert settings["augmentation"]["operations"] == ["sine", "flip"]


def test_regression_of_age(store: Store, model: LoadedModel, tmp_path: Path) -> None:
    given = ("--ckpt", model.folder, "--store", store.path, "--task", "regression")
    result = run("finetune", *given, "--target", "age", *QUICK, "--no-augment", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "mae" in result.output
    assert "--target is needed" in failed("finetune", *given, *QUICK)


def test_from_random_weights_and_stopped_by_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = write_labelled_store(tmp_path / "store", 32)
    given = ("--ckpt", "random", "--size", "tiny", "--store", store.path, "--out", tmp_path / "out", *QUICK)
    with monkeypatch.context() as patch:
        advance = Training.advance

        def interrupted(self: Training, batch: Any) -> None:
            advance(self, batch)
            os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(Training, "advance", interrupted)
        result = run("finetune", *given, "--batch-size", 4)
    assert result.exit_code == 128 + signal.SIGTERM
    assert "stopped after step 1 of 6; --resume goes on" in result.output
    result = run("finetune", *given, "--batch-size", 4, "--resume")
    assert result.exit_code == 0, result.output
    classifier = load_classifier(tmp_path / "out")
    assert (classifier.encoder.width, classifier.encoder.config.patch_norm) == (128, True)
    assert classifier.head.about["encoder"] == "random"


def test_what_does_not_go_together_is_said(store: Store, model: LoadedModel, tmp_path: Path) -> None:
    given = ("--ckpt", model.folder, "--store", store.path)
    assert "either --store, or" in failed("finetune", "--ckpt", model.folder)
    assert "either --augment or" in failed("finetune", *given, "--augment", "sine", "--no-augment")
    assert "--target goes with" in failed("finetune", *given, "--target", "age")
    assert "--size goes with" in failed("finetune", *given, "--size", "tiny")
    random = ("--ckpt", "random", "--store", store.path)
    assert "from scratch" in failed("finetune", *random, "--mode", "frozen")
    one_kind = write_store(tmp_path / "one-kind", 12)
    random = ("--ckpt", "random", "--store", one_kind.path)
    said = failed("finetune", *random, "--size", "tiny", "--out", tmp_path / "y")
    assert "validation: no class has positive and negative records" in said
    assert not (tmp_path / "y").exists()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    assert "holds no run" in failed("finetune", *given, "--out", tmp_path / "own", "--overwrite")
    assert (tmp_path / "own" / "thesis.txt").exists()


def test_operations_of_the_help_are_those_that_there_are() -> None:
    assert OPERATIONS == AUGMENTATIONS
    assert run("finetune", "--help").exit_code == 0
