"""Which form of cross-pattern attention is faster on a device, where both give the same numbers.

Axes: B records, L leads, V patches, N = L * V tokens, H heads, E width of a head.
"""

import time
from collections.abc import Callable
from functools import partial

import torch

from ecgjepa.config import ModelConfig
from ecgjepa.model.attention import Attend, attend_dense, attend_factorised, grid_pattern
from ecgjepa.model.encoder import AttentionForm
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract

VISIBLE_SHARE = 0.35  # of the patches, what random masks of the published recipe leave


def choose_attention(
    device: torch.device, config: ModelConfig, *, contract: SignalContract = DEFAULT_CONTRACT, compiled: bool = False
) -> AttentionForm:
    """The faster form: known on a processor (see `attention.py`), measured in a few seconds elsewhere.

    Args:
        device: where the model runs.
        config: its sizes.
        contract: leads and duration.
        compiled: the model will be compiled; so are the forms, then.
    """
    if device.type == "cpu":
        return "factorised"
    seconds = measure_attention(config, device, contract=contract, compiled=compiled)
    return min(seconds, key=lambda form: seconds[form])


def measure_attention(
    config: ModelConfig,
    device: torch.device,
    *,
    contract: SignalContract = DEFAULT_CONTRACT,
    batch: int = 32,
    precision: torch.dtype = torch.bfloat16,
    compiled: bool = False,
    runs: int = 10,
) -> dict[AttentionForm, float]:
    """Seconds of attention in one block of a training step by each form, the least of `runs` that take turns.

    A training step has the teacher's forward pass over all patches, and the student's forward and backward pass over
    the visible ones. The projections around attention are left out, the copies between them and it are not.
    """
    leads, patches = len(contract.leads), contract.samples // config.patch_samples
    visible = max(1, round(VISIBLE_SHARE * patches))
    steps: dict[AttentionForm, Callable[[], None]] = {}
    for form in ("factorised", "dense"):
        teacher, student = (_attend(form, leads, seen, device) for seen in (patches, visible))
        if compiled:
            teacher, student = torch.compile(teacher, dynamic=False), torch.compile(student, dynamic=False)
        shapes = [(batch, leads, seen, 3, config.heads, config.width // config.heads) for seen in (patches, visible)]
        steps[form] = partial(_step, teacher, student, *(torch.randn(s, device=device).to(precision) for s in shapes))
    seconds: dict[AttentionForm, float] = {}
    for form, step in steps.items():
        step()  # compilers and caches
        seconds[form] = _seconds(step, device)
    for _ in range(runs - 1):
        for form, step in steps.items():
            seconds[form] = min(seconds[form], _seconds(step, device))
    return seconds


def _attend(form: AttentionForm, leads: int, patches: int, device: torch.device) -> Attend:
    if form == "factorised":
        return attend_factorised
    return partial(attend_dense, pattern_NN=grid_pattern(leads, patches).to(device))


def _step(teacher: Attend, student: Attend, all_BLV3HE: torch.Tensor, visible_BLV3HE: torch.Tensor) -> None:
    with torch.no_grad():
        _across_heads(teacher, all_BLV3HE)
    learned_BLV3HE = visible_BLV3HE.requires_grad_()
    torch.autograd.grad(_across_heads(student, learned_BLV3HE).sum(), learned_BLV3HE)


def _across_heads(attend: Attend, qkv_BLV3HE: torch.Tensor) -> torch.Tensor:
    attended_BHLVE = attend(*qkv_BLV3HE.permute(3, 0, 4, 1, 2, 5))
    return attended_BHLVE.permute(0, 2, 3, 1, 4).flatten(3)


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
