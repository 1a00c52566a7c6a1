"""What a hidden stretch takes from the score, where the answer is known, and against leaving tokens out one by one."""

import numpy as np
import pytest
import torch

from ecgjepa.config import ModelConfig
from ecgjepa.evaluate.head import Head, describe_encoder
from ecgjepa.evaluate.occlusion import occlusion_map
from ecgjepa.evaluate.readouts import CONSTANT_LOGIT
from ecgjepa.model.encoder import Encoder
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=2)
MODEL = ModelConfig(width=8, depth=2, heads=2, patch_samples=25, predictor_width=8, predictor_heads=2)
LEADS = ("I", "V1")


class PatchMeans(Encoder):
    """The first feature of a token is the mean of its patch in mV; no token knows of another."""

    def forward_features(self, signal_mv_BLS, leads=None, present_BLP=None):
        mean_BLP = signal_mv_BLS.unflatten(-1, (-1, 25)).mean(dim=-1)
        return torch.nn.functional.pad(mean_BLP[..., None], (0, 7))


@pytest.fixture
def signal_mv() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 200)).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MODEL, CONTRACT, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def head(encoder) -> Head:
    rng = np.random.default_rng(0)
    about = describe_encoder(encoder, "teacher", "run")
    return Head(rng.standard_normal((2, 8)), np.array([0.3, -0.2]), ("MI", "NORM"), "multilabel", None, about)


def test_what_speaks_for_a_class_is_positive() -> None:
    signal_mv = np.zeros((2, 200), dtype=np.float32)
    signal_mv[0, 50:100] = 1.6  # patches 2 and 3 of lead I
    signal_mv[1, 150:175] = -0.8  # patch 6 of V1
    head = Head(np.eye(1, 8), np.zeros(1), ("HIGH",))
    fall = occlusion_map(PatchMeans(MODEL, CONTRACT), head, signal_mv, LEADS, "HIGH", score="log_odds")
    mean = (2 * 1.6 - 0.8) / 16
    expected = np.full((2, 8), mean - mean * 16 / 14)  # a stretch of zeros: the mean of the others is larger
    expected[0, 2:4] = mean + 0.8 / 14
    expected[1, 6:8] = mean - 3.2 / 14
    np.testing.assert_allclose(fall, expected, atol=1e-6)
    assert fall[0, 2] > 0 > fall[1, 6]

    fall = occlusion_map(PatchMeans(MODEL, CONTRACT), head, signal_mv, LEADS, "HIGH", all_leads=True)
    without = np.array([2.4 / 12, -0.8 / 12, 2.4 / 12, 3.2 / 12])  # four stretches, in both leads
    expected = 1 / (1 + np.exp(-mean)) - 1 / (1 + np.exp(-without))
    np.testing.assert_allclose(fall, np.tile(np.repeat(expected, 2), (2, 1)), atol=1e-6)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize("stretch", [1, 3])
def test_equals_leaving_tokens_out_one_stretch_after_another(encoder, head, signal_mv, stretch, task) -> None:
    head = Head(head.weight_KD, head.bias_K, head.classes, task, None, head.about)
    signal_mv[1, 30] = np.nan  # patch 1 of V1 is no token
    found = occlusion_map(
        encoder, head, signal_mv, LEADS, "NORM", stretch_patches=stretch, batch_size=3, score="log_odds"
    )
    clean = torch.from_numpy(np.nan_to_num(signal_mv))[None]

    def score(present: torch.Tensor) -> float:
        with torch.no_grad():
            features = encoder.pool(encoder.forward_features(clean, LEADS, present_BLP=present), present)
        return float(head.log_odds(features.numpy())[0, 1])

    there = torch.ones(1, 2, 8, dtype=torch.bool)
    there[0, 1, 1] = False
    for lead in range(2):
        for patch in range(8):
            present = there.clone()
            first = patch // stretch * stretch
            present[0, lead, first : first + stretch] = False
            if there[0, lead, patch]:
                assert found[lead, patch] == pytest.approx(score(there) - score(present), abs=1e-5)
    assert np.isnan(found).sum() == 1
    assert np.isnan(found[1, 1])
    assert np.nanmax(np.abs(found)) > 1e-3


def test_all_leads_at_once_equals_leaving_patches_out(encoder, head, signal_mv) -> None:
    found = occlusion_map(encoder, head, signal_mv, LEADS, "MI", stretch_patches=3, all_leads=True)
    signal = torch.from_numpy(signal_mv)[None]
    for first, end in ((0, 3), (3, 6), (6, 8)):
        visible = torch.tensor([[p for p in range(8) if not first <= p < end]])
        with torch.no_grad():
            whole, part = (
                encoder.pool(encoder.forward_features(signal, LEADS, visible_patches=v)) for v in (None, visible)
            )
        expected = (head.predict_proba(whole.numpy()) - head.predict_proba(part.numpy()))[0, 0]
        np.testing.assert_allclose(found[:, first:end], expected, atol=1e-6)


def test_batches_do_not_matter_and_short_signals_are_fine(encoder, head, signal_mv) -> None:
    short = signal_mv[:, :125]
    maps = [occlusion_map(encoder, head, short, LEADS, "MI", batch_size=size) for size in (1, 4, 99)]
    assert maps[0].shape == (2, 5)
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-6)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-6)


def test_what_has_no_answer_is_refused(encoder, head, signal_mv) -> None:
    with pytest.raises(ValueError, match="no class 'AF', expected one of MI, NORM"):
        occlusion_map(encoder, head, signal_mv, LEADS, "AF")
    with pytest.raises(ValueError, match="hides all of the record, which has 8 tokens"):
        occlusion_map(encoder, head, signal_mv[:1], ("I",), "MI", stretch_patches=8)
    with pytest.raises(ValueError, match="hides all of the record"):
        occlusion_map(encoder, head, signal_mv, LEADS, "MI", stretch_patches=8, all_leads=True)
    with pytest.raises(ValueError, match="stretches of 0 patches"):
        occlusion_map(encoder, head, signal_mv, LEADS, "MI", stretch_patches=0)
    constant = Head(np.zeros((1, 8)), np.array([-CONSTANT_LOGIT]), ("GONE",))
    with pytest.raises(ValueError, match="GONE could not be learned"):
        occlusion_map(encoder, constant, signal_mv, LEADS, "GONE")
    with pytest.raises(ValueError, match=r"learned on the features of run \(teacher\)"):
        occlusion_map(Encoder(MODEL, CONTRACT), head, signal_mv, LEADS, "MI")
