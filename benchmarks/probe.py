"""Seconds of a strict linear probe of many labels, against scikit-learn label by label, in one run.

    python benchmarks/probe.py [--labels 71] [--every 10] [--all-labels]

Both standardise 17,400 training features of width 768, fit one logistic regression for each label and each of seven
strengths C, and score 2,200 validation and 2,200 test records. scikit-learn is run on every tenth label,
from the most to the least frequent, and its time scaled up to all of them, unless `--all-labels` is given: once at its
default tolerance, and once at a smaller one, at which the AUCs must agree to 1e-3.

The features are simulated: a spectrum that falls as a power, as that of a frozen encoder, mixed by a random rotation.
The labels follow them with noise, at prevalences like those of the 71 statements of PTB-XL, from 77 % to 0.05 %.

Axes: N records, D features, K labels, C strengths.
"""

import time
import warnings

import click
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ecgjepa.evaluate.logistic import LogisticPath
from ecgjepa.evaluate.metrics import auroc, best_f1_thresholds

STRENGTHS = tuple(10.0**exponent for exponent in range(-5, 2))
PARTS = {"train": 17_400, "validation": 2_200, "test": 2_200}
# Of scikit-learn: its default, at which weights of rare labels are not yet those of the minimum, and one at which they
# are. Time is to be compared at the first, values at the second.
TOLERANCES = (1e-4, 1e-7)


def prevalences(labels: int) -> np.ndarray:
    """Of the statements of PTB-XL, about: two that are frequent, then a tail that falls by a factor e in 12 ranks."""
    tail = 0.15 * np.exp(-np.arange(69) / 12)
    return np.concatenate([[0.77, 0.44], tail])[np.linspace(0, 70, labels).round().astype(int)]


def simulate(records: int, width: int, prevalence_K: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features (N, D) float32 and labels (N, K) that follow them with noise."""
    chance = np.random.default_rng(seed)
    latent_ND = chance.standard_normal((records, width))
    direction_DK = chance.standard_normal((width, len(prevalence_K))) / np.arange(1, width + 1)[:, None] ** 0.5
    direction_DK *= 2 / np.linalg.norm(direction_DK, axis=0)
    score_NK = latent_ND @ direction_DK + chance.logistic(size=(records, len(prevalence_K)))
    threshold_K = np.array([np.quantile(score_NK[:, k], 1 - p) for k, p in enumerate(prevalence_K)])
    rotation_DD, _ = np.linalg.qr(chance.standard_normal((width, width)))
    features_ND = (latent_ND * np.arange(1, width + 1) ** -0.7) @ rotation_DD + chance.standard_normal(width)
    return features_ND.astype(np.float32), score_NK > threshold_K


def with_scikit_learn(
    features: list[np.ndarray], labels: list[np.ndarray], chosen_K: np.ndarray, tolerance: float
) -> tuple[float, np.ndarray, np.ndarray, int]:
    """Some labels one by one: seconds, scores on validation and on test (C, N, K), and fits that did not converge."""
    began, unconverged = time.perf_counter(), 0
    scaler = StandardScaler().fit(features[0].astype(np.float64))
    train, validation, test = (scaler.transform(each.astype(np.float64)) for each in features)
    scores = [np.empty((len(STRENGTHS), len(each), len(chosen_K))) for each in (validation, test)]
    for column, k in enumerate(chosen_K):
        for row, c in enumerate(STRENGTHS):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model = LogisticRegression(C=c, tol=tolerance, max_iter=1000).fit(train, labels[0][:, k])
            unconverged += any(issubclass(each.category, ConvergenceWarning) for each in caught)
            for scores_CNK, features_ND in zip(scores, (validation, test), strict=True):
                scores_CNK[row, :, column] = model.predict_proba(features_ND)[:, 1]
    return time.perf_counter() - began, *scores, unconverged


def with_ours(
    features: list[np.ndarray], labels: list[np.ndarray], chosen_K: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """All labels together: seconds, and scores on validation and on test (C, N, K) of those that are compared."""
    began = time.perf_counter()
    scaler = StandardScaler().fit(features[0].astype(np.float64))
    train, validation, test = (scaler.transform(each.astype(np.float64)) for each in features)
    path = LogisticPath(train, labels[0], "multilabel")
    scores: list[list[np.ndarray]] = [[], []]
    for c in STRENGTHS:
        fit = path.fit(c)
        for of_part, features_ND in zip(scores, (validation, test), strict=True):
            of_part.append(fit.probabilities(features_ND, "multilabel")[:, chosen_K])
    return time.perf_counter() - began, np.stack(scores[0]), np.stack(scores[1])


@click.command()
@click.option("--labels", "count", default=71, show_default=True, help="How many labels.")
@click.option("--every", default=10, show_default=True, help="scikit-learn takes every n-th label.")
@click.option("--all-labels", is_flag=True, help="scikit-learn takes all of them; an hour or more on two cores.")
@click.option("--records", default=sum(PARTS.values()), show_default=True)
@click.option("--width", default=768, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, every: int, all_labels: bool, records: int, width: int, seed: int) -> None:
    """Time both on the same features and compare what they find."""
    features_ND, labels_NK = simulate(records, width, prevalences(count), seed)
    bounds = records * np.cumsum(list(PARTS.values()))[:-1] // sum(PARTS.values())
    features, labels = np.split(features_ND, bounds), np.split(labels_NK, bounds)
    learned_K = labels[0].any(axis=0) & ~labels[0].all(axis=0)
    labels = [each[:, learned_K] for each in labels]
    count = labels[0].shape[1]
    chosen_K = np.arange(0, count, 1 if all_labels else every)
    sizes = ", ".join(f"{len(each):,} {part}" for each, part in zip(features, PARTS, strict=True))
    click.echo(f"{sizes} records of width {width}, {count} labels, {len(STRENGTHS)} strengths C, one run")
    ours, *our_scores = with_ours(features, labels, chosen_K)
    click.echo(f"ecgjepa, all labels together: {ours:.1f} s")
    for tolerance in TOLERANCES:
        theirs, *their_scores, unconverged = with_scikit_learn(features, labels, chosen_K, tolerance)
        scaled = theirs * count / len(chosen_K)
        measured = "measured" if len(chosen_K) == count else f"scaled up from {theirs:.1f} s of {len(chosen_K)} labels"
        click.echo(
            f"scikit-learn, label by label, tol={tolerance:g}: {scaled:.1f} s, {scaled / ours:.1f} x ({measured})"
        )
        if unconverged:
            click.echo(f"  {unconverged} of its fits did not converge")
        compare([each[:, chosen_K] for each in labels[1:]], our_scores, their_scores)


def compare(labels: list[np.ndarray], ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Say how far scores (C, N, K) on validation and test are apart."""
    for labels_NK, our_CNK, their_CNK, name in zip(labels, ours, theirs, list(PARTS)[1:], strict=True):
        pairs = zip(our_CNK, their_CNK, strict=True)
        apart = max(float(np.nanmax(np.abs(auroc(labels_NK, a) - auroc(labels_NK, b)))) for a, b in pairs)
        click.echo(f"  largest difference of an AUC on {name}, all strengths and compared labels: {apart:.1e}")
    thresholds = [np.stack([best_f1_thresholds(labels[0], each) for each in scores[0]]) for scores in (ours, theirs)]
    called = [scores[1] >= each[:, None] for scores, each in zip((ours, theirs), thresholds, strict=True)]
    apart = 100 * float((called[0] != called[1]).mean())
    click.echo(f"  decisions on test, at the thresholds of best F1 on validation, that differ: {apart:.2f} %")


if __name__ == "__main__":
    main()
