"""Records per second of one pretraining step: ours against the plain form of the released scripts, in one run.

Both compute the same numbers (checked in float32 before the clock starts): loss, backward, AdamW, teacher update. The
plain form (`plain.py`) also projects every token of the predictor, uses AdamW as it comes, updates the teacher
parameter by parameter, and reads the loss back at every step.

    python benchmarks/step.py --batch-size 16 --precision bf16 --runs 5
"""

import argparse
import copy
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from plain import PLAIN_ATTENTION, SIZES, plain_features, timed
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.model.jepa import JEPA
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.schedules import teacher_momentum
from ecgjepa.signal import DEFAULT_CONTRACT

VISIBLE = 17  # patches: what random masks with a ratio of 0.6-0.7 leave on average
MOMENTUM = teacher_momentum(0, steps=1000)


def plain_loss(
    jepa: JEPA, attend: Callable, signal: Tensor, visible: Tensor, hidden: Tensor, path_scale: Tensor
) -> Tensor:
    with torch.no_grad():
        every_patch = torch.arange(jepa.student.patches, device=signal.device)[None]
        target = plain_features(jepa.teacher, attend, signal, every_patch, None)
        target = F.layer_norm(target.float(), target.shape[-1:])[:, :, hidden[0]]
    context = plain_features(jepa.student, attend, signal, visible, path_scale)
    predicted = jepa.predictor.project(jepa.predictor.forward_features(context, visible, hidden))
    return F.smooth_l1_loss(predicted[:, :, visible.shape[1] :].float(), target)


def plain_update_teacher(jepa: JEPA) -> None:
    for ours, students in zip(jepa.teacher.parameters(), jepa.student.parameters(), strict=True):
        ours.data.mul_(MOMENTUM).add_((1 - MOMENTUM) * students.detach().data)


def matrix_products(step: Callable[[], None], tokens: int, dtype: torch.dtype, device: torch.device) -> str:
    """How long the matrix products of a step take at the rate of one large product, in core seconds on a CPU."""
    with FlopCounterMode(display=False) as counter:
        step()
    inputs, weights = (torch.randn(rows, 768, device=device, dtype=dtype) for rows in (tokens, 3072))
    clock, cores = map(min, zip(*(timed(lambda: F.linear(inputs, weights), device) for _ in range(10)), strict=True))
    rate = 2 * tokens * 768 * 3072 / (clock if device.type == "cuda" else cores)
    flops = counter.get_total_flops()
    return f"{flops / 1e9:.0f} Gflop at {rate / 1e9:.0f} Gflop/s, {flops / rate:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5, help="timed steps of each form")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain-attention", choices=PLAIN_ATTENTION, default="masked")
    args = parser.parse_args()
    device, batch, config = torch.device(args.device), args.batch_size, SIZES[args.size]
    torch.set_num_threads(args.threads)

    generator = torch.Generator().manual_seed(0)
    ours = JEPA(config, DEFAULT_CONTRACT, generator=generator).to(device)
    plain = copy.deepcopy(ours)
    signal = torch.randn(batch, 8, DEFAULT_CONTRACT.samples, generator=generator).to(device)
    order = torch.randperm(ours.student.patches, generator=generator)
    visible, hidden = (part.sort()[0][None].to(device) for part in (order[:VISIBLE], order[VISIBLE:]))
    path_scale = drop_path_scales(config.drop_path, config.depth, batch, generator).to(device)
    losses = {
        "ours": lambda: ours.loss(signal, visible, hidden, path_scale),
        "plain": lambda: plain_loss(plain, PLAIN_ATTENTION[args.plain_attention], signal, visible, hidden, path_scale),
    }
    with torch.no_grad():
        found = {name: loss().item() for name, loss in losses.items()}
    torch.testing.assert_close(found["ours"], found["plain"], rtol=1e-5, atol=0)

    trained = [parameter for parameter in ours.parameters() if parameter.requires_grad]
    optimizers = {
        "ours": torch.optim.AdamW(trained, lr=1e-6, weight_decay=0.05, fused=True),
        "plain": torch.optim.AdamW(
            [parameter for parameter in plain.parameters() if parameter.requires_grad], lr=1e-6, weight_decay=0.05
        ),
    }

    def step(name: str) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            loss = losses[name]()
        loss.backward()
        optimizers[name].step()
        optimizers[name].zero_grad()
        if name == "ours":
            ours.update_teacher(MOMENTUM)
        else:
            plain_update_teacher(plain)
            loss.item()

    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    bound = matrix_products(lambda: step("ours"), batch * 400, dtype, device)
    step("plain")
    seconds: dict[str, list[tuple[float, float]]] = {"ours": [], "plain": []}
    for _ in range(args.runs):
        for name, runs in seconds.items():
            runs.append(timed(lambda name=name: step(name), device))
    print(f"{args.size} size, batch {batch}, {args.precision}, {device}, {args.threads} threads, {torch.__version__}")
    print(f"plain attention: {args.plain_attention}; losses at the start: {found['ours']:.6f}, {found['plain']:.6f}")
    clock = {name: statistics.median(clock for clock, _ in runs) for name, runs in seconds.items()}
    cores = {name: statistics.median(cores for _, cores in runs) for name, runs in seconds.items()}
    for name in seconds:
        print(
            f"{name:6s} {clock[name]:8.3f} s per step, {batch / clock[name]:8.2f} records/s, "
            f"{cores[name]:8.3f} core seconds (medians of {args.runs})"
        )
    by_clock, by_cores = (median["plain"] / median["ours"] for median in (clock, cores))
    print(f"ratio  {by_clock:.2f} by the clock, {by_cores:.2f} in core seconds")
    print(f"matrix products of ours alone: {bound} ({'by the clock' if device.type == 'cuda' else 'core seconds'})")


if __name__ == "__main__":
    main()
