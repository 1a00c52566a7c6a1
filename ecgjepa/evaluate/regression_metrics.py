"""How far predicted values lie from the true ones, of many resamples at once.

Axes: R resamples, N records, M metrics.
"""

import numpy as np
from jaxtyping import Float64, Int
from numpy import ndarray

METRICS = ("mae", "rmse", "r2", "pearson_r")
# A variance below this share of the mean square is rounding: all values are the same.
NO_VARIANCE = 1e-12


def regression_metrics(
    values_N: Float64[ndarray, "n"], predicted_N: Float64[ndarray, "n"], weights_RN: Int[ndarray, "r n"] | None = None
) -> Float64[ndarray, "r2 4"]:
    """Mean absolute error, root mean squared error, R2 and Pearson's r, (R, M) in the order of `METRICS`.

    R2 is 1 - (mean squared error) / (variance of the true values of that resample). It is NaN where these are all the
    same, Pearson's r also where the predicted ones are; all are NaN for a resample of no record.

    Raises:
        ValueError: a value is not finite.
    """
    for name, found_N in (("true", values_N), ("predicted", predicted_N)):
        if broken := int((~np.isfinite(found_N)).sum()):
            raise ValueError(f"regression: {broken} of {len(found_N)} {name} values are not finite")
    weights_RN = np.ones((1, len(values_N))) if weights_RN is None else weights_RN.astype(np.float64)
    total_R = weights_RN.sum(axis=1)
    error_N = predicted_N - values_N
    # Shifted to about zero, so that little is lost where a variance is the difference of two means.
    true_N, said_N = values_N - values_N.mean(), predicted_N - predicted_N.mean()
    columns = [np.abs(error_N), error_N**2, true_N, true_N**2, said_N, said_N**2, true_N * said_N]
    means_R7 = weights_RN @ np.stack(columns, axis=1) / np.where(total_R > 0, total_R, np.nan)[:, None]
    mae_R, mse_R, true_R, true_square_R, said_R, said_square_R, product_R = means_R7.T
    variance_true_R = _variance(true_R, true_square_R)
    variance_said_R = _variance(said_R, said_square_R)
    covariance_R = product_R - true_R * said_R
    r_R = covariance_R / np.sqrt(variance_true_R * variance_said_R)
    return np.stack([mae_R, np.sqrt(mse_R), 1 - mse_R / variance_true_R, np.clip(r_R, -1, 1)], axis=1)


def _variance(mean_R: ndarray, square_R: ndarray) -> ndarray:
    """Variance, NaN where there is none."""
    variance_R = square_R - mean_R**2
    return np.where(variance_R > NO_VARIANCE * square_R, variance_R, np.nan)
