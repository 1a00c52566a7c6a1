"""Linear layers for inference: weights packed once as oneDNN's kernels read them, in float32, bfloat16 or int8.

`torch.compile` uses the same kernels, but their operators are no promised interface of torch. `has_packed` and
`has_int8` find out by small products whether this torch and this processor compute them correctly. `PlainLinear` needs
none of them. Gflop/s of one core (EPYC 9004), 400 tokens of width 768 to width 3072, torch 2.13:

| | float32 | bfloat16 | int8 |
|---|---|---|---|
| PlainLinear | 90 | 192 | |
| PackedLinear, Int8Linear's product | 109 | 210 | 400 |
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

LARGEST = 127  # of a signed byte, symmetric
ZERO_POINT = 128  # of the unsigned bytes that the kernels want
SMALLEST_PEAK = 1e-30  # a row of zeros stays one


class PlainLinear(nn.Module):
    """A linear layer in float32 or bfloat16 by torch's own product, on any device."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__()
        self.weight = layer.weight.detach().to(device, dtype, copy=True)
        self.bias = None if layer.bias is None else layer.bias.detach().to(device, dtype, copy=True)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return F.linear(inputs.to(self.weight.dtype), self.weight, self.bias)


class PackedLinear(nn.Module):
    """A linear layer in float32 or bfloat16 whose weights lie as the kernel reads them."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach().to("cpu", dtype), None)
        self.bias = None if layer.bias is None else layer.bias.detach().to("cpu", dtype, copy=True)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        return torch.ops.mkldnn._linear_pointwise(inputs.to(self.dtype), self.weight, self.bias, "none", [], "")


class Int8Linear(nn.Module):
    """A linear layer whose product is one of bytes, summed exactly in int32; all else is float32.

    Both sides are symmetric: weights with a scale per output, inputs with a scale per row, taken from the row itself.
    So no calibration is needed, and no row depends on another one.

    Args:
        layer: weights.
        output: type of what comes out.
        overwrite: use the memory of float32 inputs, whose values are lost.
    """

    def __init__(self, layer: nn.Linear, *, output: torch.dtype = torch.float32, overwrite: bool = False) -> None:
        super().__init__()
        self.inputs, self.output, self.overwrite = layer.in_features, output, overwrite
        weight_ON = layer.weight.detach().to("cpu", torch.float32)
        self.weight_scale = weight_ON.abs().amax(dim=1).clamp_(min=SMALLEST_PEAK) / LARGEST
        quantised_ON = (weight_ON / self.weight_scale[:, None]).round_().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(quantised_ON, None)
        self.no_shift = torch.zeros(len(weight_ON), dtype=torch.int32)
        self.bias = None if layer.bias is None else layer.bias.detach().to("cpu", torch.float32, copy=True)

    def forward(self, inputs: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        quantised, scale = quantise_rows(inputs, overwrite=self.overwrite)
        outputs = self.product(quantised)
        if self.bias is None:
            outputs.mul_(scale)
        else:
            torch.addcmul(self.bias, outputs, scale, out=outputs)
        return outputs.to(self.output)

    def product(self, quantised: UInt8[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Rows of bytes times weights, for a row scale of 1."""
        weights = (self.weight, self.weight_scale, self.no_shift)
        outputs = (None, 1.0, 0, torch.float32)  # no bias, scale 1, zero point 0
        product = torch.ops.onednn.qlinear_pointwise(quantised, 1.0, ZERO_POINT, *weights, *outputs, "none", [], "")
        return product.view(*quantised.shape[:-1], len(self.weight_scale))  # no rows come out as (0, outputs)


class InferenceMlp(nn.Module):
    """Two linear layers with a GELU between, which is computed in place."""

    def __init__(self, fc1: nn.Module, fc2: nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2 = fc1, fc2

    def forward(self, tokens_BLVD: Float[Tensor, "b l v d"]) -> Float[Tensor, "b l v d"]:
        return self.fc2(torch.ops.aten.gelu_(self.fc1(tokens_BLVD)))


def quantise_rows(
    inputs: Float[Tensor, "*rows inputs"], *, overwrite: bool = False
) -> tuple[UInt8[Tensor, "*rows inputs"], Float[Tensor, "*rows 1"]]:
    """Each row as whole numbers from -127 to 127, plus 128, and what they are multiplied with to be the row again."""
    rows = inputs.float()
    scale = torch.maximum(rows.amax(-1, keepdim=True), -rows.amin(-1, keepdim=True))
    scale = scale.clamp_(min=SMALLEST_PEAK).div_(LARGEST)
    rows = torch.mul(rows, 1 / scale, out=rows if overwrite else None).round_()
    # By way of signed bytes, eight times as fast as straight to unsigned ones; the sum wraps around.
    return rows.to(torch.int8).view(torch.uint8).add_(ZERO_POINT), scale


def has_packed(dtype: torch.dtype) -> bool:
    """Whether `PackedLinear` works here in float32 or bfloat16."""
    generator = torch.Generator().manual_seed(0)
    layer, inputs = nn.Linear(96, 64, device="meta").to_empty(device="cpu"), torch.randn(3, 96, generator=generator)
    for values in layer.parameters():
        nn.init.normal_(values, generator=generator)
    try:
        found = PackedLinear(layer, dtype)(inputs)
    except (AttributeError, RuntimeError):  # no such operator, or not on this processor
        return False
    expected = F.linear(inputs, layer.weight, layer.bias)
    tolerance = 16 * torch.finfo(dtype).eps * expected.abs().max()
    return found.dtype == dtype and bool((found.float() - expected).abs().max() < tolerance)


def has_int8() -> bool:
    """Whether `Int8Linear` works here: its sums are exact.

    Without VNNI instructions, sums of two products may be cut at 16 bits, hence the largest numbers here.
    """
    layer = nn.Linear(128, 32, bias=False, device="meta").to_empty(device="cpu")
    sign_N = 1 - 2 * (torch.arange(128) % 3 == 0).int()
    weight_ON = LARGEST * torch.stack([torch.ones_like(sign_N), sign_N]).repeat(16, 1)
    layer.weight.data.copy_(weight_ON)
    quantised_RN = torch.stack([LARGEST * torch.ones_like(sign_N), LARGEST * sign_N, torch.arange(128) - 64])
    try:
        found_RO = Int8Linear(layer).product((quantised_RN + ZERO_POINT).to(torch.uint8))
    except (AttributeError, RuntimeError):
        return False
    return torch.equal(found_RO.long(), quantised_RN.long() @ weight_ON.long().T)
