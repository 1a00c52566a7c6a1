"""Seconds of a patient bootstrap of AUROC and F1, against the straightforward loop over scikit-learn, in one run.

    python benchmarks/bootstrap.py [--records 2200] [--classes 71] [--resamples 1000] [--runs 3]

The loop is run for a few resamples and scaled up; its values are compared with ours first.
"""

import time
import warnings

import click
import numpy as np
from sklearn.metrics import f1_score, roc_auc_score

from ecgjepa.evaluate.bootstrap import bootstrap
from ecgjepa.evaluate.metrics import measure

LOOPED = 5


def straightforward(labels_NK: np.ndarray, scores_NK: np.ndarray, called_NK: np.ndarray, weights_N: np.ndarray) -> list:
    """AUROC and F1 of every class, one after the other."""
    return [
        [roc_auc_score(labels_NK[:, k], scores_NK[:, k], sample_weight=weights_N) for k in range(labels_NK.shape[1])],
        [f1_score(labels_NK[:, k], called_NK[:, k], sample_weight=weights_N) for k in range(labels_NK.shape[1])],
    ]


@click.command()
@click.option("--records", default=2200, show_default=True)
@click.option("--classes", default=71, show_default=True)
@click.option("--resamples", default=1000, show_default=True)
@click.option("--runs", default=3, show_default=True)
def main(records: int, classes: int, resamples: int, runs: int) -> None:
    """Time both in turn on simulated labels and scores."""
    warnings.simplefilter("ignore")
    chance = np.random.default_rng(0)
    labels_NK = chance.random((records, classes)) < chance.uniform(0.02, 0.5, classes)
    scores_NK = chance.random((records, classes)) + 0.3 * labels_NK
    called_NK = scores_NK > 0.7
    patients_N = chance.integers(0, int(0.9 * records), records)
    kept: list[np.ndarray] = []

    def ours(weights_RN: np.ndarray) -> np.ndarray:
        kept.append(weights_RN)
        return measure(labels_NK, scores_NK, called_NK, weights_RN=weights_RN)

    seconds: dict[str, list[float]] = {"loop over scikit-learn": [], "bootstrap": []}
    for _ in range(runs):
        kept.clear()
        began = time.perf_counter()
        values_RMK = bootstrap(ours, patients_N, resamples, seed=0)
        seconds["bootstrap"].append(time.perf_counter() - began)
        weights_RN = np.concatenate(kept)[:LOOPED]
        began = time.perf_counter()
        looped = [straightforward(labels_NK, scores_NK, called_NK, weights_N) for weights_N in weights_RN]
        seconds["loop over scikit-learn"].append((time.perf_counter() - began) * resamples / LOOPED)
        np.testing.assert_allclose(values_RMK[:LOOPED, :, :-1], looped, atol=1e-9)
    medians = {way: float(np.median(values)) for way, values in seconds.items()}
    click.echo(f"{resamples} resamples of {classes} classes x {records} records, median of {runs} runs, equal values")
    for way, value in medians.items():
        click.echo(f"{way:24} {value:8.1f} s   {medians['loop over scikit-learn'] / value:6.1f} x")


if __name__ == "__main__":
    main()
