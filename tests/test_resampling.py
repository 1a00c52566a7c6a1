"""The matrix form of polyphase resampling is SciPy's, for every ratio of rates."""

from fractions import Fraction

import numpy as np
import pytest
from scipy.signal import resample_poly

from ecgjepa.resampling import polyphase, resample


@pytest.mark.parametrize("source_hz", [100, 128, 240, 250, 257, 300, 360, 400, 499, 500, 512, 977, 1000, 2000])
@pytest.mark.parametrize("samples", [1, 2, 30, 333, 4999, 5000, 5001])
def test_polyphase_is_that_of_scipy(source_hz: int, samples: int) -> None:
    signal_mv = np.random.default_rng(samples).standard_normal((3, samples)).astype(np.float32) + 5
    ratio = Fraction(250, source_hz)
    if samples == 1:
        expected = np.full((3, -(-ratio.numerator // ratio.denominator)), signal_mv)  # SciPy gives NaN
    else:
        double_mv = signal_mv.astype(np.float64)
        expected = resample_poly(double_mv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    found = polyphase(signal_mv, ratio)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    if samples > 1:
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_of_a_sine_the_amplitude_stays_and_above_half_of_the_rate_it_goes() -> None:
    time_s = np.arange(5000) / 500
    for frequency_hz, gain in ((1, 1), (40, 1), (100, 1), (150, 0), (200, 0)):
        sine_mv = np.sin(2 * np.pi * frequency_hz * time_s)[None].astype(np.float32)
        middle_mv = resample(sine_mv, 500, 250, 2500)[0, 100:-100]
        assert abs(np.sqrt(2 * np.mean(middle_mv**2)) - gain) < 0.02


def test_a_straight_line_stays_one() -> None:
    line_mv = np.linspace(-3, 7, 5000, dtype=np.float32)[None]
    np.testing.assert_allclose(np.diff(resample(line_mv, 500, 250, 2500)), 10 / 4999 * 2, atol=1e-5)
