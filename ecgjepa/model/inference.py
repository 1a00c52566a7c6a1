"""An encoder for inference alone: the same features, several times faster on a processor.

Weights are packed once (`packed.py`), and records go through all blocks a few at a time, so that what stands between
the matrix products stays in the cache. `benchmarks/embed.py` measures speed and closeness.

Axes: B records, L leads given, S samples, P patches of a lead, V patches taken, D width.
"""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ecgjepa.model.encoder import Encoder
from ecgjepa.model.packed import InferenceMlp, Int8Linear, PackedLinear, PlainLinear, has_int8, has_packed
from ecgjepa.model.transformer import Block

Precision = Literal["fp32", "bf16", "int8"]

# Tokens of each thread that go through all blocks together on a processor: one record of the published size. With 1600,
# what stands between the products leaves the cache, and its memory is taken anew from the system at every layer: 16 %
# slower in int8. With 200 the threads wait for one another more often: 5 %.
TOKENS_PER_THREAD = 400


def accelerate(encoder: Encoder, precision: Precision = "fp32", *, device: torch.device | str | None = None) -> Encoder:
    """A copy of an encoder for inference alone; float32 in and out whatever the precision.

    `fp32` gives the features of the encoder itself up to the order of sums. `bf16` computes matrix products and
    attention in bfloat16, `int8` (on a processor only) products in bytes with a scale per token and attention in
    bfloat16; LayerNorm, softmax and the sum over blocks stay in float32. In none of them does a record depend on its
    batch mates.

    Where this torch or this processor lacks a packed product, torch's own takes its place; where it lacks the one of
    bytes, `int8` becomes `fp32` with a warning. `kernels` of the result names what is used.

    The copy shares no memory with the encoder. It gives no gradients, and is neither copied, pickled nor saved: keep
    the encoder for that. On CUDA, `for block in copy.blocks: block.compile()` fuses what stands between the products.

    Raises:
        ValueError: an unknown precision, `int8` on another device than a processor, or an encoder that is such a copy.
    """
    device = encoder.position_LPD.device if device is None else torch.device(device)
    if precision not in get_args(Precision):
        raise ValueError(f"accelerate: precision {precision!r}, expected one of {get_args(Precision)}")
    if isinstance(encoder, InferenceEncoder):
        raise ValueError("accelerate: this encoder is accelerated already; expected the one it was made from")
    if precision == "int8" and device.type != "cpu":
        raise ValueError(f"accelerate: int8 runs on a processor only, expected bf16 or fp32 on {device.type}")
    if precision == "int8" and not has_int8():
        warnings.warn(
            "accelerate: no exact products of bytes here; fp32 in place of int8", RuntimeWarning, stacklevel=2
        )
        precision = "fp32"
    return InferenceEncoder(encoder, precision, device)


def records_at_once(tokens: int) -> int:
    """How many records of so many tokens go through all blocks together on a processor."""
    return max(1, TOKENS_PER_THREAD * torch.get_num_threads() // tokens)


class InferenceEncoder(Encoder):
    """What `accelerate` returns.

    Attributes:
        precision: `fp32`, `bf16` or `int8`, as computed.
        kernels: `packed` or `plain`.
    """

    def __init__(self, encoder: Encoder, precision: Precision, device: torch.device) -> None:
        with torch.device("meta"):  # the modules without their weights
            super().__init__(encoder.config, encoder.contract, attention=encoder.attention)
        self.precision = precision
        self._sha256 = encoder.weights_sha256()
        dtypes = {torch.float32, torch.bfloat16 if precision == "bf16" else torch.float32}
        is_packed = device.type == "cpu" and all(has_packed(dtype) for dtype in dtypes)
        self.kernels: Literal["packed", "plain"] = "packed" if is_packed else "plain"
        self._take_weights(encoder, device)
        self.eval().requires_grad_(False)

    def _take_weights(self, encoder: Encoder, device: torch.device) -> None:
        for name, theirs in encoder.named_modules():
            parent, _, own_name = name.rpartition(".")
            if isinstance(theirs, nn.Linear):
                self.get_submodule(parent).add_module(own_name, self._linear(own_name, theirs, device))
            elif isinstance(theirs, nn.LayerNorm):
                state = {key: value.to(device, torch.float32, copy=True) for key, value in theirs.state_dict().items()}
                self.get_submodule(name).load_state_dict(state, assign=True)
        for name, values in encoder.named_buffers():
            self.register_buffer(name, values.to(device, copy=True), persistent=False)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.add_module("mlp", InferenceMlp(block.mlp.fc1, block.mlp.fc2))

    def _linear(self, name: str, layer: nn.Linear, device: torch.device) -> nn.Module:
        is_in_block = name != "patch_embed"  # which has few operations, and the signal as its input
        if self.precision == "int8" and is_in_block:
            output = torch.bfloat16 if name == "qkv" else torch.float32
            return Int8Linear(layer, output=output, overwrite=name == "fc2")
        dtype = torch.bfloat16 if self.precision == "bf16" and is_in_block else torch.float32
        return PackedLinear(layer, dtype) if self.kernels == "packed" else PlainLinear(layer, dtype, device)

    @torch.no_grad()
    def forward_features(
        self,
        signal_mv_BLS: Float[Tensor, "b l samples"],
        leads: Sequence[str] | None = None,
        visible_patches: Int[Tensor, "#b v"] | None = None,
        path_scale: Float[Tensor, "depth 2 b"] | None = None,
        present_BLP: Bool[Tensor, "b l p"] | None = None,
        layer: int | None = None,
        kept_patches: Int[Tensor, "#b k"] | None = None,
    ) -> Float[Tensor, "b l kept d"]:
        """As the encoder's own, a few records at a time; raises ValueError for a signal that wants a gradient."""
        if signal_mv_BLS.requires_grad:
            raise ValueError("signal: an accelerated encoder gives no gradients, expected a signal that needs none")
        self._check(signal_mv_BLS, len(self._positions(leads)))
        records, lead_count, samples = signal_mv_BLS.shape
        patches = samples // self.config.patch_samples if visible_patches is None else visible_patches.shape[1]
        if visible_patches is not None:
            visible_patches = visible_patches.expand(records, -1)
        if kept_patches is not None:
            kept_patches = kept_patches.expand(records, -1)
        on_processor = signal_mv_BLS.device.type == "cpu"
        at_once = records_at_once(lead_count * patches) if on_processor else max(records, 1)
        features = []
        with torch.autocast(signal_mv_BLS.device.type, enabled=False):
            for start in range(0, max(records, 1), at_once):
                rows = slice(start, start + at_once)
                features_BLVD = super().forward_features(
                    signal_mv_BLS[rows],
                    leads,
                    None if visible_patches is None else visible_patches[rows],
                    None if path_scale is None else path_scale[:, :, rows],
                    None if present_BLP is None else present_BLP[rows],
                    layer,
                    None if kept_patches is None else kept_patches[rows],
                )
                features.append(features_BLVD.float())
        return torch.cat(features) if len(features) > 1 else features[0]

    def weights_sha256(self) -> str:
        """Of the encoder that it was made from."""
        return self._sha256

    def _apply(self, fn: Any, recurse: bool = True) -> "InferenceEncoder":
        moved = fn(torch.empty(0, device=self.position_LPD.device))
        if moved.device != self.position_LPD.device or moved.dtype != torch.float32:
            raise TypeError("an accelerated encoder stays in float32 on its device: accelerate the encoder for another")
        return super()._apply(fn, recurse)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("an accelerated encoder is not saved: expected the encoder that it was made from")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an accelerated encoder is neither copied nor pickled: accelerate the encoder again")
