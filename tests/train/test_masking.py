"""Masks: how much is hidden, every patch equally often, the same number in a batch, chance is an argument."""

import pytest
import torch

from ecgjepa.config import MaskConfig
from ecgjepa.train.masking import Masks, draw_masks, mask_coverage

RANDOM, BLOCK = MaskConfig(), MaskConfig(type="block")
OF_RECORDS = [MaskConfig(type=kind, scope="record", masks_per_record=2) for kind in ("random", "block")]


def masks(config: MaskConfig, count: int, patches: int = 50, reference: bool = False) -> list[Masks]:
    return [
        draw_masks(config, patches, 1, torch.Generator().manual_seed(seed), reference=reference)
        for seed in range(count)
    ]


def hidden_MP(drawn: list[Masks], patches: int = 50) -> torch.Tensor:
    rows = torch.zeros(len(drawn), patches)
    for row, mask in zip(rows, drawn, strict=True):
        row[mask.hidden_KBH[0, 0]] = 1
    return rows


@pytest.mark.parametrize("config", [RANDOM, BLOCK, *OF_RECORDS], ids=str)
def test_visible_and_hidden_are_all_patches_in_order(config: MaskConfig) -> None:
    for seed in range(20):
        drawn = draw_masks(config, 50, 6, torch.Generator().manual_seed(seed))
        both = torch.cat([drawn.visible_KBV, drawn.hidden_KBH], dim=2)
        assert both.shape == ((2, 6, 50) if config.scope == "record" else (1, 1, 50))
        assert (both.sort().values == torch.arange(50)).all()
        assert (drawn.visible_KBV.diff() > 0).all()
        assert (drawn.hidden_KBH.diff() > 0).all()


def test_random_mask_hides_floor_of_the_ratio_everywhere_alike() -> None:
    hidden = hidden_MP(masks(RANDOM, 4000))
    counts = hidden.sum(dim=1)
    assert counts.min() == 30
    assert counts.max() == 34  # 35 = 50 * 0.7 has probability 0
    share_P = hidden.mean(dim=0)
    assert share_P.std() < 0.015
    assert abs(share_P.mean() - 0.64) < 0.005  # mean of floor(50 u) / 50 over u in 0.6..0.7


def test_blocks_hide_what_the_released_ones_do_and_every_patch_equally_often() -> None:
    ours, released = (hidden_MP(masks(BLOCK, 4000, reference=reference)) for reference in (False, True))
    for hidden, mean in ((ours, 0.57), (released, 0.55)):  # on a circle, no patch is out of reach
        share = hidden.mean(dim=1)
        assert abs(share.mean() - mean) < 0.015
        low, high = share.quantile(torch.tensor([0.05, 0.95])).tolist()
        assert 0.34 <= low <= 0.42
        assert 0.64 <= high <= 0.73
    assert (ours.mean(dim=0) - ours.mean()).abs().max() < 0.04  # 5 standard errors of 4,000 draws
    assert released[:, -1].sum() == 0  # the off-by-one of the released code
    assert released.mean(dim=0)[25] > 2 * released.mean(dim=0)[2]
    runs = (ours.diff(dim=1) == 1).sum(dim=1) + ours[:, 0]
    assert runs.max() <= 5  # four blocks, one of them in two pieces


@pytest.mark.parametrize("config", OF_RECORDS, ids=str)
def test_masks_of_records_differ_and_hide_alike(config: MaskConfig) -> None:
    drawn = [draw_masks(config, 50, 16, torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert len({tuple(row.tolist()) for row in drawn[0].hidden_KBH.flatten(0, 1)}) > 25
    counts = torch.tensor([masks.hidden_KBH.shape[2] for masks in drawn]).float()
    alone = hidden_MP(masks(config.model_copy(update={"scope": "batch", "masks_per_record": 1}), 200)).sum(dim=1)
    assert abs(counts.mean() - alone.mean()) < 1.5
    total_P = torch.zeros(50)
    for each in drawn:
        total_P += torch.bincount(each.hidden_KBH.flatten(), minlength=50)
    share_P = total_P / (200 * 32)
    assert (share_P - share_P.mean()).abs().max() < 0.035  # 5 standard errors


def test_blocks_of_records_stay_blocks() -> None:
    """Bringing all records to one number of hidden patches moves the rims of blocks and makes no new ones."""
    drawn = draw_masks(OF_RECORDS[1], 50, 200, torch.Generator().manual_seed(0))
    hidden = torch.zeros(400, 50).scatter_(1, drawn.hidden_KBH.flatten(0, 1), 1)
    runs = ((hidden - hidden.roll(1, dims=1)) == 1).sum(dim=1)
    assert runs.max() <= 4


@pytest.mark.parametrize("share", [(0.001, 0.002), (0.998, 0.999)])
@pytest.mark.parametrize("kind", ["random", "block"])
def test_one_patch_at_least_is_seen_and_one_hidden(kind: str, share: tuple[float, float]) -> None:
    config = MaskConfig(type=kind, scale=share)
    for mask in masks(config, 20, patches=3):
        assert mask.visible_KBV.shape[2] >= 1
        assert mask.hidden_KBH.shape[2] >= 1


def test_masks_are_a_function_of_the_generator() -> None:
    first, again = masks(BLOCK, 5), masks(BLOCK, 5)
    assert all(torch.equal(a.hidden_KBH, b.hidden_KBH) for a, b in zip(first, again, strict=True))
    assert len({tuple(mask.hidden_KBH[0, 0].tolist()) for mask in first}) > 1


def test_coverage_says_how_often_each_patch_is_hidden() -> None:
    shares = torch.tensor(mask_coverage(OF_RECORDS[1], 50))
    assert abs(shares.mean() - 0.55) < 0.02
    assert (shares - shares.mean()).abs().max() < 0.05
    assert mask_coverage(BLOCK, 50, reference=True)[-1] == 0


def test_one_patch_cannot_be_masked() -> None:
    with pytest.raises(ValueError, match="at least 2 patches, found 1"):
        draw_masks(RANDOM, 1, 1, torch.Generator())
