"""Any leads, any visible patches, per batch or per record; initial weights; chance from outside only."""

from functools import partial

import pytest
import torch
from torch import Tensor

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import attend_dense, attend_factorised, cross_pattern
from ecgjepa.model.encoder import AttentionForm, Encoder
from ecgjepa.model.predictor import Predictor
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract


def random_patches(batch: int, visible: int, generator: torch.Generator) -> Tensor:
    """Distinct patches per record, in no order."""
    return torch.stack([torch.randperm(12, generator=generator)[:visible] for _ in range(batch)])


@pytest.mark.parametrize("seed", range(6))
def test_dense_and_factorised_agree_on_any_leads_and_patches(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    factorised = Encoder(config, contract, generator=generator).double()
    dense = Encoder(config, contract, attention="dense").double()
    dense.load_state_dict(factorised.state_dict())
    rows = torch.randperm(8, generator=generator)[: 1 + seed % 8].tolist()
    visible = random_patches(5, 1 + 2 * seed, generator)
    outputs, gradients = [], []
    for encoder in (factorised, dense):
        output = encoder.forward_features(
            signal_mv_BLS[:, rows].double(), [contract.leads[row] for row in rows], visible
        )
        output.square().mean().backward()
        outputs.append(output)
        gradients.append([weights.grad for weights in encoder.parameters()])
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def test_patches_per_record_are_a_loop_over_records(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    predictor = Predictor(config, encoder.patches, generator=generator)
    patches = random_patches(5, 12, generator)
    visible, hidden = patches[:, :5], patches[:, 5:]
    together = encoder.forward_features(signal_mv_BLS, visible_patches=visible)
    predicted = predictor(together, visible, hidden)
    for i in range(5):
        row = slice(i, i + 1)
        alone = encoder.forward_features(signal_mv_BLS[row], visible_patches=visible[row])
        torch.testing.assert_close(together[row], alone)
        torch.testing.assert_close(predicted[row], predictor(alone, visible[row], hidden[row]))


def test_what_is_not_visible_has_no_influence_and_order_does_not_matter(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    features = encoder.forward_features(signal_mv_BLS, visible_patches=torch.tensor([[7, 2, 3]]))
    changed = signal_mv_BLS.unflatten(-1, (12, 10)).clone()
    changed[:, :, [0, 1, 4, 5, 6, 8, 9, 10, 11]] = 100
    again = encoder.forward_features(changed.flatten(2), visible_patches=torch.tensor([[2, 3, 7]]))
    torch.testing.assert_close(again[:, :, [2, 0, 1]], features)


def test_pooling_is_the_mean_over_leads_and_patches(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    mean = encoder.forward_features(signal_mv_BLS).flatten(1, 2).mean(dim=1)
    torch.testing.assert_close(encoder(signal_mv_BLS), mean)


def test_normalised_patches_do_not_depend_on_the_scale_of_the_signal(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    normed = Encoder(config.model_copy(update={"patch_norm": True}), contract, generator=generator)
    published = Encoder(config, contract)
    published.load_state_dict(normed.state_dict())  # without weights of its own
    torch.testing.assert_close(normed(signal_mv_BLS * 100), normed(signal_mv_BLS * 1000), rtol=0, atol=1e-4)
    assert (published(signal_mv_BLS * 100) - published(signal_mv_BLS * 1000)).abs().max() > 1e-2


def test_training_mode_changes_nothing(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    assert torch.equal(encoder.train()(signal_mv_BLS), encoder.eval()(signal_mv_BLS))


def test_initial_weights(contract: SignalContract) -> None:
    config = ModelConfig(patch_samples=10, width=128, depth=3, heads=2, predictor_width=128, predictor_heads=2)
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(1)
    modules = [Encoder(config, contract, generator=generator), Predictor(config, 12, generator=generator)]
    assert torch.equal(torch.get_rng_state(), state)
    generator.manual_seed(1)
    again = [Encoder(config, contract, generator=generator), Predictor(config, 12, generator=generator)]
    for module, copy in zip(modules, again, strict=True):
        torch.testing.assert_close(dict(module.state_dict()), dict(copy.state_dict()), rtol=0, atol=0)
        for name, weights in module.named_parameters():
            if name.endswith("bias"):
                assert not weights.any(), name
            elif "norm" in name:
                assert (weights == 1).all(), name
            else:
                block = int(name.split(".")[1]) if name.endswith(("attn.proj.weight", "mlp.fc2.weight")) else -0.5
                expected = 0.02 / (2 * (block + 1)) ** 0.5
                tolerance = 5 / (2 * weights.numel()) ** 0.5  # five standard errors
                assert weights.std().item() == pytest.approx(expected, rel=tolerance), name
                assert abs(weights.mean().item()) < 5 * expected / weights.numel() ** 0.5, name


def test_drop_path_rises_linearly_and_keeps_the_mean(generator: torch.Generator) -> None:
    scales = drop_path_scales(0.4, depth=5, batch=20_000, generator=generator)
    assert scales.shape == (5, 2, 20_000)
    for i, probability in enumerate((0, 0.1, 0.2, 0.3, 0.4)):
        assert scales[i].unique().tolist() == pytest.approx([0] * (i > 0) + [1 / (1 - probability)])
        assert (scales[i] == 0).float().mean().item() == pytest.approx(probability, abs=0.015)
    assert (drop_path_scales(0.0, 3, 4, generator) == 1).all()


def test_a_dropped_branch_of_one_record(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    full = encoder.forward_features(signal_mv_BLS)
    ones = torch.ones(config.depth, 2, 5)
    torch.testing.assert_close(encoder.forward_features(signal_mv_BLS, path_scale=ones), full)
    ones[1, 1, 3] = 0
    dropped = encoder.forward_features(signal_mv_BLS, path_scale=ones)
    encoder.blocks[1].mlp.fc2.weight.data.zero_()
    without_mlp = encoder.forward_features(signal_mv_BLS)
    torch.testing.assert_close(dropped[3], without_mlp[3])
    torch.testing.assert_close(dropped[[0, 1, 2, 4]], full[[0, 1, 2, 4]])
    assert (dropped[3] - full[3]).abs().max() > 1e-4


@pytest.mark.parametrize("attention", ["factorised", "dense"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_missing_patches_of_a_lead_do_not_exist_for_the_others(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, attention: AttentionForm, share: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    encoder = Encoder(config, contract, generator=generator, attention=attention).double()
    present_BLP = torch.rand(5, 8, 12, generator=generator) > share
    present_BLP[:, 2, 3] = True
    features = encoder.forward_features(signal_mv_BLS.double(), present_BLP=present_BLP)
    assert features.isfinite().all()
    pooled = encoder.pool(features, present_BLP)
    lead_N, patch_N = (index.flatten() for index in torch.meshgrid(torch.arange(8), torch.arange(12), indexing="ij"))
    for i, present_N in enumerate(present_BLP.flatten(1)):
        # The tokens that are there, as one row, each with its own position, by the rule itself.
        tokens = encoder.patch_embed(signal_mv_BLS[i].double().unflatten(-1, (12, 10)).flatten(0, 1)[present_N])
        position = encoder.position_LPD.flatten(0, 1)[present_N]
        rule = partial(attend_dense, pattern_NN=cross_pattern(lead_N[present_N], patch_N[present_N]))
        alone = encoder.norm(encoder.blocks(tokens[None, None], position[None, None], rule))[0, 0]
        torch.testing.assert_close(features[i].flatten(0, 1)[present_N], alone, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(pooled[i], alone.mean(dim=0), rtol=1e-9, atol=1e-9)


def test_a_short_signal_is_the_first_patches(
    config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor, generator: torch.Generator
) -> None:
    encoder = Encoder(config, contract, generator=generator)
    visible = torch.arange(4)[None]
    expected = encoder.forward_features(signal_mv_BLS, visible_patches=visible)
    torch.testing.assert_close(encoder.forward_features(signal_mv_BLS[:, :, :40]), expected)
    present_BLP = torch.ones(5, 8, 12, dtype=torch.bool)
    present_BLP[:, :, 4:] = False
    masked = encoder.forward_features(signal_mv_BLS, present_BLP=present_BLP)
    torch.testing.assert_close(masked[:, :, :4], expected)
    with_both = encoder.forward_features(
        signal_mv_BLS, visible_patches=torch.tensor([[3, 5, 0]]), present_BLP=present_BLP
    )
    only = encoder.forward_features(signal_mv_BLS, visible_patches=torch.tensor([[3, 0]]))
    torch.testing.assert_close(with_both[:, :, [0, 2]], only)


def test_layers(config: ModelConfig, contract: SignalContract, signal_mv_BLS: Tensor) -> None:
    encoder = Encoder(config, contract)
    last = encoder.forward_features(signal_mv_BLS, layer=3)
    torch.testing.assert_close(encoder.norm(last), encoder.forward_features(signal_mv_BLS))
    position = encoder.position_LPD[None]
    tokens = encoder.patch_embed(signal_mv_BLS.unflatten(-1, (12, 10)))
    first = encoder.blocks[0](tokens + position, attend_factorised)
    torch.testing.assert_close(encoder.forward_features(signal_mv_BLS, layer=1), first)
    for layer in (0, 4, -1):
        with pytest.raises(ValueError, match=f"layer: expected 1 to 3, found {layer}"):
            encoder.forward_features(signal_mv_BLS, layer=layer)


@pytest.mark.parametrize(
    ("shape", "leads", "message"),
    [
        ((2, 8, 105), None, r"expected shape \(records, 8 leads, 120 samples, or fewer .*, found \(2, 8, 105\)"),
        ((2, 8, 130), None, r"whole patches of 10\), found \(2, 8, 130\)"),
        ((2, 8, 0), None, r"whole patches of 10\), found \(2, 8, 0\)"),
        ((2, 12, 120), None, r"expected shape \(records, 8 leads, 120 samples, .* found \(2, 12, 120\)"),
        ((2, 8, 120), ("I", "II"), r"expected shape \(records, 2 leads, 120 samples, .* found \(2, 8, 120\)"),
        ((2, 2, 120), ("I", "aVR"), r"expected distinct ones of \('I', 'II', .* found \('I', 'aVR'\)"),
        ((2, 2, 120), ("I", "I"), r"expected distinct ones of"),
        ((2, 0, 120), (), r"expected distinct ones of"),
    ],
)
def test_wrong_signals_and_leads_are_named(
    config: ModelConfig, contract: SignalContract, shape: tuple[int, ...], leads: tuple[str, ...] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Encoder(config, contract)(torch.zeros(shape), leads)


def test_a_duration_of_no_whole_number_of_patches_is_refused(config: ModelConfig) -> None:
    with pytest.raises(ValueError, match="whole number of patches of 10 samples, found 125 samples"):
        Encoder(config, SignalContract(sampling_rate_hz=25, seconds=5))
