"""The factorised cross-pattern attention is exactly the dense one."""

import pytest
import torch
from torch import Tensor

from ecgjepa.model.attention import (
    Attend,
    attend_dense,
    attend_factorised,
    attend_within_lead,
    cross_pattern,
    grid_pattern,
)


def random_heads(leads: int, patches: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(3, 2, leads, patches, 8, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]


def output_and_gradients(attend: Attend, heads: list[Tensor]) -> list[Tensor]:
    output = attend(*heads)
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), heads)]


def test_a_query_sees_57_of_400_keys() -> None:
    assert (grid_pattern(8, 50).sum(dim=1) == 57).all()


def test_the_rule_by_hand() -> None:
    #            token:        0  1  2  3
    lead_N, patch_N = torch.tensor([0, 0, 1, 1]), torch.tensor([3, 7, 7, 9])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    assert torch.equal(cross_pattern(lead_N, patch_N), expected)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("leads", "patches"), [(8, 50), (8, 17), (3, 5), (2, 1), (1, 6), (1, 1), (12, 4)])
def test_factorised_is_dense(leads: int, patches: int, seed: int) -> None:
    heads = random_heads(leads, patches, seed)
    pattern_NN = grid_pattern(leads, patches)
    dense = output_and_gradients(lambda q, k, v: attend_dense(q, k, v, pattern_NN), heads)
    for found, expected in zip(output_and_gradients(attend_factorised, heads), dense, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_factorised_is_dense_for_large_scores() -> None:
    query, key, value = random_heads(4, 6, seed=0)
    heads = [query * 100, key * 100, value]
    expected = attend_dense(*heads, grid_pattern(4, 6))
    torch.testing.assert_close(attend_factorised(*heads), expected, rtol=1e-10, atol=1e-10)


def test_factorised_in_bfloat16_stays_near() -> None:
    heads = [head.detach().bfloat16() for head in random_heads(8, 20, seed=0)]
    found = attend_factorised(*heads)
    assert found.dtype == torch.bfloat16
    expected = attend_dense(*(head.double() for head in heads), grid_pattern(8, 20))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=0.05)


def test_within_lead_mixes_no_leads() -> None:
    heads = random_heads(4, 6, seed=0)
    lead_N, far_apart_N = torch.arange(24) // 6, torch.arange(24)
    dense = output_and_gradients(lambda q, k, v: attend_dense(q, k, v, cross_pattern(lead_N, far_apart_N)), heads)
    for found, expected in zip(output_and_gradients(attend_within_lead, heads), dense, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
