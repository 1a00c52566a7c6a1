"""Seconds of all scores of `score_models` with their intervals, against a loop over scikit-learn, in one run.

    python benchmarks/bootstrap.py [--records 2200] [--classes 71] [--resamples 1000] [--models 2] [--runs 3]

The loop is run for a few resamples and classes and scaled up, which is said; its values are compared with ours first.
Core seconds are of all threads together, so they do not depend on what else the machine is doing.
"""

import time
import warnings

import click
import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, roc_auc_score, roc_curve

from ecgjepa.evaluate.bootstrap import patient_weights
from ecgjepa.evaluate.class_scores import PER_CLASS, ClassScores
from ecgjepa.evaluate.scoring import Scored, score_models
from ecgjepa.evaluate.targets import Targets

LOOPED_RESAMPLES, LOOPED_CLASSES, SEED = 3, 12, 0


def straightforward(labels_N: np.ndarray, scored_N: np.ndarray, called_N: np.ndarray, weights_N: np.ndarray) -> list:
    """All scores of one class, one after the other, in the order of `PER_CLASS`."""
    false_rate, true_rate, _ = roc_curve(labels_N, scored_N, sample_weight=weights_N, drop_intermediate=False)
    bin_N = np.minimum((scored_N * 15).astype(int), 14)
    error = [abs(weights_N[bin_N == b] @ (labels_N - scored_N)[bin_N == b]) for b in range(15)]
    return [
        roc_auc_score(labels_N, scored_N, sample_weight=weights_N),
        f1_score(labels_N, called_N, sample_weight=weights_N),
        average_precision_score(labels_N, scored_N, sample_weight=weights_N),
        true_rate[false_rate <= 0.1 + 1e-12].max(),
        sum(error) / weights_N.sum(),
        brier_score_loss(labels_N, scored_N, sample_weight=weights_N),
    ]


@click.command()
@click.option("--records", default=2200, show_default=True)
@click.option("--classes", default=71, show_default=True)
@click.option("--resamples", default=1000, show_default=True)
@click.option("--models", default=2, show_default=True)
@click.option("--runs", default=3, show_default=True)
def main(records: int, classes: int, resamples: int, models: int, runs: int) -> None:
    """Time both in turn on simulated labels and scores."""
    warnings.simplefilter("ignore")
    chance = np.random.default_rng(0)
    labels_NK = chance.random((records, classes)) < chance.uniform(0.02, 0.5, classes)
    patients_N = chance.integers(0, int(0.9 * records), records)
    names = tuple(f"class {k}" for k in range(classes))
    test = Targets(names, np.arange(records), labels_NK, patients_N, np.full(records, "test", dtype=object), {})
    scored = {}
    for m in range(models):
        scores_NK = (chance.random((records, classes)) + 0.3 * labels_NK) / 1.3
        scored[f"model {m}"] = Scored(scores_NK, scores_NK > 0.6)

    first = scored["model 0"]
    sampled = np.linspace(0, classes - 1, min(LOOPED_CLASSES, classes)).astype(int)
    weights_RN = next(patient_weights(patients_N, resamples, np.random.default_rng(SEED)))[:LOOPED_RESAMPLES]
    ours = ClassScores(labels_NK, first.probabilities_NK, first.predicted_NK, np.ones(classes, bool), "multilabel")
    values_RMK = ours(weights_RN)[:, :, sampled]
    scale = models * (resamples / len(weights_RN)) * (classes / len(sampled))

    wall: dict[str, list[float]] = {"loop over scikit-learn": [], "score_models": []}
    core: dict[str, list[float]] = {way: [] for way in wall}
    for _ in range(runs):
        began, used = time.perf_counter(), time.process_time()
        score_models(test, scored, task="multilabel", resamples=resamples, seed=SEED, reference="model 0")
        wall["score_models"].append(time.perf_counter() - began)
        core["score_models"].append(time.process_time() - used)
        began, used = time.perf_counter(), time.process_time()
        looped = [
            [
                straightforward(labels_NK[:, k], first.probabilities_NK[:, k], first.predicted_NK[:, k], weights_N)
                for k in sampled
            ]
            for weights_N in weights_RN
        ]
        wall["loop over scikit-learn"].append((time.perf_counter() - began) * scale)
        core["loop over scikit-learn"].append((time.process_time() - used) * scale)
        np.testing.assert_allclose(values_RMK, np.array(looped).transpose(0, 2, 1), atol=1e-9)
    click.echo(
        f"{len(PER_CLASS)} scores, {models} models, {resamples} resamples of {classes} classes x {records} records; "
        f"median of {runs} runs.\nThe loop was run for {len(weights_RN)} resamples and {len(sampled)} classes of one "
        "model, with equal values, and is extrapolated."
    )
    slow = float(np.median(core["loop over scikit-learn"]))
    for way in wall:
        seconds, core_seconds = float(np.median(wall[way])), float(np.median(core[way]))
        click.echo(f"{way:24} {seconds:9.2f} s {core_seconds:9.2f} core s {slow / core_seconds:7.0f} x")


if __name__ == "__main__":
    main()
