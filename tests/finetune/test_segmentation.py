"""Segmentation: masks move with the signal, what is not annotated teaches nothing, what is saved says the same."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from ecgjepa.checkpoint import LoadedModel
from ecgjepa.data.store import Store
from ecgjepa.evaluate.divided_records import patients_of, splits_of
from ecgjepa.evaluate.head import HeadError
from ecgjepa.evaluate.segmentation_targets import WAVE_CLASSES, SegmentationTargets
from ecgjepa.finetune.augment import augment, draw_augmentations, shift
from ecgjepa.finetune.finetune import Outcome
from ecgjepa.finetune.losses import balanced_sample_weights, make_loss
from ecgjepa.finetune.segmenter_folder import load_segmenter, segment_rows
from ecgjepa.finetune.settings import AugmentationSettings
from tests.data.stores import write_store
from tests.finetune.runs import CONTRACT, run, tiny

CODE = """
import sys
import numpy as np
from ecgjepa.data.store import Store
from ecgjepa.finetune.segmenter_folder import load_segmenter, segment_rows
np.save(sys.argv[3], segment_rows(load_segmenter(sys.argv[2]), Store.open(sys.argv[1]), np.arange(8), progress=False))
"""


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, SegmentationTargets]:
    """Tops of slow and fast pieces of every lead are T and QRS; the first quarter of a second is not annotated."""
    chance = np.random.default_rng(0)
    shape = (64, 3, CONTRACT.samples)
    time_s = np.arange(CONTRACT.samples) / CONTRACT.sampling_rate_hz
    is_fast = np.repeat(chance.random((64, 3, 4)) < 0.5, CONTRACT.samples // 4, axis=2)
    signal = np.where(is_fast, np.sin(2 * np.pi * 10 * time_s), np.sin(2 * np.pi * 2 * time_s))
    mask = np.where(signal > 0.3, np.where(is_fast, 2, 3), 0).astype(np.int8)
    mask[:, :, :25] = -1
    mask[5, 1] = -1
    signal += 0.05 * chance.standard_normal(shape)
    folder = tmp_path_factory.mktemp("waves") / "waves"
    store = write_store(folder, 64, 0, CONTRACT, signals_uv=np.rint(1000 * signal).astype(np.int16))
    return store, SegmentationTargets(np.arange(64), mask, patients_of(store), splits_of(store), {})


@pytest.fixture(scope="module")
def segmented(
    waves: tuple[Store, SegmentationTargets], model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    settings = tiny(task="segmentation", level="waves", epochs=30, batch_size=8, lr=1e-2, class_weights="balanced")
    return run(waves[0], model, settings, tmp_path_factory.mktemp("runs") / "waves", targets=waves[1])


def test_it_learns_and_its_scores_are_those_of_its_files(
    segmented: Outcome, waves: tuple[Store, SegmentationTargets]
) -> None:
    found = segmented.summary["models"]["finetuned"]
    table = pd.read_parquet(segmented.path / "predictions.parquet")
    with np.load(segmented.path / "segmentations.npz") as file:
        records, called, annotated = file["record"], file["called"], file["annotated"]
    assert records.tolist() == table["record"].tolist()
    test = (table["split"] == "test").to_numpy()
    for c, name in enumerate(WAVE_CLASSES):
        known = annotated[test] >= 0
        true, said = (annotated[test] == c) & known, (called[test] == c) & known
        union = (true | said).sum()
        if union:
            assert found["classes"][name]["iou"]["value"] == pytest.approx((true & said).sum() / union)
        others = [f"samples:{name}>{other}" for other in WAVE_CLASSES]
        assert table.loc[test, others].to_numpy().sum() == true.sum()
    assert found["classes"]["QRS"]["iou"]["value"] > 0.5
    constant = (waves[1].mask_NLS == 0).sum() / (waves[1].mask_NLS >= 0).sum()
    assert found["macro"]["accuracy"]["value"] > constant + 0.1
    metrics = pd.read_csv(segmented.path / "metrics.csv")
    assert segmented.summary["selection"]["epoch"] == 1 + int(metrics["validation"].argmax())
    assert segmented.summary["selection"]["metric"] == "miou"


def test_a_fresh_process_says_the_same(
    segmented: Outcome, waves: tuple[Store, SegmentationTargets], tmp_path: Path
) -> None:
    out = tmp_path / "out.npy"
    subprocess.run([sys.executable, "-c", CODE, str(waves[0].path), str(segmented.path), str(out)], check=True)
    segmenter = load_segmenter(segmented.path)
    expected = segment_rows(segmenter, waves[0], np.arange(8), progress=False)
    np.testing.assert_array_equal(np.load(out), expected)
    assert (segmenter.classes, segmenter.folder.name) == (WAVE_CLASSES, "best")
    assert json.loads((segmented.path / "result.json").read_text(encoding="utf-8"))["level"] == "waves"
    with pytest.raises(HeadError, match="no segmenter at"):
        load_segmenter(tmp_path)


def test_of_some_leads(waves: tuple[Store, SegmentationTargets], model: LoadedModel, folder: Path) -> None:
    settings = tiny(task="segmentation", level="waves", epochs=1, leads=("V1",))
    run(waves[0], model, settings, folder, targets=waves[1])
    with np.load(folder / "segmentations.npz") as file:
        assert file["called"].shape[1:] == (1, CONTRACT.samples)
        assert file["leads"].tolist() == ["V1"]


def test_masks_move_with_the_signal() -> None:
    settings = AugmentationSettings(operations=("shift",), chance=1.0)
    draws = draw_augmentations(settings, 16, 2, 50, torch.Generator().manual_seed(0))
    signal = torch.arange(1, 51).float().expand(16, 2, 50).contiguous()
    mask = shift(signal.to(torch.int8), draws, -1)
    moved = augment(signal, draws)
    assert torch.equal(mask >= 0, moved > 0)
    assert torch.equal(mask[mask >= 0].float(), moved[moved > 0])


def test_what_is_not_annotated_teaches_nothing() -> None:
    logits = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randint(4, (2, 3, 5), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    target[0] = -1
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0])
    chosen = target[1].long()
    each = -logits[1].log_softmax(dim=2).gather(2, chosen[..., None])[..., 0]
    loss = make_loss("segmentation", None, None)
    torch.testing.assert_close(loss(logits, target), each.mean())
    weighted = (each * weights[chosen]).sum() / weights[chosen].sum()
    torch.testing.assert_close(make_loss("segmentation", weights, None)(logits, target), weighted)
    assert loss(logits, torch.full_like(target, -1)) == 0
    mask = np.array([[[0, 0, 0, 2, -1]]], np.int8)
    np.testing.assert_allclose(balanced_sample_weights(mask, 4), [4 / 12, 1, 1, 1])


def test_settings_of_a_segmentation() -> None:
    with pytest.raises(ValueError, match="a segmentation pools nothing"):
        tiny(task="segmentation", pooling="attention")
    with pytest.raises(ValueError, match="no segmentation is published"):
        tiny("paper", task="segmentation")
