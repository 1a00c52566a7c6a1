"""Measures of a representation against direct formulas; alarms of runs made to collapse, and none of a healthy one."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecgjepa.config import ModelConfig
from ecgjepa.evaluate.collapse import MEASURES, Alarm, find_alarms, measure_representation
from ecgjepa.evaluate.spread import rankme
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.tokens import take_patches
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract(leads=("I", "II"), sampling_rate_hz=50, seconds=2)
SIZES = {
    "width": 32, "depth": 2, "heads": 4, "patch_samples": 10,
    "predictor_width": 16, "predictor_depth": 1, "predictor_heads": 2,
}  # fmt: skip
MODEL = ModelConfig(**SIZES, patch_norm=True)


def sines(records: int, seed: int = 0) -> torch.Tensor:
    """Waves of random rate, phase and size in every lead, (records, 2, 100) in mV."""
    chance = torch.Generator().manual_seed(seed)
    rate, phase, size = torch.rand(3, records, 2, 1, generator=chance)
    time_s = torch.arange(CONTRACT.samples) / CONTRACT.sampling_rate_hz
    return (0.5 + size) * torch.sin(2 * math.pi * ((1 + 4 * rate) * time_s + phase))


def encoder_of(config: ModelConfig = MODEL, seed: int = 0) -> Encoder:
    return Encoder(config, CONTRACT, generator=torch.Generator().manual_seed(seed))


def train(config: ModelConfig, *, stop_gradient: bool, momentum: float = 0.98, lr: float = 2e-3) -> list[dict]:
    """The measures through 60 steps of latent prediction, with a teacher or with the student as its own target."""
    student, teacher = encoder_of(config), encoder_of(config).requires_grad_(False)
    chance = torch.Generator().manual_seed(1)
    predictor = Predictor(config, student.patches, generator=chance)
    optimizer = torch.optim.AdamW([*student.parameters(), *predictor.parameters()], lr=lr)
    signals = sines(256, seed=2)
    watched = teacher if stop_gradient else student
    history = [measure_representation(watched, signals[:48])]
    for step in range(1, 61):
        signal_mv_BLS = signals[torch.randperm(256, generator=chance)[:16]]
        order = torch.randperm(student.patches, generator=chance)
        visible, hidden = order[:4].sort().values[None], order[4:].sort().values[None]
        target_BLMD = take_patches(watched.forward_features(signal_mv_BLS), hidden)
        context_BLVD = student.forward_features(signal_mv_BLS, visible_patches=visible)
        target_BLMD = F.layer_norm(target_BLMD, target_BLMD.shape[-1:])
        optimizer.zero_grad()
        F.smooth_l1_loss(predictor(context_BLVD, visible, hidden), target_BLMD).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)
        if step % 15 == 0:
            history.append(measure_representation(watched, signals[:48]) | {"step": float(step)})
    return history


def names_of(alarms: list[Alarm]) -> set[str]:
    return {alarm.name for alarm in alarms}


def test_measures_are_their_formulas() -> None:
    encoder, signals = encoder_of(), sines(12)
    with torch.no_grad():
        tokens_RND = encoder.forward_features(signals, layer=2).flatten(1, 2).double().numpy()
        output_RND = encoder.forward_features(signals).flatten(1, 2).double().numpy()
        pooled_RD = encoder(signals).double().numpy()
    found = measure_representation(encoder, signals, batch_size=5)
    assert tuple(found) == MEASURES

    def share(values_RND: np.ndarray, axis: int) -> float:
        return 1 - values_RND.mean(axis=axis).var(axis=0).sum() / values_RND.var(axis=(0, 1)).sum()

    def rank(values_TD: np.ndarray) -> float:
        singular = np.linalg.svd(values_TD, compute_uv=False)
        singular = singular[singular > 1e-9] / singular.sum()
        return np.exp(-(singular * np.log(singular)).sum())

    def contrast(values_TD: np.ndarray) -> float:
        return np.sqrt(values_TD.var(axis=0).sum() / (values_TD**2).mean(axis=0).sum())

    spread_D = tokens_RND.std(axis=(0, 1))
    unit_RD = pooled_RD / np.linalg.norm(pooled_RD, axis=1, keepdims=True)
    expected = {
        "token_spread": spread_D.mean(),
        "token_spread_min": spread_D.min(),
        "record_share": share(tokens_RND, 0),
        "within_record": share(tokens_RND, 1),
        "rankme_tokens": rank((tokens_RND - tokens_RND.mean(axis=0)).reshape(-1, 32)),  # all: 12 x 20 tokens
        "output_contrast": contrast(output_RND.reshape(-1, 32)),
        "output_record_share": share(output_RND, 0),
        "pooled_contrast": contrast(pooled_RD),
        "cosine_pooled": (unit_RD @ unit_RD.T)[~np.eye(12, dtype=bool)].mean(),
        "rankme_pooled": rank(pooled_RD - pooled_RD.mean(axis=0)),
    }
    assert found == pytest.approx(expected, rel=1e-4)
    assert found == pytest.approx(measure_representation(encoder, signals), rel=1e-4)  # whatever the batches


def test_rankme_counts_dimensions() -> None:
    assert rankme(np.eye(7)) == pytest.approx(7)
    assert rankme(np.outer(np.arange(9.0), np.ones(4))) == pytest.approx(1, abs=1e-5)
    assert rankme(np.zeros((5, 3))) == 0
    assert rankme(np.full((5, 3), 1e-9), scale=15.0) == 0


def test_a_sample_of_the_tokens_is_enough_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, signals = encoder_of(), sines(256)
    every = measure_representation(encoder, signals)  # 4,096 of 5,120 tokens
    monkeypatch.setattr("ecgjepa.evaluate.collapse.SAMPLED_TOKENS", 1024)
    some = measure_representation(encoder, signals)
    assert some["rankme_tokens"] == pytest.approx(every["rankme_tokens"], rel=0.05)
    assert some == measure_representation(encoder, signals)


def test_chance_and_encoder_are_left_as_they_were() -> None:
    encoder, signals = encoder_of(), sines(8)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    with torch.autocast("cpu", torch.bfloat16):
        inside = measure_representation(encoder, signals)
    assert inside == measure_representation(encoder, signals)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    encoder(signals).sum().backward()
    assert encoder.patch_embed.weight.grad is not None


def test_a_healthy_run_raises_no_alarm() -> None:
    history = train(MODEL, stop_gradient=True)
    assert [find_alarms(history[: i + 1]) for i in range(len(history))] == [[]] * 5


def test_a_student_that_is_its_own_target_raises_the_alarm() -> None:
    history = train(MODEL, stop_gradient=False)
    assert not find_alarms(history[:1])
    alarms = find_alarms(history)
    assert names_of(alarms) == {"same_features"}
    assert "differ by 0.0" in alarms[0].found
    assert "loss falls" in alarms[0].explanation
    assert "momentum" in alarms[0].advice


def test_the_published_start_is_given_time_and_then_an_alarm() -> None:
    history = train(ModelConfig(**SIZES), stop_gradient=True, lr=1e-4)
    assert history[0]["record_share"] < 0.01
    assert [names_of(find_alarms(history[:n])) for n in (1, 2, 3)] == [set()] * 3
    assert names_of(find_alarms(history)) == {"positions_only"}
    grown = [*history, history[-1] | {"record_share": 0.02, "output_record_share": 0.02}]
    assert find_alarms(grown) == []


def test_equal_records_and_equal_tokens() -> None:
    encoder = encoder_of()
    same = measure_representation(encoder, sines(1).expand(40, -1, -1), batch_size=32)
    assert same["record_share"] == pytest.approx(0, abs=1e-9)
    assert (same["pooled_contrast"], same["rankme_pooled"], same["rankme_tokens"]) == (0, 0, 0)
    assert same["cosine_pooled"] == pytest.approx(1)
    assert names_of(find_alarms([same])) == {"same_features"}
    torch.nn.init.zeros_(encoder.norm.weight)
    torch.nn.init.ones_(encoder.norm.bias)
    flat = measure_representation(encoder, sines(40))
    assert flat["record_share"] > 0.1
    assert [flat[name] for name in ("output_contrast", "output_record_share", "pooled_contrast")] == [0, 0, 0]
    assert names_of(find_alarms([flat])) == {"same_features"}


def test_few_dimensions() -> None:
    start = dict.fromkeys(MEASURES, 0.5) | {"rankme_pooled": 60.0}
    assert find_alarms([start, start | {"rankme_pooled": 6.5}]) == []
    [alarm] = find_alarms([start, start | {"rankme_pooled": 5.5}])
    assert (alarm.name, alarm.found) == ("few_dimensions", "RankMe of the pooled features is 5.5, 60 at the start")
    assert names_of(find_alarms([start | {"rankme_pooled": 8.0}, start | {"rankme_pooled": 1.9}])) == {"few_dimensions"}
    assert find_alarms([start | {"rankme_pooled": 1.9}] * 2) == []  # few from the start: it has not got worse


def test_a_record_share_that_is_lost() -> None:
    start = dict.fromkeys(MEASURES, 0.5)
    assert find_alarms([start, start | {"record_share": 0.03}]) == []
    [alarm] = find_alarms([start, start | {"output_record_share": 0.02}])
    assert alarm.name == "positions_only"
    assert alarm.found == "0.02 of the tokens' variance after the last norm is of the ECG, 0.5 at the start"


def test_weights_that_are_no_numbers() -> None:
    encoder = encoder_of()
    start = measure_representation(encoder, sines(4))
    torch.nn.init.constant_(encoder.patch_embed.bias, float("inf"))
    broken = measure_representation(encoder, sines(4))
    assert all(math.isnan(value) for value in broken.values())
    assert names_of(find_alarms([start, broken])) == names_of(find_alarms([broken])) == {"not_finite"}


def test_what_it_refuses() -> None:
    signals = sines(5)
    with pytest.raises(ValueError, match="collapse: 1 records, expected 2 or more"):
        measure_representation(encoder_of(), signals[:1])
    with pytest.raises(ValueError, match=r"weights are torch.bfloat16, expected torch.float32"):
        measure_representation(encoder_of().bfloat16(), signals)
    signals[3, 1, 7] = float("nan")
    with pytest.raises(ValueError, match="1 of 5 signals are not finite, the first is number 3"):
        measure_representation(encoder_of(), signals)
    with pytest.raises(ValueError, match="evaluation 1 lacks cosine_pooled, rankme_pooled"):
        find_alarms([dict.fromkeys(MEASURES, 0.5), dict.fromkeys(MEASURES[:-2], 0.5)])
    assert find_alarms([]) == []
