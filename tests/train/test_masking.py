"""Masks: how much is hidden, every patch can be, at least one is seen, chance is an argument."""

import pytest
import torch

from ecgjepa.config import MaskConfig
from ecgjepa.train.masking import Mask, draw_mask

RANDOM, BLOCK = MaskConfig(), MaskConfig(type="block")


def masks(config: MaskConfig, count: int, patches: int = 50) -> list[Mask]:
    return [draw_mask(config, patches, torch.Generator().manual_seed(seed)) for seed in range(count)]


def hidden_PM(drawn: list[Mask], patches: int = 50) -> torch.Tensor:
    rows = torch.zeros(len(drawn), patches)
    for row, mask in zip(rows, drawn, strict=True):
        row[mask.hidden[0]] = 1
    return rows


@pytest.mark.parametrize("config", [RANDOM, BLOCK])
def test_visible_and_hidden_are_all_patches_in_order(config: MaskConfig) -> None:
    for mask in masks(config, 50):
        both = torch.cat([mask.visible, mask.hidden], dim=1)
        assert both.shape == (1, 50)
        assert both.sort().values.tolist() == [list(range(50))]
        assert mask.visible[0].diff().min() > 0
        assert mask.hidden[0].diff().min() > 0


def test_random_mask_hides_floor_of_the_ratio_everywhere_alike() -> None:
    hidden = hidden_PM(masks(RANDOM, 4000))
    counts = hidden.sum(dim=1)
    assert counts.min() == 30
    assert counts.max() == 34  # 35 = 50 * 0.7 has probability 0
    share_P = hidden.mean(dim=0)
    assert share_P.std() < 0.015
    assert abs(share_P.mean() - 0.64) < 0.005  # mean of floor(50 u) / 50 over u in 0.6..0.7


def test_block_mask_hides_what_the_released_one_does_and_the_last_patch_too() -> None:
    hidden = hidden_PM(masks(BLOCK, 4000))
    share = hidden.mean(dim=1)
    assert abs(share.mean() - 0.55) < 0.015
    low, high = share.quantile(torch.tensor([0.05, 0.95])).tolist()
    assert 0.34 <= low <= 0.42
    assert 0.64 <= high <= 0.72
    assert hidden[:, -1].mean().item() == pytest.approx(hidden[:, 0].mean().item(), abs=0.02)
    assert hidden[:, -1].mean() > 0.05
    runs = (hidden.diff(dim=1) == 1).sum(dim=1) + hidden[:, 0]
    assert runs.max() <= 4


@pytest.mark.parametrize("share", [(0.001, 0.002), (0.998, 0.999)])
@pytest.mark.parametrize("kind", ["random", "block"])
def test_one_patch_at_least_is_seen_and_one_hidden(kind: str, share: tuple[float, float]) -> None:
    config = MaskConfig(type=kind, scale=share)
    for mask in masks(config, 20, patches=3):
        assert mask.visible.shape[1] >= 1
        assert mask.hidden.shape[1] >= 1


def test_masks_are_a_function_of_the_generator() -> None:
    first, again = masks(BLOCK, 5), masks(BLOCK, 5)
    assert all(torch.equal(a.hidden, b.hidden) for a, b in zip(first, again, strict=True))
    assert len({tuple(mask.hidden[0].tolist()) for mask in first}) > 1


def test_one_patch_cannot_be_masked() -> None:
    with pytest.raises(ValueError, match="at least 2 patches, found 1"):
        draw_mask(RANDOM, 1, torch.Generator())
