"""The two objectives beside JEPA: masked autoencoding, and latent prediction with SIGReg."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.masked_autoencoder import MaskedAutoencoder
from ecgjepa.model.sigreg import DIRECTIONS, POSITIONS, LatentSIGReg, sigreg
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract

VISIBLE, HIDDEN = torch.tensor([[0, 3, 4, 8]]), torch.tensor([[1, 2, 5, 6, 7, 9, 10, 11]])
# Of Gaussian samples: the integral of (1 - exp(-t^2)) exp(-t^2 / 2) over all t.
OF_GAUSSIAN = math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3))
OBJECTIVES = [MaskedAutoencoder, LatentSIGReg]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(params=OBJECTIVES)
def objective(
    request: pytest.FixtureRequest, config: ModelConfig, contract: SignalContract, generator: torch.Generator
) -> nn.Module:
    return request.param(config, contract, generator=generator)


@pytest.fixture
def mae(config: ModelConfig, contract: SignalContract, generator: torch.Generator) -> MaskedAutoencoder:
    return MaskedAutoencoder(config, contract, generator=generator)


@pytest.fixture
def latent(config: ModelConfig, contract: SignalContract, generator: torch.Generator) -> LatentSIGReg:
    return LatentSIGReg(config, contract, generator=generator)


def extra(objective: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    return objective.extra_inputs(torch.Generator().manual_seed(seed))


def unit_directions(width: int, count: int = 256) -> Tensor:
    return nn.functional.normalize(torch.randn(width, count, generator=torch.Generator().manual_seed(5)), dim=0)


def masks_of(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    patches = torch.stack([torch.randperm(12, generator=generator) for _ in range(rows)])
    return patches[:, :4], patches[:, 4:]


def test_every_weight_learns_and_there_is_no_teacher(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective)).backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in objective.parameters())
    before = {name: weight.clone() for name, weight in objective.state_dict().items()}
    objective.update_teacher(0.5)
    torch.testing.assert_close(objective.state_dict(), before, rtol=0, atol=0)
    assert objective.teacher is None
    assert objective.encoder is objective.student


def test_a_few_steps_lower_the_loss(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    signal_mv_BLS = 0.1 * signal_mv_BLS + (torch.arange(120) * math.pi / 10).sin()  # mere noise cannot be foretold
    optimizer, losses = torch.optim.AdamW(objective.parameters(), lr=1e-2), []
    for step in range(20):
        loss = objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective, step))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_chance_comes_in_as_arguments_only(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    first, second = (objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(objective.eval()(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective)), first)
    other = objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective, 2))
    assert torch.equal(other, first) == (extra(objective) == {})


def test_several_masks_of_a_record_are_rows_mask_by_mask(
    objective: nn.Module, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    visible, hidden = masks_of(10, generator)
    scale = drop_path_scales(0.9, objective.student.config.depth, 10, generator)
    together = objective(signal_mv_BLS, visible, hidden, scale, **extra(objective))
    rows = [slice(0, 5), slice(5, 10)]
    alone = [objective(signal_mv_BLS, visible[r], hidden[r], scale[:, :, r], **extra(objective)) for r in rows]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_path_scale_reaches_the_student(
    objective: nn.Module, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    for weights in objective.parameters():
        weights.data.normal_(std=0.5, generator=generator)  # initial weights are too small to tell
    dropped = torch.zeros(objective.student.config.depth, 2, 5)
    losses = [objective(signal_mv_BLS, VISIBLE, HIDDEN, scale, **extra(objective)) for scale in (None, dropped)]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_bfloat16_is_near_float32(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    exact = objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective))
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=2e-2)


@pytest.mark.usefixtures("unchecked")
def test_compiles_in_one_graph(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(objective, backend="eager", fullgraph=True)
    given = (signal_mv_BLS, VISIBLE, HIDDEN)
    torch.testing.assert_close(compiled(*given, **extra(objective)), objective(*given, **extra(objective)))


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_computes(objective: nn.Module, signal_mv_BLS: Tensor) -> None:
    expected = objective(signal_mv_BLS, VISIBLE, HIDDEN, **extra(objective)).item()
    given = {name: tensor.cuda() for name, tensor in extra(objective).items()}
    found = objective.cuda()(signal_mv_BLS.cuda(), VISIBLE.cuda(), HIDDEN.cuda(), **given).item()
    assert found == pytest.approx(expected, rel=1e-4)


def test_masked_autoencoder_with_masks_per_record(
    mae: MaskedAutoencoder, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    visible, hidden = masks_of(5, generator)
    rows = [slice(i, i + 1) for i in range(5)]
    alone = [mae(signal_mv_BLS[row], visible[row], hidden[row]) for row in rows]
    torch.testing.assert_close(mae(signal_mv_BLS, visible, hidden), torch.stack(alone).mean())


def test_masked_autoencoder_does_not_see_what_it_draws(mae: MaskedAutoencoder, signal_mv_BLS: Tensor) -> None:
    drawn = []
    mae.decoder.register_forward_hook(lambda module, given, output: drawn.append(output))
    changed_BLPS = signal_mv_BLS.unflatten(-1, (12, 10)).clone()
    changed_BLPS[:, :, HIDDEN[0]] += 1
    losses = [mae(signal, VISIBLE, HIDDEN) for signal in (signal_mv_BLS, 3 * changed_BLPS.flatten(2))]
    assert not torch.equal(*drawn)  # the visible ones are three times as large
    mae(changed_BLPS.flatten(2), VISIBLE, HIDDEN)
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(*losses)


def test_target_of_the_masked_autoencoder(mae: MaskedAutoencoder, signal_mv_BLS: Tensor) -> None:
    target_BLHS = mae.target(5 * signal_mv_BLS + 2, HIDDEN)
    assert target_BLHS.shape == (5, 8, 8, 10)
    torch.testing.assert_close(target_BLHS.mean(-1), torch.zeros(5, 8, 8), rtol=0, atol=1e-5)
    torch.testing.assert_close(target_BLHS.std(-1, correction=0), torch.ones(5, 8, 8), rtol=0, atol=1e-3)
    flat_mv_BLS = torch.full_like(signal_mv_BLS, 4.0)
    assert not mae.target(flat_mv_BLS, HIDDEN).any()
    steps_of_1_uv_BLS = flat_mv_BLS + 0.001 * signal_mv_BLS.sign()
    assert mae.target(steps_of_1_uv_BLS, HIDDEN).abs().max() < 0.11


def test_extra_inputs_are_unit_vectors_and_places(latent: LatentSIGReg, mae: MaskedAutoencoder) -> None:
    drawn, again, other = extra(latent), extra(latent), extra(latent, 2)
    torch.testing.assert_close(drawn["directions_DC"].norm(dim=0), torch.ones(DIRECTIONS))
    assert drawn["directions_DC"].shape == (16, DIRECTIONS)
    assert len(drawn["positions_Q"].unique()) == POSITIONS
    assert 0 <= drawn["positions_Q"].min() <= drawn["positions_Q"].max() < 8 * 12
    assert all(torch.equal(drawn[name], again[name]) and not torch.equal(drawn[name], other[name]) for name in drawn)
    assert extra(mae) == {}


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan])
def test_weight_is_a_share(config: ModelConfig, contract: SignalContract, weight: float) -> None:
    with pytest.raises(ValueError, match="weight of SIGReg: expected 0 to 1, found"):
        LatentSIGReg(config, contract, weight=weight)


def test_gradient_reaches_the_student_through_target_and_context(
    latent: LatentSIGReg, signal_mv_BLS: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    latent.weight, views = 0.0, []
    of_student = latent.student.forward_features

    def watched(*given: Tensor, **named: Tensor) -> Tensor:
        views.append(of_student(*given, **named))
        views[-1].retain_grad()
        return views[-1]

    monkeypatch.setattr(latent.student, "forward_features", watched)
    latent(signal_mv_BLS, VISIBLE, HIDDEN, **extra(latent)).backward()
    full, context = views
    assert full.shape[2] == 12
    assert context.shape[2] == 4
    assert context.grad.any()
    assert full.grad[:, :, HIDDEN[0]].any()
    assert not full.grad[:, :, VISIBLE[0]].any()


def test_statistic_of_gaussian_samples_is_its_expectation(generator: torch.Generator) -> None:
    for records in (100, 1000):
        features_BQD = torch.randn(records, 8, 12, generator=generator)
        assert sigreg(features_BQD, unit_directions(12)).item() == pytest.approx(OF_GAUSSIAN, rel=0.15)


def test_statistic_of_one_record_is_the_integral(generator: torch.Generator) -> None:
    place, fine = torch.tensor(1.7), torch.linspace(-3, 3, 20_001)
    gauss = (-fine.square() / 2).exp()
    distance = ((fine * place).cos() - gauss).square() + (fine * place).sin().square()
    expected = torch.trapezoid(distance * gauss, fine)
    found = sigreg(place.view(1, 1, 1), torch.ones(1, 1))
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize("what", ["zero", "shifted", "narrow", "wide", "line", "two clusters"])
def test_statistic_is_large_for_other_distributions(what: str, generator: torch.Generator) -> None:
    gaussian_BQD = torch.randn(256, 2, 12, generator=generator)
    features_BQD = {
        "zero": torch.zeros_like(gaussian_BQD),
        "shifted": gaussian_BQD + 1,
        "narrow": gaussian_BQD * 0.3,
        "wide": gaussian_BQD * 3,
        "line": gaussian_BQD[..., :1].expand_as(gaussian_BQD),
        "two clusters": gaussian_BQD[..., :1].sign() + 0.1 * gaussian_BQD,
    }[what]
    assert sigreg(features_BQD, unit_directions(12)) > 5 * OF_GAUSSIAN


def test_tokens_that_know_only_their_position_are_penalised(generator: torch.Generator) -> None:
    of_position_QD = torch.randn(400, 12, generator=generator)
    of_position_BQD = of_position_QD.expand(64, -1, -1)
    of_record_BQD = torch.randn(64, 1, 12, generator=generator).expand(-1, 20, -1)
    directions_DC = unit_directions(12)
    over_all_tokens = sigreg(of_position_QD[:, None], directions_DC)
    assert over_all_tokens < 1.2 * OF_GAUSSIAN  # a test over all tokens would have let them pass
    assert sigreg(of_position_BQD[:, :20], directions_DC) > 20 * OF_GAUSSIAN
    assert sigreg(of_record_BQD, directions_DC) < 1.5 * OF_GAUSSIAN


def test_free_points_become_gaussian(generator: torch.Generator) -> None:
    points_BD = (0.1 * torch.randn(256, 6, generator=generator) + 0.5).requires_grad_()
    optimizer, losses = torch.optim.Adam([points_BD], lr=0.05), []
    for step in range(300):
        drawn_DC = torch.randn(6, 32, generator=torch.Generator().manual_seed(step))
        loss = sigreg(points_BD[:, None], nn.functional.normalize(drawn_DC, dim=0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    torch.testing.assert_close(points_BD.detach().mean(0), torch.zeros(6), rtol=0, atol=0.1)
    torch.testing.assert_close(points_BD.detach().T.cov(), torch.eye(6), rtol=0, atol=0.15)


TWO_PROCESSES = """
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ecgjepa.config import ModelConfig
from ecgjepa.model.sigreg import LatentSIGReg
from ecgjepa.signal import SignalContract

torch.set_num_threads(1)
narrow = dict(predictor_width=8, predictor_depth=1, predictor_heads=2)
config = ModelConfig(width=16, depth=1, heads=2, patch_samples=10, **narrow)
generator = torch.Generator().manual_seed(0)
contract = SignalContract(sampling_rate_hz=20, seconds=6)
signal_mv_BLS = torch.randn(8, 8, 120, generator=generator)
model = LatentSIGReg(config, contract, weight=0.5, generator=generator)
masks = torch.arange(4)[None], torch.arange(4, 12)[None]
extra = model.extra_inputs(generator)

def of_one_process(rank, file):
    def gradient(loss):
        model.zero_grad()
        loss.backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters()])

    whole = model(signal_mv_BLS, *masks, **extra)
    expected = gradient(whole)
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    spread = DistributedDataParallel(model)  # averages the gradients as long as it lives
    share = spread(signal_mv_BLS[4 * rank : 4 * rank + 4], *masks, **extra)
    found, mean = gradient(share), share.detach().clone()
    dist.all_reduce(mean)
    torch.testing.assert_close(mean / 2, whole.detach())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert (expected.abs() > 1e-4).sum() > 1000
    dist.destroy_process_group()

if __name__ == "__main__":
    torch.multiprocessing.start_processes(of_one_process, (sys.argv[1],), nprocs=2, start_method="fork")
"""


def test_two_processes_give_the_gradient_of_one(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_PROCESSES, str(tmp_path / "meeting")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
