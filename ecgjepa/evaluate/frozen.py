"""What an encoder of any origin must be for an evaluation, and a PyTorch module as one.

Axes: B records, L leads, S samples, T tokens of a record, D width.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ecgjepa.checkpoint.random_weights import generator_of, random_twin
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import accelerate
from ecgjepa.signal import SignalContract


@runtime_checkable
class FrozenEncoder(Protocol):
    """A function from signals to features, and what signals it takes.

    May also have `tokens(signal_mv_BLS) -> (B, T, D)`, for read-outs that pool by themselves, and
    `weights_sha256() -> str`, which says whether two of them are the same.
    """

    @property
    def contract(self) -> SignalContract:
        """Leads, sampling rate, seconds and filter of the signals."""

    @property
    def width(self) -> int:
        """D."""

    def __call__(self, signal_mv_BLS: Tensor, /) -> Tensor:
        """(B, L, S) float32 in mV as the contract says -> (B, D) float32."""

    def to(self, device: Any, /) -> Any:
        """Where to compute."""


class TorchEncoder(nn.Module):
    """A PyTorch module that gives features, as a frozen encoder.

    Args:
        module: (B, L, S) float32 in mV -> (B, D).
        contract: the signals it takes.
        width: D.
        tokens: (B, L, S) -> (B, T, D), a method of the module as a rule; none where None.
    """

    def __init__(
        self,
        module: nn.Module,
        contract: SignalContract,
        width: int,
        tokens: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.module, self.contract, self.width, self.tokens = module, contract, width, tokens

    def forward(self, signal_mv_BLS: Float[Tensor, "b l s"]) -> Float[Tensor, "b d"]:
        """Features of each record; raises ValueError where the module gives another shape."""
        features = self.module(signal_mv_BLS)
        expected = (len(signal_mv_BLS), self.width)
        if not isinstance(features, Tensor) or tuple(features.shape) != expected:
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{type(self.module).__name__}: features of shape {found}, expected {expected}")
        return features

    def weights_sha256(self) -> str:
        """SHA-256 over names, types and values of the weights and buffers, hexadecimal."""
        digest = hashlib.sha256()
        for name, value in sorted(self.module.state_dict().items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def gives_tokens(encoder: FrozenEncoder) -> bool:
    """Whether `encoder.tokens(signal)` can be asked for."""
    return callable(getattr(encoder, "tokens", None))


def random_twin_of(encoder: FrozenEncoder, seed: int) -> FrozenEncoder | None:
    """The same encoder with fresh weights that depend on the seed alone; None where that cannot be had.

    One of ours: the weights a run of that seed starts with. A `TorchEncoder`: a copy in which every layer that has
    weights or buffers was asked to `reset_parameters`, as the layers of torch can be; None if one cannot, or if its
    `tokens` are not a method of the module, which a copy would not have. Others (an ONNX file): None.
    """
    if isinstance(encoder, Encoder):
        return random_twin(encoder, seed)
    if not isinstance(encoder, TorchEncoder):
        return None
    layers = [layer for layer in encoder.module.modules() if _has_state(layer)]
    if not all(callable(getattr(layer, "reset_parameters", None)) for layer in layers):
        return None
    if encoder.tokens is not None and getattr(encoder.tokens, "__self__", None) is not encoder.module:
        return None
    module = copy.deepcopy(encoder.module)
    devices = [value.device for value in module.state_dict().values() if value.device.type == "cuda"]
    with torch.random.fork_rng(devices=list(dict.fromkeys(devices))):
        torch.manual_seed(generator_of(seed).initial_seed())
        for layer in module.modules():
            if _has_state(layer):
                layer.reset_parameters()  # type: ignore[operator]
    tokens = None if encoder.tokens is None else getattr(module, encoder.tokens.__name__)
    return TorchEncoder(module, encoder.contract, encoder.width, tokens)


def fingerprint_of(encoder: FrozenEncoder) -> str | None:
    """What tells an encoder from others: a SHA-256 of its weights, sizes and contract; None where it cannot say."""
    found = getattr(encoder, "weights_sha256", None)
    if not callable(found):
        return None
    sizes = encoder.config.model_dump() if isinstance(encoder, Encoder) else None
    contract = encoder.contract.to_dict() | {"seconds": float(encoder.contract.seconds)}
    described = json.dumps([str(found()), sizes, contract], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def accelerated(encoder: FrozenEncoder, device: str | torch.device) -> FrozenEncoder:
    """An encoder of ours as a copy that is faster on a processor, with the same features; others as they are."""
    if torch.device(device).type != "cpu":
        return encoder
    if type(encoder) is Encoder:
        return accelerate(encoder.float(), "fp32", device="cpu")
    made = getattr(encoder, "accelerated", None)
    return made() if callable(made) else encoder


@contextmanager
def running(encoder: FrozenEncoder, device: str | torch.device) -> Iterator[FrozenEncoder]:
    """An encoder on a device, in float32 and evaluation mode, without gradients and autocast; its mode is given back.

    float32 whatever the device: with random weights two records differ by a few thousandths, which bfloat16 rounds
    away. The encoder moves to the device and stays there.
    """
    device = torch.device(device)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        if not isinstance(encoder, nn.Module):
            encoder.to(device)
            yield encoder
            return
        encoder.to(device=device, dtype=torch.float32)
        was_training = encoder.training
        encoder.eval()
        try:
            yield encoder
        finally:
            encoder.train(was_training)


def _has_state(layer: nn.Module) -> bool:
    own = (*layer.parameters(recurse=False), *layer.buffers(recurse=False))
    return bool(own)
