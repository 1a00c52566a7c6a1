"""Seconds of the augmentations of a batch: all records at once, against record by record, in one run.

    python benchmarks/augment.py [--records 128] [--runs 5] [--device cpu]

The loop is NumPy's with the same draws, and its signals are compared with ours first.
"""

import time

import click
import numpy as np
import torch

from ecgjepa.finetune.augment import augment, draw_augmentations
from ecgjepa.finetune.settings import AUGMENTATIONS, AugmentationSettings

LEADS, SAMPLES = 8, 2500


def one_record(
    signal: np.ndarray, draws: dict[str, np.ndarray], operations: list[int], b: int, settings: AugmentationSettings
) -> np.ndarray:
    """What was drawn for a record, operation by operation."""
    signal, time_S = signal.copy(), np.arange(SAMPLES)
    for k in operations:
        name = AUGMENTATIONS[k]
        part = slice(draws["start_BO"][b, k], draws["stop_BO"][b, k])
        wave = settings.amplitude_mv * np.sin(
            2 * np.pi * time_S / (settings.period * SAMPLES) + draws["phase_BO"][b, k]
        )
        if name == "shift":
            by, moved = draws["shift_B"][b], np.zeros_like(signal)
            moved[:, max(by, 0) : SAMPLES + min(by, 0)] = signal[:, max(-by, 0) : SAMPLES - max(by, 0)]
            signal = moved
        elif name == "cutout":
            signal[:, part] = 0
        elif name == "drop-samples":
            signal[:, ~draws["kept_BS"][b]] = 0
        elif name == "flip":
            signal = -signal
        elif name == "erase-lead":
            signal[draws["lead_B"][b]] = 0
        elif name == "sine":
            signal += wave.astype(np.float32)
        elif name == "partial-sine":
            signal[:, part] += wave[part].astype(np.float32)
        else:
            signal[:, part] += settings.amplitude_mv * draws["noise_PLS"][draws["noise_row"][b]][:, part]
    return signal


@click.command()
@click.option("--records", default=128, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(records: int, runs: int, device: str) -> None:
    """Time both in turn on noise; the draws are made before, and cost both the same."""
    settings = AugmentationSettings(operations=AUGMENTATIONS)
    chance = torch.Generator().manual_seed(0)
    started = time.perf_counter()
    draws = draw_augmentations(settings, records, LEADS, SAMPLES, chance)
    drawn_s = time.perf_counter() - started
    signal = torch.randn(records, LEADS, SAMPLES, generator=chance)
    arrays = {name: value.numpy() for name, value in vars(draws).items() if isinstance(value, torch.Tensor)}
    arrays["noise_row"] = np.zeros(records, int)
    arrays["noise_row"][draws.rows_of("partial-noise")] = np.arange(len(arrays["noise_PLS"]))
    of_record = [[k for k, rows in enumerate(draws.rows) if b in rows] for b in range(records)]
    there, draws_there = signal.to(device), draws.to(torch.device(device))

    def batched() -> torch.Tensor:
        found = augment(there, draws_there)
        if device != "cpu":
            torch.cuda.synchronize()
        return found

    def looped() -> np.ndarray:
        return np.stack([one_record(each, arrays, of_record[b], b, settings) for b, each in enumerate(signal.numpy())])

    np.testing.assert_allclose(batched().cpu().numpy(), looped(), atol=1e-4)
    seconds: dict[str, list[float]] = {"batched": [], "record by record": []}
    for _ in range(runs):
        for name, run in (("batched", batched), ("record by record", looped)):
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    best = {name: min(each) for name, each in seconds.items()}
    print(f"{records} records of {LEADS} x {SAMPLES}, {device}, best of {runs}; draws {1e3 * drawn_s:.1f} ms")
    for name, each in best.items():
        print(f"{name:20} {1e3 * each:8.1f} ms")
    print(f"ratio {best['record by record'] / best['batched']:.2f}")


if __name__ == "__main__":
    main()
