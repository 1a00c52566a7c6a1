"""Augmentation of a batch at once, against a plain loop over records with the same draws."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgjepa.finetune.augment import Draws, augment, draw_augmentations
from ecgjepa.finetune.settings import AUGMENTATIONS, AugmentationSettings

SHAPE = (64, 3, 100)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(settings: AugmentationSettings, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Draws:
    return draw_augmentations(settings, *shape, chance(seed))


def applied(draws: Draws) -> torch.Tensor:
    """Whether each operation is applied to each record, (B, O)."""
    table = torch.zeros(draws.start_BO.shape, dtype=torch.bool)
    for k, rows in enumerate(draws.rows):
        table[rows, k] = True
    return table


def one_record(signal: np.ndarray, draws: Draws, b: int) -> np.ndarray:
    """What was drawn for a record, operation by operation."""
    signal, samples = signal.astype(np.float64).copy(), signal.shape[1]
    time = np.arange(samples)
    for k, name in enumerate(AUGMENTATIONS):
        if b not in draws.rows[k]:
            continue
        part = slice(int(draws.start_BO[b, k]), int(draws.stop_BO[b, k]))
        wave = draws.amplitude_mv * np.sin(2 * np.pi * time / draws.period_samples + float(draws.phase_BO[b, k]))
        if name == "shift":
            by = int(draws.shift_B[b])
            moved = np.zeros_like(signal)
            if by >= 0:
                moved[:, by:] = signal[:, : samples - by]
            else:
                moved[:, :by] = signal[:, -by:]
            signal = moved
        elif name == "cutout":
            signal[:, part] = 0
        elif name == "drop-samples":
            signal[:, ~draws.kept_BS[b].numpy()] = 0
        elif name == "flip":
            signal = -signal
        elif name == "erase-lead":
            signal[int(draws.lead_B[b])] = 0
        elif name == "sine":
            signal += wave
        elif name == "partial-sine":
            signal[:, part] += wave[part]
        elif name == "partial-noise":
            signal[:, part] += draws.amplitude_mv * draws.noise_PLS[draws.rows[k].tolist().index(b)].numpy()[:, part]
    return signal


@pytest.mark.parametrize("name", [*AUGMENTATIONS, "all"])
def test_a_batch_is_what_a_loop_over_its_records_gives(name: str) -> None:
    operations = AUGMENTATIONS if name == "all" else (name,)
    draws = draw(AugmentationSettings(operations=operations, chance=0.5 if name == "all" else 0.8, per_record=4))
    signal = torch.randn(*SHAPE, generator=chance(1))
    before = signal.clone()
    found = augment(signal, draws)
    expected = np.stack([one_record(signal[b].numpy(), draws, b) for b in range(len(signal))])
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    assert torch.equal(signal, before)
    touched = (found != signal).flatten(1).any(dim=1)
    assert touched.sum() > 30
    untouched = ~applied(draws).any(dim=1)
    assert untouched.any()
    assert torch.equal(found[untouched], signal[untouched])


def test_two_different_operations_are_drawn_and_each_is_applied_half_of_the_time() -> None:
    settings = AugmentationSettings(operations=AUGMENTATIONS)
    drawn = applied(draw(settings, shape=(8000, 1, 10)))
    assert int(drawn.sum(dim=1).max()) == 2
    shares = [float((drawn.sum(dim=1) == count).float().mean()) for count in range(3)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.02)
    np.testing.assert_allclose(drawn.float().mean(dim=0), 2 / 8 * 0.5, atol=0.02)
    always = applied(draw(AugmentationSettings(operations=("sine", "shift"), chance=1.0)))
    assert always.sum(dim=1).tolist() == [2] * SHAPE[0]
    assert {AUGMENTATIONS[k] for k in always.any(dim=0).nonzero().flatten()} == {"sine", "shift"}


def test_polarity_is_kept_unless_asked_for_and_nothing_happens_without_operations() -> None:
    assert not len(draw(AugmentationSettings()).rows_of("flip"))
    assert len(draw(AugmentationSettings(operations=("flip",))).rows_of("flip"))
    signal = torch.randn(*SHAPE, generator=chance(1))
    none = draw(AugmentationSettings(operations=()))
    assert torch.equal(augment(signal, none), signal)


def test_strengths_are_those_of_the_settings() -> None:
    settings = AugmentationSettings(share=0.3, period=0.05, amplitude_mv=0.3)
    draws = draw(settings, shape=(4000, 2, 100))
    length = (draws.stop_BO - draws.start_BO)[:, AUGMENTATIONS.index("cutout")]
    assert (int(length.min()), int(length.max())) == (0, 30)
    assert (int(draws.shift_B.min()), int(draws.shift_B.max())) == (-30, 30)
    assert int(draws.start_BO.min()) == 0
    assert int(draws.stop_BO.max()) == 100
    dropped = 1 - draws.kept_BS.float().mean(dim=1)
    assert float(dropped.mean()) == pytest.approx(0.15, abs=0.01)
    assert float(dropped.max()) > 0.3  # a chance for each sample, not a count
    assert set(draws.lead_B.tolist()) == {0, 1}
    assert draws.period_samples == 5
    assert 0 <= float(draws.phase_BO.min()) < 0.01 < 2 * math.pi - 0.01 < float(draws.phase_BO.max()) <= 2 * math.pi


def test_draws_are_a_function_of_the_generator() -> None:
    settings = AugmentationSettings()
    one, same, other = (draw(settings, seed) for seed in (3, 3, 4))
    assert torch.equal(one.noise_PLS, same.noise_PLS)
    assert torch.equal(applied(one), applied(same))
    assert not torch.equal(applied(one), applied(other))
    assert replace(one).to(torch.device("cpu")).period_samples == one.period_samples
