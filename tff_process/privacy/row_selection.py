"""Which rows of a large table take part in a private step: noise on all of them would take longer
than the step, and drown what few of them learned.

DP-AdaFEST: how much of a batch each row of the table was met by is told with noise of its own, and
the rows that are told to pass a threshold get their gradients and the noise of these; all others
get nothing in this step, neither gradient nor noise. Which rows these are is thus told under the
budget too: both answers about a batch together tell as much as one with the noise that the budget
was calibrated to.

Formula, with s that noise over its sensitivity, and r = 5:

    s_values = s * sqrt(1 + 1 / r^2),  s_selection = r * s_values,
    since 1 / s^2 = 1 / s_values^2 + 1 / s_selection^2
    threshold = 3.5 * s_selection * sqrt(tables)

A row that nobody met passes the threshold once in 4,300 steps.

References:
  Ghazi et al., "Sparsity-Preserving Differentially Private Training of Large Embedding Models",
  NeurIPS 2023, algorithm 1.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_process.privacy import clipping, draws

_RATIO = 5.0
_THRESHOLD = 3.5  # in deviations of the noise


def deviations(noise: float) -> "tuple[float, float]":
    """The noise of values and that of the selection, each over its sensitivity, which together
    tell as much as one answer with `noise`.
    """
    values = noise * math.sqrt(1.0 + _RATIO**-2)
    return values, _RATIO * values


@dataclasses.dataclass(frozen=True)
class Selection:
    """The rows of large tables that take part in a step.

    Attributes:
      rows: by table (`tf.Variable.ref`), int64 [selected].
    """

    rows: "Mapping[Any, tf.Tensor]"

    @classmethod
    def of(
        cls, found: clipping.Clipped, least_rows: int, seed: tf.Tensor, noise: tf.Tensor
    ) -> "Selection":
        """Selects from what a batch met.

        Args:
          found: of the batch.
          least_rows: of a table that is large; 0 for none.
          seed: int64 [2].
          noise: of the budget over its sensitivity, float32.
        """
        large = {
            table: met
            for table, met in found.met.items()
            if least_rows and int(met.shape[0]) >= least_rows
        }
        # One row adds at most 1 to each table's, so that together it changes them by at most this.
        sensitivity = math.sqrt(len(large))
        deviation = noise * (deviations(1.0)[1] * sensitivity)

        def chosen(place: int, met: tf.Tensor) -> tf.Tensor:
            told = met + draws.noise(draws.folded(seed, place), met.shape, deviation)
            return tf.where(told > _THRESHOLD * deviation)[:, 0]

        return cls({table: chosen(place, met) for place, (table, met) in enumerate(large.items())})

    @property
    def factor(self) -> float:
        """What the noise of values is multiplied by, to pay for the selection."""
        return deviations(1.0)[0] if self.rows else 1.0
