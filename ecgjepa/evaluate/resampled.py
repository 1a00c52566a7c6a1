"""Scores of several models on the same resamples of patients: values, intervals, paired differences and their p.

Axes: R resamples, A models, M metrics, C columns (classes, then means over classes).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Shaped
from numpy import ndarray
from threadpoolctl import threadpool_limits

from ecgjepa.evaluate.bootstrap import bootstrap, percentile_interval

# From (R, N) weights to (R, M, C) scores; from None to the scores of the records as they are, R = 1.
Statistic = Callable[[Int[ndarray, "r n"] | None], Float64[ndarray, "r m c"]]
# Sums in another order differ by about 1e-16 of themselves.
ROUNDING = 1e-12
# Scores that are larger on resamples than on the records as they are, by a bias that is taken off: repeated records
# make the bins of ECE noisier.
BIASED = ("ece",)
Number = dict[str, float | None]


@dataclass(frozen=True)
class Resampled:
    """What `resample` found.

    Attributes:
        models, metrics: names along A and M.
        values: on the records as they are, (A, M, C); NaN where a score is not defined.
        samples: on every resample, (R, A, M, C).
    """

    models: tuple[str, ...]
    metrics: tuple[str, ...]
    values: Float64[ndarray, "a m c"]
    samples: Float64[ndarray, "r a m c"]

    def interval(self, model: str, metric: str, column: int) -> Number:
        """A score with its 95 % interval as `value`, `low`, `high`; None where it is not defined."""
        cell = self.models.index(model), self.metrics.index(metric), column
        value, samples_R = self.values[cell], self.samples[:, *cell]
        if metric in BIASED:
            samples_R = np.maximum(_unbiased(samples_R, value), 0.0)
        return _interval(value, samples_R)

    def difference(self, model: str, reference: str, metric: str, column: int) -> Number:
        """`model` minus `reference`, resample by resample, with its interval and `p`; None where it is not defined."""
        one, other = self.models.index(model), self.models.index(reference)
        m = self.metrics.index(metric)
        samples_R = _minus(self.samples[:, one, m, column], self.samples[:, other, m, column])
        value = float(_minus(self.values[one, m], self.values[other, m])[column])
        if metric in BIASED:
            samples_R = _unbiased(samples_R, value)
        p = None if np.isnan(value) else bootstrap_p(samples_R)
        return _interval(value, samples_R) | {"p": p}


def resample(
    statistics: Mapping[str, Statistic], metrics: Sequence[str], patients_N: Shaped[ndarray, "n"], count: int, seed: int
) -> Resampled:
    """Score every model on the records as they are, and on the same `count` resamples of their patients.

    Raises:
        ValueError: no record, or fewer than one resample.
    """

    def score(weights_RN: ndarray | None) -> ndarray:
        return np.stack([statistic(weights_RN) for statistic in statistics.values()], axis=1)

    # The products are small: on a busy machine threads that wait for each other made it 100 times slower.
    with threadpool_limits(1, user_api="blas"):
        samples = bootstrap(score, patients_N, count, seed)
    return Resampled(tuple(statistics), tuple(metrics), score(None)[0], samples)


def bootstrap_p(differences_R: Float64[ndarray, "r"]) -> float | None:
    """Two-sided p of a difference from its resamples: how far zero lies in their tail; None if all are undefined.

    min(1, 2 (1 + min(#{d <= 0}, #{d >= 0})) / (R + 1)), so never below 2 / (R + 1); R counts the resamples in which
    the difference is defined. It is the level at which the percentile interval would just touch zero, with one
    resample added to either side (Davison and Hinkley 1997, chapter 4), as no p can be 0.
    """
    defined_R = differences_R[~np.isnan(differences_R)]
    if not len(defined_R):
        return None
    beyond = min(int((defined_R <= 0).sum()), int((defined_R >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (len(defined_R) + 1))


def _minus(one: ndarray, other: ndarray) -> ndarray:
    """The difference; none where it is rounding, whose sign would count in p."""
    difference = one - other
    return np.where(np.abs(difference) <= ROUNDING * (np.abs(one) + np.abs(other)), 0.0, difference)


def _unbiased(samples_R: ndarray, value: float) -> ndarray:
    """Resamples moved so that their mean is the value on the records as they are."""
    there_R = samples_R[~np.isnan(samples_R)]
    return samples_R - (there_R.mean() - value) if len(there_R) else samples_R


def _interval(value: float, samples_R: ndarray) -> Number:
    low, high = percentile_interval(samples_R)
    numbers = {"value": float(value), "low": float(low), "high": float(high)}
    return {name: None if np.isnan(number) else number for name, number in numbers.items()}
