"""Student, teacher and predictor together."""

import pytest
import torch
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract

VISIBLE, HIDDEN = torch.tensor([[0, 3, 4, 8]]), torch.tensor([[1, 2, 5, 6, 7, 9, 10, 11]])


@pytest.fixture
def jepa(config: ModelConfig, contract: SignalContract, generator: torch.Generator) -> JEPA:
    return JEPA(config, contract, generator=generator)


def test_only_student_and_predictor_learn(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    jepa(signal_mv_BLS, VISIBLE, HIDDEN).backward()
    without = {name for name, weights in jepa.named_parameters() if weights.grad is None}
    assert without == {f"teacher.{name}" for name, _ in jepa.teacher.named_parameters()}
    assert not any(weights.requires_grad for weights in jepa.teacher.parameters())


def test_path_scale_reaches_the_student_and_not_the_teacher(
    jepa: JEPA, signal_mv_BLS: Tensor, generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = []
    target = jepa.target
    monkeypatch.setattr(jepa, "target", lambda *given: targets.append(target(*given)) or targets[-1])
    path_scale = drop_path_scales(0.9, jepa.student.config.depth, 5, generator)
    for weights in jepa.parameters():
        weights.data.normal_(std=0.5, generator=generator)  # initial weights are too small to tell
    losses = [jepa(signal_mv_BLS, VISIBLE, HIDDEN, scale) for scale in (None, path_scale)]
    assert torch.equal(*targets)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_target_is_normalised_and_has_no_gradient(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    jepa.teacher.norm.weight.data.fill_(3)
    with torch.autocast("cpu", torch.bfloat16):
        target_BLMD = jepa.target(signal_mv_BLS, HIDDEN)
    assert target_BLMD.shape == (5, 8, 8, 16)
    assert target_BLMD.dtype == torch.float32
    assert not target_BLMD.requires_grad
    torch.testing.assert_close(target_BLMD.mean(-1), torch.zeros(5, 8, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(target_BLMD.var(-1, correction=0), torch.ones(5, 8, 8), rtol=0, atol=1e-3)


def test_teacher_starts_as_the_student_and_follows_it_slowly(jepa: JEPA) -> None:
    torch.testing.assert_close(jepa.teacher.state_dict(), jepa.student.state_dict(), rtol=0, atol=0)
    before = {name: weights.clone() for name, weights in jepa.teacher.state_dict().items()}
    for weights in jepa.student.parameters():
        weights.data.normal_()
    students = {name: weights.clone() for name, weights in jepa.student.state_dict().items()}
    jepa.update_teacher(0.9)
    expected = {name: 0.9 * before[name] + 0.1 * students[name] for name in before}
    torch.testing.assert_close(dict(jepa.teacher.state_dict()), expected)
    torch.testing.assert_close(dict(jepa.student.state_dict()), students, rtol=0, atol=0)
    jepa.update_teacher(1.0)
    torch.testing.assert_close(dict(jepa.teacher.state_dict()), expected)


def test_masks_per_record(jepa: JEPA, signal_mv_BLS: Tensor, generator: torch.Generator) -> None:
    patches = torch.stack([torch.randperm(12, generator=generator) for _ in range(5)])
    visible, hidden = patches[:, :4], patches[:, 4:]
    together = jepa(signal_mv_BLS, visible, hidden)
    rows = [slice(i, i + 1) for i in range(5)]
    alone = [jepa(signal_mv_BLS[row], visible[row], hidden[row]) for row in rows]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_bfloat16_is_near_float32(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    exact = jepa(signal_mv_BLS, VISIBLE, HIDDEN)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = jepa(signal_mv_BLS, VISIBLE, HIDDEN)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-2)


def test_a_few_steps_lower_the_loss(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    optimizer = torch.optim.AdamW([weights for weights in jepa.parameters() if weights.requires_grad], lr=1e-2)
    losses = []
    for _ in range(40):
        loss = jepa(signal_mv_BLS, VISIBLE, HIDDEN)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        jepa.update_teacher(0.996)
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.usefixtures("unchecked")
def test_compiles_in_one_graph(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(jepa, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(signal_mv_BLS, VISIBLE, HIDDEN), jepa(signal_mv_BLS, VISIBLE, HIDDEN))


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_computes(jepa: JEPA, signal_mv_BLS: Tensor) -> None:
    expected = jepa(signal_mv_BLS, VISIBLE, HIDDEN).item()
    found = jepa.cuda()(signal_mv_BLS.cuda(), VISIBLE.cuda(), HIDDEN.cuda()).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_a_centred_target_holds_nothing_of_the_position(config: ModelConfig, contract: SignalContract) -> None:
    """Its mean over records at every lead and patch is near 0, its mean square near 1."""
    jepa = JEPA(config, contract, generator=torch.Generator().manual_seed(0), centred=True)
    signal_mv_BLS = torch.randn(64, len(contract.leads), contract.samples, generator=torch.Generator().manual_seed(1))
    for _ in range(30):
        jepa(signal_mv_BLS, VISIBLE, HIDDEN)
        jepa.update_teacher(1.0)
    target_BLHD = jepa.target(signal_mv_BLS, HIDDEN)
    assert target_BLHD.mean(dim=0).abs().max() < 0.05
    assert target_BLHD.square().mean().item() == pytest.approx(1, abs=0.1)
    plain_BLHD = JEPA(config, contract, generator=torch.Generator().manual_seed(0)).target(signal_mv_BLS, HIDDEN)
    assert plain_BLHD.mean(dim=0).square().mean() > 0.3  # as published: a third and more is the position


def test_the_centre_does_not_depend_on_how_a_batch_is_divided(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor
) -> None:
    one, other = (JEPA(config, contract, generator=torch.Generator().manual_seed(0), centred=True) for _ in range(2))
    for _ in range(3):
        one(signal_mv_BLS, VISIBLE, HIDDEN)
        for part in signal_mv_BLS.split(2):
            other(part, VISIBLE, HIDDEN)
        for jepa in (one, other):
            jepa.update_teacher(1.0)
    torch.testing.assert_close(dict(one.named_buffers()), dict(other.named_buffers()))


def test_masks_of_a_record_share_its_target(jepa: JEPA, signal_mv_BLS: Tensor, generator: torch.Generator) -> None:
    """Three masks for each of five records, mask by mask, are the mean over the masks alone."""
    patches = torch.stack([torch.randperm(12, generator=generator) for _ in range(15)])
    visible, hidden = patches[:, :4], patches[:, 4:]
    together = jepa(signal_mv_BLS, visible, hidden)
    alone = [jepa(signal_mv_BLS, visible[row : row + 5], hidden[row : row + 5]) for row in (0, 5, 10)]
    torch.testing.assert_close(together, torch.stack(alone).mean())
