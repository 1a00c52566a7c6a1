"""Attention pooling against torch's own attention, and what stands on an encoder."""

import numpy as np
import pytest
import torch
from torch import nn

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention_pooling import AttentionPool
from ecgjepa.model.classifier import Classifier
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.segmenter import Segmenter
from ecgjepa.signal import SignalContract

CONTRACT = SignalContract(leads=("I", "II", "V1"), sampling_rate_hz=100, seconds=2)
MODEL = ModelConfig(width=16, depth=2, heads=2, patch_samples=50, patch_norm=True)


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder() -> Encoder:
    return Encoder(MODEL, CONTRACT, generator=chance())


def signals(records: int = 5) -> torch.Tensor:
    return torch.randn(records, 3, 200, generator=chance(1))


def test_pooling_is_torchs_attention_of_one_query() -> None:
    pool, tokens = AttentionPool(16, 4, chance()), torch.randn(3, 7, 16, generator=chance(1))
    for weight in pool.parameters():
        nn.init.normal_(weight, generator=chance(2))
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    eye, zero = torch.eye(16), torch.zeros(16)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([eye, pool.key.weight, pool.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([zero, pool.key.bias, pool.value.bias]))
        theirs.out_proj.load_state_dict(pool.proj.state_dict())
    normed = pool.norm(tokens)
    present = torch.rand(3, 7, generator=chance(3)) < 0.7
    for mask in (None, present):
        missing = None if mask is None else ~mask
        expected, _ = theirs(pool.query.expand(3, 1, 16), normed, normed, key_padding_mask=missing)
        torch.testing.assert_close(pool(tokens, mask), expected[:, 0], atol=1e-5, rtol=1e-5)


def test_a_missing_token_is_none() -> None:
    pool, tokens = AttentionPool(16, 2, chance()), torch.randn(2, 6, 16, generator=chance(1))
    present = torch.tensor([[True] * 4 + [False] * 2] * 2)
    torch.testing.assert_close(pool(tokens, present), pool(tokens[:, :4]))
    with pytest.raises(ValueError, match="width 16 is not a multiple of 3 heads"):
        AttentionPool(16, 3)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_the_layer_has_all_constants_folded_in(pooling: str) -> None:
    classifier = Classifier(encoder(), 4, pooling, generator=chance())
    with torch.no_grad():
        features = classifier.features(signals())
        classifier.standardise(features)
        classifier.scale_outputs(torch.tensor([1.0, 2, 3, 4]), torch.tensor([5.0, 6, 7, 8]))
        outputs = classifier(signals())
    weight, bias = classifier.layer()
    np.testing.assert_allclose(features.double().numpy() @ weight.T + bias, outputs.numpy(), atol=1e-3)
    standard = (features - classifier.feature_mean_D) / classifier.feature_scale_D
    torch.testing.assert_close(standard.std(dim=0, correction=0), torch.ones(16), atol=1e-3, rtol=0)


def test_an_encoder_that_asks_for_no_gradient_builds_no_graph() -> None:
    classifier = Classifier(encoder(), 2, "attention", generator=chance())
    classifier(signals()).sum().backward()
    assert all(weight.grad is not None for weight in classifier.parameters())
    classifier.encoder.requires_grad_(False)
    classifier.zero_grad()
    classifier(signals()).sum().backward()
    assert all(weight.grad is None for weight in classifier.encoder.parameters())
    assert classifier.linear.weight.grad is not None


def test_of_some_leads_the_others_do_not_exist() -> None:
    classifier = Classifier(encoder(), 2, generator=chance())
    changed = signals().clone()
    changed[:, 1] = 7
    with torch.no_grad():
        some = [classifier(each[:, [0, 2]], ("I", "V1")) for each in (signals(), changed)]
        assert torch.equal(*some)
        assert not torch.allclose(some[0], classifier(signals()))


def test_a_segmenter_says_of_each_sample_what_the_token_of_its_patch_says() -> None:
    model = Segmenter(encoder(), generator=chance())
    with torch.no_grad():
        logits = model(signals())
        assert logits.shape == (5, 3, 200, 4)
        token = model.encoder.forward_features(signals())[2, 1, 3]
        layer = model.linear
        expected = token @ layer.weight.view(50, 4, 16)[7].T + layer.bias.view(50, 4)[7]
    torch.testing.assert_close(logits[2, 1, 3 * 50 + 7], expected)
