"""Accelerated encoders: the same features in float32, near ones below, alone or in a batch, whatever kernels exist."""

import copy
import pickle
import platform
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgjepa.checkpoint import load_encoder
from ecgjepa.config import ModelConfig
from ecgjepa.model import inference, packed
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import Precision, accelerate
from ecgjepa.model.packed import Int8Linear, has_int8, has_packed, quantise_rows
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.signal import SignalContract

REDUCED_LEADS = {"II": ("II",), "II_V1": ("II", "V1"), "I_II": ("I", "II"), "V1_to_V6": "V1 V2 V3 V4 V5 V6".split()}
# Largest change of a feature (of size about 1) that batch mates may make: what the order of sums may do.
ALONE = {"fp32": 1e-6, "bf16": 0.02, "int8": 0.02}
int8_only = pytest.mark.skipif(not has_int8(), reason="no products of bytes on this processor")
every_precision = pytest.mark.parametrize(
    "precision", [pytest.param(each, marks=int8_only if each == "int8" else ()) for each in get_args(Precision)]
)


@pytest.fixture
def encoder(contract: SignalContract) -> Encoder:
    """Features differ between records, as those of a trained encoder; no LayerNorm or bias is at its initial value."""
    config = ModelConfig(
        width=64, depth=3, heads=4, patch_samples=10, predictor_width=8, predictor_heads=2, patch_norm=True
    )
    generator = torch.Generator().manual_seed(0)
    encoder = Encoder(config, contract, generator=generator)
    for name, values in encoder.named_parameters():
        if name.endswith("bias") or "norm" in name:
            values.data += 0.1 * torch.randn(values.shape, generator=generator)
    return encoder


@pytest.fixture(params=[800, 1], ids=["together", "one-by-one"])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "TOKENS_PER_THREAD", request.param)


def many_forms(contract: SignalContract) -> dict[str, dict[str, Any]]:
    """Arguments of `forward_features` for 5 records: some rows of the leads, and the rest by name."""
    generator = torch.Generator().manual_seed(1)
    visible = torch.stack([torch.randperm(12, generator=generator)[:7] for _ in range(5)])
    present_BLP = torch.rand(5, 8, 12, generator=generator) > 0.4
    present_BLP[:, 0, 0] = True
    return {
        "all": {},
        "one lead": {"leads": ["V3"]},
        "two leads": {"leads": ["V1", "II"]},
        "shared patches": {"visible_patches": visible[:1]},
        "own patches": {"visible_patches": visible, "leads": ["I", "V6", "V2"]},
        "missing": {"present_BLP": present_BLP},
        "missing, own patches": {"present_BLP": present_BLP, "visible_patches": visible},
        "layer": {"layer": 2},
        "last layer": {"layer": 3, "leads": ["II"]},
        "dropped paths": {"path_scale": drop_path_scales(0.9, 3, 5, generator)},
    }


def rows_of(arguments: dict[str, Any], contract: SignalContract) -> list[int]:
    return [contract.leads.index(lead) for lead in arguments.get("leads", contract.leads)]


@pytest.mark.parametrize("name", ["representation", *REDUCED_LEADS])
@pytest.mark.parametrize("kernels", ["packed", "plain"])
def test_float32_computes_what_the_released_code_computes(
    parity_dir: Path, name: str, kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernels == "plain":
        monkeypatch.setattr(inference, "has_packed", lambda dtype: False)
    published = accelerate(load_encoder(parity_dir / "encoder_tiny.pth", heads=4))
    leads = REDUCED_LEADS.get(name)
    signal = torch.from_numpy(np.load(parity_dir / "input.npy"))
    signal = signal if leads is None else signal[:, [published.contract.leads.index(lead) for lead in leads]]
    with np.load(parity_dir / "outputs.npz") as golden:
        expected = golden[name if leads is None else f"representation_{name}"]
    torch.testing.assert_close(published(signal, leads), torch.from_numpy(expected), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("attention", ["factorised", "dense"])
def test_float32_is_the_encoder_itself(
    encoder: Encoder, contract: SignalContract, signal_mv_BLS: Tensor, attention: Any
) -> None:
    original = Encoder(encoder.config, contract, attention=attention)
    original.load_state_dict(encoder.state_dict())
    fast = accelerate(original, "fp32")
    assert isinstance(fast, Encoder)
    for name, arguments in many_forms(contract).items():
        signal = signal_mv_BLS[:, rows_of(arguments, contract)]
        expected = encoder.forward_features(signal, **arguments)
        found = fast.forward_features(signal, **arguments)
        torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-5, msg=lambda text, name=name: name + text)
    torch.testing.assert_close(fast(signal_mv_BLS), encoder(signal_mv_BLS).detach(), rtol=0, atol=1e-5)
    short = signal_mv_BLS[..., :30]
    torch.testing.assert_close(fast(short), encoder(short).detach(), rtol=0, atol=1e-5)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize(("precision", "centred"), [("bf16", 0.9995), pytest.param("int8", 0.999, marks=int8_only)])
def test_lower_precision_stays_near(
    encoder: Encoder, contract: SignalContract, signal_mv_BLS: Tensor, precision: Precision, centred: float
) -> None:
    fast = accelerate(encoder, precision)
    assert fast.precision == precision
    for name, arguments in many_forms(contract).items():
        signal = signal_mv_BLS[:, rows_of(arguments, contract)]
        expected = encoder.forward_features(signal, **arguments).detach()
        found = fast.forward_features(signal, **arguments)
        assert found.dtype == torch.float32
        assert torch.isfinite(found).all()
        present = arguments.get("present_BLP")
        if present is not None and "visible_patches" in arguments:
            present = present.take_along_dim(arguments["visible_patches"][:, None], dim=2)
        found, expected = fast.pool(found, present), encoder.pool(expected, present)
        assert F.cosine_similarity(found, expected).min() > 0.9998, name
        found, expected = found - found.mean(dim=0), expected - expected.mean(dim=0)
        assert F.cosine_similarity(found, expected).min() > centred, name
        assert not torch.equal(found, expected), "as if it were float32"


@every_precision
def test_a_record_does_not_depend_on_its_batch_mates(
    encoder: Encoder, signal_mv_BLS: Tensor, precision: Precision
) -> None:
    fast = accelerate(encoder, precision)
    mates = signal_mv_BLS * torch.tensor([1, 1, 1e4, 1e-4, 0])[:, None, None]  # one scale for all would show
    together = fast.forward_features(mates)
    for row in range(5):
        alone = fast.forward_features(mates[row : row + 1])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=ALONE[precision])


@every_precision
@pytest.mark.parametrize("batch", [0, 1, 11])
def test_any_number_of_records(encoder: Encoder, contract: SignalContract, precision: Precision, batch: int) -> None:
    signal = torch.randn(batch, 8, contract.samples, generator=torch.Generator().manual_seed(2))
    found = accelerate(encoder, precision).forward_features(signal)
    torch.testing.assert_close(found, encoder.forward_features(signal).detach(), rtol=0, atol=0.15)


def without_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    for namespace in ("mkldnn", "onednn"):
        monkeypatch.setattr(torch.ops, namespace, SimpleNamespace())


def with_refusing_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Tensor:
        raise RuntimeError("not on this processor")

    names = ("_reorder_linear_weight", "_linear_pointwise", "qlinear_prepack", "qlinear_pointwise")
    for namespace in ("mkldnn", "onednn"):
        monkeypatch.setattr(torch.ops, namespace, SimpleNamespace(**dict.fromkeys(names, refuse)))


def with_wrong_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(inputs: Tensor, weight: Tensor, *arguments: Any) -> Tensor:
        return (inputs @ weight.mT).roll(1, -1)

    def cut(inputs: Tensor, scale: float, zero: int, weight: Tensor, *arguments: Any) -> Tensor:
        pairs = (inputs[:, None].float() * weight.float()).unflatten(-1, (-1, 2)).sum(-1)
        return pairs.clamp(-(2**15), 2**15 - 1).sum(-1) - zero * weight.float().sum(-1)

    mkldnn = SimpleNamespace(_reorder_linear_weight=lambda weight, rows: weight.clone(), _linear_pointwise=wrong)
    monkeypatch.setattr(torch.ops, "mkldnn", mkldnn)
    onednn = SimpleNamespace(qlinear_prepack=lambda weight, shape: weight, qlinear_pointwise=cut)
    monkeypatch.setattr(torch.ops, "onednn", onednn)


@pytest.mark.parametrize("broken", [without_operators, with_refusing_operators, with_wrong_operators])
def test_where_kernels_are_missing_or_wrong_torchs_own_product_is_used(
    encoder: Encoder, signal_mv_BLS: Tensor, monkeypatch: pytest.MonkeyPatch, broken: Any
) -> None:
    expected = encoder(signal_mv_BLS).detach()
    broken(monkeypatch)
    fp32, bf16 = accelerate(encoder, "fp32"), accelerate(encoder, "bf16")
    with pytest.warns(RuntimeWarning, match="fp32 in place of int8"):
        int8 = accelerate(encoder, "int8")
    assert [fast.kernels for fast in (fp32, bf16, int8)] == ["plain"] * 3
    assert [fast.precision for fast in (fp32, bf16, int8)] == ["fp32", "bf16", "fp32"]
    torch.testing.assert_close(fp32(signal_mv_BLS), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(int8(signal_mv_BLS), expected, rtol=0, atol=1e-5)
    found = bf16(signal_mv_BLS)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert F.cosine_similarity(found - found.mean(0), expected - expected.mean(0)).min() > 0.9995


@every_precision
def test_the_copy_is_its_own_and_draws_no_random_numbers(
    encoder: Encoder, signal_mv_BLS: Tensor, precision: Precision
) -> None:
    before, state = copy.deepcopy(encoder.state_dict()), torch.get_rng_state()
    fast = accelerate(encoder, precision)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(dict(encoder.state_dict()), dict(before), rtol=0, atol=0)
    assert encoder.blocks[0].mlp.fc1.weight.requires_grad
    expected = fast(signal_mv_BLS)
    for values in [*encoder.parameters(), *encoder.buffers()]:
        values.data.fill_(0.5)
    assert torch.equal(fast(signal_mv_BLS), expected)


def test_weights_are_not_kept_twice(encoder: Encoder) -> None:
    fast = accelerate(encoder)
    assert {name.split(".")[-2] for name, _ in fast.named_parameters()} == {"norm1", "norm2", "norm"}
    layers = [module for module in fast.modules() if isinstance(module, (torch.nn.Linear, packed.PackedLinear))]
    assert len(layers) == 1 + 4 * encoder.config.depth
    assert not any(isinstance(layer, torch.nn.Linear) for layer in layers)


@every_precision
def test_caller_s_modes_change_nothing(encoder: Encoder, signal_mv_BLS: Tensor, precision: Precision) -> None:
    fast = accelerate(encoder, precision)
    expected = fast(signal_mv_BLS)
    assert not expected.requires_grad
    assert not expected.is_inference()  # a probe may be trained on it
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert torch.equal(fast(signal_mv_BLS), expected)
    assert torch.equal(fast.train().to("cpu", torch.float32)(signal_mv_BLS), expected)


def test_what_an_accelerated_encoder_cannot_do_is_said(encoder: Encoder, signal_mv_BLS: Tensor) -> None:
    fast = accelerate(encoder)
    with pytest.raises(ValueError, match="gives no gradients"):
        fast(signal_mv_BLS.clone().requires_grad_())
    for use in (copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            use(fast)
    with pytest.raises(TypeError, match="not saved"):
        fast.state_dict()
    assert fast.weights_sha256() == encoder.weights_sha256()
    for kind in (torch.float64, torch.bfloat16, "meta"):
        with pytest.raises(TypeError, match="stays in float32 on its device"):
            fast.to(kind)
    with pytest.raises(ValueError, match="accelerated already"):
        accelerate(fast)
    with pytest.raises(ValueError, match=r"precision 'fp16', expected one of \('fp32', 'bf16', 'int8'\)"):
        inference.accelerate.__wrapped__(encoder, "fp16")  # past the types that are checked in tests
    with pytest.raises(ValueError, match="int8 runs on a processor only"):
        accelerate(encoder, "int8", device="cuda")
    with pytest.raises(ValueError, match=r"8 leads, 120 samples, .* found \(5, 8, 115\)"):
        fast(signal_mv_BLS[..., :115])


def test_rows_become_bytes_by_their_own_scale() -> None:
    rows = torch.tensor([[0.0, 127, -127, 1.4, -1.6], [0, 0, 0, 0, 0], [1e-20, -1e-20, 0, 5e-21, 0]])
    given = rows.clone()
    quantised, scale = quantise_rows(rows)
    assert quantised.dtype == torch.uint8
    assert (quantised.int() - 128).tolist() == [[0, 127, -127, 1, -2], [0] * 5, [127, -127, 0, 64, 0]]
    assert torch.equal(rows, given)
    assert scale[0].item() == 1
    random = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    quantised, scale = quantise_rows(random)
    assert ((quantised.int() - 128) * scale - random).abs().le(scale * 0.501).all()
    assert torch.equal(quantise_rows(random, overwrite=True)[0], quantised)
    assert not torch.equal(random, given)


@int8_only
def test_a_layer_of_bytes_is_exact_where_bytes_suffice() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(40, 24)
    weight = torch.randint(-126, 127, (24, 40), generator=generator)
    weight[:, 0] = 127
    layer.weight.data = weight * torch.logspace(-3, 3, 24, base=2)[:, None]
    inputs = torch.randint(-126, 127, (2, 3, 40), generator=generator)
    inputs[..., 1] = -127
    inputs = inputs * torch.logspace(-2, 2, 6, base=2).view(2, 3, 1)
    torch.testing.assert_close(Int8Linear(layer)(inputs), layer(inputs).detach(), rtol=1e-5, atol=1e-2)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="oneDNN's kernels are for x86")
def test_this_torch_has_the_packed_product() -> None:
    assert has_packed(torch.float32) == torch.backends.mkldnn.is_available()


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_on_cuda(encoder: Encoder, contract: SignalContract, signal_mv_BLS: Tensor, precision: Precision) -> None:
    fast = accelerate(encoder, precision, device="cuda")
    for name, arguments in many_forms(contract).items():
        signal = signal_mv_BLS[:, rows_of(arguments, contract)].cuda()
        moved = {key: value.cuda() if isinstance(value, Tensor) else value for key, value in arguments.items()}
        expected = encoder.forward_features(signal.cpu(), **arguments).detach()
        found = fast.forward_features(signal, **moved).cpu()
        torch.testing.assert_close(found, expected, rtol=0, atol=0.1 if precision == "bf16" else 1e-3, msg=name)
