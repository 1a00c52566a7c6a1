"""Records per second of one pretraining step: ours against the plain form of the released scripts, in one run.

Both compute the same loss (checked in float32 before the clock starts), then backward, AdamW and teacher update. The
plain form is that of `plain.py`; it uses AdamW as it comes, updates the teacher parameter by parameter, and reads the
loss back at every step.

    python benchmarks/step.py --batch-size 16 --precision bf16 --runs 5
    python benchmarks/step.py --device cuda --batch-size 128 --attention auto --compile --runs 20

The two take turns. Printed are medians, the median of the ratio within a turn, the hours of the published recipe
(174,140 records, 100 epochs) at that rate of steps, and how near ours comes to its matrix products alone: their number
of operations over the time of a step, as a share of the rate of one large product measured in the same run. On a
processor that share and the better ratio on a busy machine are in seconds of all cores.
"""

import argparse
import copy
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from plain import PLAIN_ATTENTION, SIZES, plain_loss, plain_update_teacher, timed
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ecgjepa.config import TrainingConfig
from ecgjepa.model.attention_choice import choose_attention, measure_attention
from ecgjepa.model.jepa import JEPA
from ecgjepa.model.transformer import drop_path_scales
from ecgjepa.schedules import teacher_momentum
from ecgjepa.signal import DEFAULT_CONTRACT
from ecgjepa.train.optimizer import make_optimizer

VISIBLE = 17  # patches: what random masks with a ratio of 0.6-0.7 leave on average
OTHERS_VISIBLE = (18, 16, 20)  # what a compiled model meets as well
MOMENTUM = teacher_momentum(0, steps=1000)
RECORDS, EPOCHS = 174_140, 100  # of the published recipe (arXiv:2410.08559)


def count_operations(step: Callable[[], None]) -> int:
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def measure_rate(tokens: int, width: int, dtype: torch.dtype, device: torch.device) -> float:
    """Operations per second of one large product, per core second on a processor; the best of ten."""
    inputs, weights = (torch.randn(rows, width, device=device, dtype=dtype) for rows in (tokens, 4 * width))
    products = 20 if device.type == "cuda" else 1

    def multiply() -> None:
        for _ in range(products):
            F.linear(inputs, weights)

    clock, cores = map(min, zip(*(timed(multiply, device) for _ in range(10)), strict=True))
    return products * 2 * tokens * width * 4 * width / (clock if device.type == "cuda" else cores)


def draw_masks(patches: int, visible: int, generator: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    order = torch.randperm(patches, generator=generator)
    shown, hidden = (part.sort()[0][None].to(device) for part in (order[:visible], order[visible:]))
    return shown, hidden


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5, help="timed steps of each form")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile our loss")
    parser.add_argument("--attention", choices=["factorised", "dense", "auto"], default="factorised", help="of ours")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain-attention", choices=PLAIN_ATTENTION, default="masked")
    args = parser.parse_args()
    device, batch, config = torch.device(args.device), args.batch_size, SIZES[args.size]
    on_gpu, recipe = device.type == "cuda", TrainingConfig(lr=1e-6)
    torch.set_num_threads(args.threads)

    attention = args.attention
    if attention == "auto":
        attention = choose_attention(device, config, compiled=args.compile)
        if on_gpu:
            found = measure_attention(config, device, batch=batch, compiled=args.compile)
            print("attention of a block, ms:", ", ".join(f"{form} {1e3 * value:.2f}" for form, value in found.items()))
    generator = torch.Generator().manual_seed(0)
    ours = JEPA(config, DEFAULT_CONTRACT, generator=generator, attention=attention).to(device)
    plain = copy.deepcopy(ours)
    attend = PLAIN_ATTENTION[args.plain_attention]
    signal = torch.randn(batch, 8, DEFAULT_CONTRACT.samples, generator=generator).to(device)
    masks = draw_masks(ours.student.patches, VISIBLE, generator, device)
    path_scale = drop_path_scales(config.drop_path, config.depth, batch, generator).to(device)
    with torch.no_grad():
        our_loss = ours(signal, *masks, path_scale).item()
        theirs = plain_loss(plain, attend, signal, *masks, path_scale).item()
    torch.testing.assert_close(our_loss, theirs, rtol=1e-5, atol=0)

    learned = [weights for weights in plain.parameters() if weights.requires_grad]
    plain_optimizer = torch.optim.AdamW(learned, lr=recipe.lr, weight_decay=recipe.weight_decay)
    optimizer = make_optimizer(ours, recipe)

    def our_step(masks: tuple[Tensor, Tensor] = masks) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            loss = ours(signal, *masks, path_scale)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        ours.update_teacher(MOMENTUM)

    def plain_step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16"):
            loss = plain_loss(plain, attend, signal, *masks, path_scale)
        loss.backward()
        plain_optimizer.step()
        plain_optimizer.zero_grad()
        plain_update_teacher(plain, MOMENTUM)
        loss.item()

    operations = count_operations(our_step)
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    card = torch.cuda.get_device_name(device) if on_gpu else f"{args.threads} threads"
    print(f"{args.size} size, batch {batch}, {args.precision}, {card}, torch {torch.__version__}")
    print(f"attention: {attention}, plain {args.plain_attention}; losses at the start: {our_loss:.7f}, {theirs:.7f}")
    if args.compile:
        ours.compile(fullgraph=True)
        for visible in (VISIBLE, *OTHERS_VISIBLE):
            others = draw_masks(ours.student.patches, visible, generator, device)
            first, again = (timed(lambda others=others: our_step(others), device)[0] for _ in range(2))
            print(f"compiled, {visible} visible patches: first step {first:.1f} s, second {again:.3f} s")
    our_step()
    plain_step()
    steps: dict[str, Callable[[], None]] = {"plain": plain_step, "ours": our_step}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    rates = []
    for _ in range(args.runs):
        for name, step in steps.items():
            seconds[name].append(timed(step, device))
        rates.append(measure_rate(batch * 400, config.width, dtype, device))
    medians = {
        name: tuple(statistics.median(column) for column in zip(*runs, strict=True)) for name, runs in seconds.items()
    }
    for name, (clock, cores) in medians.items():
        hours = RECORDS * EPOCHS / batch * clock / 3600
        print(
            f"{name:6s} {clock:8.3f} s per step, {batch / clock:8.2f} records/s, {cores:8.3f} core seconds; "
            f"{EPOCHS} epochs of {RECORDS:,} records: {hours:,.1f} h"
        )
    turns = list(zip(seconds["plain"], seconds["ours"], strict=True))
    by_clock, by_cores = (statistics.median(theirs[i] / own[i] for theirs, own in turns) for i in (0, 1))
    print(f"ratio  {by_clock:.2f} by the clock, {by_cores:.2f} in core seconds (medians of {args.runs} turns)")
    rate, taken = statistics.median(rates), medians["ours"][0 if on_gpu else 1]
    alone, unit = operations / rate, "Gflop/s" if on_gpu else "Gflop/s of a core"
    print(f"one large product: {rate / 1e9:,.0f} {unit}; matrix products of ours: {operations / 1e9:,.0f} Gflop")
    print(f"at that rate they take {alone:.3f} s, {alone / taken:.0%} of a step")


if __name__ == "__main__":
    main()
