"""Confidence intervals of paired differences.

References:
  Student, "The Probable Error of a Mean", Biometrika 6, 1908.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean and the half width of its confidence interval;
    NaN where there are fewer than two values.
    """

    mean: float
    half_width: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return abs(self.mean) > self.half_width


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of some values with the interval `mean +- t * s / sqrt(n)`, t the quantile of
    Student's distribution with n - 1 degrees.

    Args:
      values: at least one.
      confidence: 0 to 1.
    """
    if len(values) < 2:
        return Interval(float(np.mean(values)), float("nan"))
    error = float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return Interval(
        float(np.mean(values)), t_quantile(0.5 + confidence / 2.0, len(values) - 1) * error
    )


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's distribution, for a probability above one half, to 1e-9,
    found by halving.
    """
    low, high = 0.0, 1e9
    while high - low > 1e-9 * max(1.0, low):
        middle = 0.5 * (low + high)
        # P(T <= t) = 1 - I(n / (n + t^2); n / 2, 1 / 2) / 2, with I the regularised incomplete beta
        # function.
        x = tf.constant(degrees / (degrees + middle**2), tf.float64)
        half = tf.constant(0.5, tf.float64)
        below = 1.0 - 0.5 * float(tf.math.betainc(half * degrees, half, x))
        low, high = (middle, high) if below < probability else (low, middle)
    return 0.5 * (low + high)
