"""Ridge regression on standardised features: the linear read-out of a number, such as age or heart rate.

Axes: N records, D features, A principal axes (A <= D).
"""

from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from sklearn.preprocessing import StandardScaler

from ecgjepa.evaluate.readouts.checks import Features, check_finite, check_values, end_of_grid

# Strengths as scikit-learn's `alpha`, for standardised features; those of little trained weights need small ones.
ALPHA_GRID = tuple(10.0**exponent for exponent in range(-4, 7))


class RidgeRegression:
    """Least squares with an L2 penalty on standardised features; validation records choose its strength by MAE.

    All strengths come from one eigendecomposition: along the principal axes each is a division.

    Args:
        grid: values of alpha, ascending; of several equally good ones the largest is taken.

    Attributes:
        alpha_: the chosen strength, of the penalty `alpha |weights|^2` beside the sum of squared errors of the
            standardised target.
        weights_D, bias_: the layer on standardised features, in the unit of the target.
        selection_: `alpha` and, as `grid`, the validation MAE of every strength.
        thresholds_: None, as nothing is called.
        notes_: what a reader of the results must know of the fit.
    """

    def __init__(self, grid: tuple[float, ...] = ALPHA_GRID) -> None:
        self.grid = grid

    def fit(
        self,
        features_ND: Features,
        values_N: Float[ndarray, "n"],
        validation_features_ND: Float[ndarray, "v d"],
        validation_values_N: Float[ndarray, "v"],
    ) -> "RidgeRegression":
        """Learn from training records, choose by validation records.

        Raises:
            ValueError: a number is not finite, a part has no record, or all training values are the same.
        """
        check_values(features_ND, values_N, "training")
        check_values(validation_features_ND, validation_values_N, "validation")
        mean, spread = float(values_N.mean(dtype=np.float64)), float(values_N.std(dtype=np.float64))
        if spread == 0:
            raise ValueError(f"training: all {len(values_N)} values are {mean:g}, so there is nothing to learn")
        self.scaler_ = StandardScaler().fit(features_ND.astype(np.float64))
        scaled_ND = self._scaled(features_ND)
        energy_A, axes_DA = np.linalg.eigh(scaled_ND.T @ scaled_ND)
        energy_A = np.clip(energy_A, 0, None)
        along_A = axes_DA.T @ (scaled_ND.T @ ((values_N - mean) / spread))
        validation_NA = self._scaled(validation_features_ND) @ axes_DA
        errors = []
        for alpha in self.grid:
            predicted_N = spread * (validation_NA @ (along_A / (energy_A + alpha))) + mean
            errors.append(float(np.abs(predicted_N - validation_values_N).mean()))
        best = len(errors) - 1 - int(np.argmin(errors[::-1]))
        self.alpha_, self.bias_ = self.grid[best], mean
        self.weights_D = spread * (axes_DA @ (along_A / (energy_A + self.alpha_)))
        grid = [[alpha, error] for alpha, error in zip(self.grid, errors, strict=True)]
        self.selection_: dict[str, Any] = {"alpha": self.alpha_, "grid": grid}
        self.thresholds_ = None
        self.notes_ = end_of_grid("alpha", self.alpha_, self.grid)
        return self

    def predict(self, features_ND: Features) -> Float64[ndarray, "n"]:
        """The value of every record, in the unit of the target."""
        check_finite(features_ND, "prediction")
        return self._scaled(features_ND) @ self.weights_D + self.bias_

    def raw_layer(self) -> tuple[Float64[ndarray, "1 d"], Float64[ndarray, "1"]]:
        """Weights (1, D) and bias (1) on features as they come: the standardisation is folded in."""
        weight_1D = (self.weights_D / self.scaler_.scale_)[None]
        return weight_1D, self.bias_ - weight_1D @ self.scaler_.mean_

    def _scaled(self, features_ND: ndarray) -> ndarray:
        return self.scaler_.transform(features_ND.astype(np.float64))
