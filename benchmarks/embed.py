"""Records per second of embedding, and how near the features stay to float32: ours against the plain form, in one run.

    python benchmarks/embed.py --runs 5 --batch-size 16 --threads 2 [--ckpt RUN] [--ecgs ptbxl/records500]
    python benchmarks/embed.py --device cuda --batch-size 256 --modes plain bf16 compiled

The plain form (`plain.py`) is that of the released scripts: dense masked attention with a mask that Python builds on
every forward pass, in float32 on a processor, in float16 autocast on CUDA. `fp32`, `bf16` and `int8` are `accelerate`;
`compiled` is bf16 with compiled blocks. The modes take turns; medians over the runs are printed, ratios are medians of
the ratio within a run. Beside each time stands that of the products of its linear layers alone, measured in
the same run with the same weights at the same number of rows; attention's own products are not among them.

Closeness is the lowest cosine similarity of the pooled features of a record to those of the encoder in float32; the
centred one after the mean over the records is taken away, from each side its own.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from plain import SIZES, attend_masked, plain_features, timed
from torch import Tensor, nn

from ecgjepa.checkpoint import load_encoder
from ecgjepa.data.readers import read
from ecgjepa.data.synthetic import write_ptbxl_archive
from ecgjepa.model.encoder import Encoder
from ecgjepa.model.inference import accelerate, records_at_once
from ecgjepa.model.packed import Int8Linear
from ecgjepa.signal import DEFAULT_CONTRACT, SignalContract
from ecgjepa.windows import standardize

MODES = ("plain", "fp32", "bf16", "int8", "compiled")
Embed = Callable[[Tensor], Tensor]


def read_signals(folder: Path | None, records: int, contract: SignalContract) -> Tensor:
    """The first ECGs of a folder of WFDB files, synthetic ones without a folder: (N, L, S) in mV."""
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            write_ptbxl_archive(folder := Path(made) / "ptbxl", records, seed=0)
        headers = sorted(folder.rglob("*.hea"))[:records]
        return torch.from_numpy(np.stack([standardize(read(header), contract).signal_mv for header in headers]))


def build(mode: str, encoder: Encoder, device: torch.device) -> tuple[Embed, Encoder]:
    """How a mode embeds, and the encoder it embeds with."""
    if mode == "plain":
        visible = torch.arange(encoder.patches, device=device)[None]

        def embed(signal: Tensor) -> Tensor:
            with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
                return plain_features(encoder, attend_masked, signal, visible, None).float().mean(dim=(1, 2))

        return embed, encoder
    ours = accelerate(encoder, "bf16" if mode == "compiled" else mode, device=device)  # type: ignore[arg-type]
    if mode == "compiled":
        for block in ours.blocks:
            block.compile()
    return ours, ours


def product(layer: nn.Module, rows: int, device: torch.device) -> tuple[Callable[[], Tensor], int]:
    """The matrix product of a linear layer alone, and how many operations it has."""
    if isinstance(layer, Int8Linear):
        outputs, inputs = len(layer.weight_scale), layer.inputs
        quantised = torch.randint(0, 256, (rows, inputs), dtype=torch.uint8)
        return lambda: layer.product(quantised), 2 * rows * inputs * outputs
    outputs, inputs = layer.weight.shape
    dtype = torch.float16 if isinstance(layer, nn.Linear) and device.type == "cuda" else layer.weight.dtype
    values = torch.randn(rows, inputs, device=device).to(dtype)
    if isinstance(layer, nn.Linear):
        weight, bias = layer.weight.to(dtype), None if layer.bias is None else layer.bias.to(dtype)
        return lambda: F.linear(values, weight, bias), 2 * rows * inputs * outputs
    return lambda: layer(values), 2 * rows * inputs * outputs


def products_alone(encoder: Encoder, records: int, tokens: int, device: torch.device) -> tuple[float, float]:
    """Seconds of the products of all linear layers for records of so many tokens, and Gflop/s."""
    is_chunked = device.type == "cpu" and type(encoder) is not Encoder
    rows = min(records, records_at_once(tokens)) * tokens if is_chunked else records * tokens
    seconds, operations = 0.0, 0
    block = encoder.blocks[0]
    for layer, times in [
        (encoder.patch_embed, 1),
        *((layer, encoder.config.depth) for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)),
    ]:
        run, flops = product(layer, rows, device)
        run()
        calls = times * records * tokens / rows
        seconds += calls * min(timed(run, device)[0] for _ in range(3))
        operations += calls * flops
    return seconds, operations / seconds / 1e9


def closeness(found_ND: Tensor, expected_ND: Tensor) -> tuple[float, float]:
    """Lowest cosine similarity over the records, plain and centred."""
    centred = (values_ND - values_ND.mean(dim=0) for values_ND in (found_ND.double(), expected_ND.double()))
    plain = F.cosine_similarity(found_ND.double(), expected_ND.double())
    return plain.min().item(), F.cosine_similarity(*centred).min().item()


def measure_closeness(name: str, encoder: Encoder, modes: list[str], signals: Tensor, batch: int) -> None:
    device = encoder.position_LPD.device
    batches = [part.to(device) for part in signals.split(batch)]
    expected_ND = torch.cat([encoder(part) for part in batches])
    print(f"\n{name}, {len(signals)} records: lowest cosine similarity to float32, and centred")
    for mode in modes:
        embed, _ = build(mode, encoder, device)
        lowest, centred = closeness(torch.cat([embed(part) for part in batches]), expected_ND)
        print(f"{mode:9s} {lowest:.7f}  {centred:.7f}")


def measure_speed(encoder: Encoder, modes: list[str], signal: Tensor, runs: int) -> None:
    device, batch = signal.device, len(signal)
    built = {mode: build(mode, encoder, device) for mode in modes}
    for embed, _ in built.values():
        embed(signal)
    times: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
    products: dict[str, list[tuple[float, float]]] = {mode: [] for mode in modes}
    for _ in range(runs):
        for mode, (embed, inner) in built.items():
            times[mode].append(timed(lambda embed=embed: embed(signal), device))
            products[mode].append(products_alone(inner, batch, encoder.patches * signal.shape[1], device))
    print(f"{'mode':9s} {'s':>7s} {'records/s':>9s} {'ratio':>6s} {'core s':>7s} {'ratio':>6s}   products alone")
    for mode in modes:
        clock, cores = (statistics.median(column) for column in zip(*times[mode], strict=True))
        alone, rate = (statistics.median(column) for column in zip(*products[mode], strict=True))
        share = statistics.median(
            one[0] / all_of_it[0] for one, all_of_it in zip(products[mode], times[mode], strict=True)
        )
        ratios = [
            statistics.median(plain[i] / ours[i] for plain, ours in zip(times[modes[0]], times[mode], strict=True))
            for i in (0, 1)
        ]
        print(
            f"{mode:9s} {clock:7.3f} {batch / clock:9.2f} {ratios[0]:6.2f} {cores:7.3f} {ratios[1]:6.2f}   "
            f"{alone:.3f} s at {rate:.0f} Gflop/s, {share:.0%} of the time"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, help="timed batches of each mode")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--size", choices=SIZES, default="published")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES[:4]), help="ratios are to the first")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ckpt", type=Path, help="a run folder or .pth file; random weights without it")
    parser.add_argument("--ecgs", type=Path, help="a folder of WFDB records; synthetic ECGs without it")
    parser.add_argument("--records", type=int, default=64, help="records of which closeness is measured")
    args = parser.parse_args()
    device, config = torch.device(args.device), SIZES[args.size]
    if device.type == "cpu" and "compiled" in args.modes:
        parser.error("compiled blocks are for CUDA: packed weights cannot be compiled")
    torch.set_num_threads(args.threads)
    if args.ckpt is None:
        encoders = {
            f"random weights, {name}": Encoder(
                config.model_copy(update={"patch_norm": patch_norm}),
                DEFAULT_CONTRACT,
                generator=torch.Generator().manual_seed(0),
            )
            for name, patch_norm in (("published form", False), ("patch_norm", True))
        }
    else:
        encoders = {str(args.ckpt): load_encoder(args.ckpt)}
    encoders = {name: encoder.to(device).eval() for name, encoder in encoders.items()}
    first = next(iter(encoders.values()))
    signals = read_signals(args.ecgs, max(args.records, args.batch_size), first.contract)
    signal = signals[: args.batch_size].to(device)
    with torch.inference_mode():
        if device.type == "cpu":
            torch.testing.assert_close(build("plain", first, device)[0](signal), first(signal), rtol=0, atol=1e-5)
        card = torch.cuda.get_device_name() if device.type == "cuda" else f"{args.threads} threads"
        width, depth = first.config.width, first.config.depth
        print(f"width {width}, depth {depth}, batch {len(signal)}, {card}, torch {torch.__version__}, {args.runs} runs")
        measure_speed(first, args.modes, signal, args.runs)
        for name, encoder in encoders.items():
            measure_closeness(name, encoder, args.modes, signals[: args.records], args.batch_size)


if __name__ == "__main__":
    main()
