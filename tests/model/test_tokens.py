"""Patches and their positions."""

import math

import pytest
import torch

from ecgjepa.model.tokens import patchify, position_table, take_patches


def test_patches_follow_each_other_in_time() -> None:
    signal_mv_BLS = torch.arange(24.0).view(2, 2, 6)
    patches_BLPS = patchify(signal_mv_BLS, 3)
    assert patches_BLPS.shape == (2, 2, 2, 3)
    assert patches_BLPS[1, 0].tolist() == [[12, 13, 14], [15, 16, 17]]


def test_take_patches_of_all_or_of_each_record() -> None:
    grid_BLPD = torch.arange(2 * 3 * 5 * 1.0).view(2, 3, 5, 1)
    for_all = take_patches(grid_BLPD, torch.tensor([[4, 0]]))
    assert torch.equal(for_all, grid_BLPD[:, :, [4, 0]])
    each = take_patches(grid_BLPD, torch.tensor([[4, 0], [1, 2]]))
    assert torch.equal(each, torch.stack([grid_BLPD[0][:, [4, 0]], grid_BLPD[1][:, [1, 2]]]))
    shared = take_patches(grid_BLPD[:1], torch.tensor([[4, 0], [1, 2]]))
    assert torch.equal(shared[1], grid_BLPD[0][:, [1, 2]])


def test_position_table_by_hand() -> None:
    table_LPD = position_table(3, 4, 8)
    assert table_LPD.shape == (3, 4, 8)
    for lead, patch in [(0, 0), (2, 1), (1, 3)]:
        expected = []
        for index in (patch, lead):
            angles = [index, index / 100]  # 10000^-(k / 2), k = 0, 1
            expected += [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        assert table_LPD[lead, patch].tolist() == pytest.approx(expected, abs=1e-7)


def test_position_table_needs_a_width_of_quarters() -> None:
    with pytest.raises(ValueError, match="multiple of 4, found 10"):
        position_table(8, 50, 10)
