"""One private step's answer about rows, which is all that is ever learned from them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import tensorflow as tf

from tff_process.client import work as work_lib
from tff_process.privacy import clipping, draws, row_selection, soundness


@dataclasses.dataclass(frozen=True)
class SampledGaussian:
    """The Poisson sampled Gaussian mechanism.

    Attributes:
      rate: the probability that a row, or a group, is in the sample, float64.
      deviation: of the noise, float32.
      clip: of a row's whole gradient.
      absent: features that are not read.
      unit: what is sampled, and what one more or less of changes the sums by at most the clip, of
        `soundness.UNITS`: a row; or all rows of a group, whose clipped gradients' mean counts.
      sparse_rows: of tables from which on few of their rows take part in a step, `row_selection`; 0
        for none.
      divisor: what sums with their noise are divided by, float32.

    References:
      Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1.
    """

    rate: tf.Tensor
    deviation: tf.Tensor
    clip: float
    absent: "frozenset[str]" = frozenset()
    unit: str = soundness.ROW
    sparse_rows: int = 0
    divisor: "tf.Tensor | float" = 1.0

    @tf.autograph.experimental.do_not_convert
    def sums(
        self,
        model: work_lib.ClientModel,
        names: Sequence[str],
        rows: work_lib.Values,
        seed: tf.Tensor,
    ) -> "dict[str, tf.Tensor]":
        """Sums of clipped gradients over a sample, with noise, over the divisor; by name.

        Args:
          model: where it stands.
          names: the variables, which must be all that gradients are clipped over.
          rows: features and labels of all rows.
          seed: int64 [2], of the step.
        """
        chosen, weights = self._sample(rows, draws.folded(seed, 0))
        batch = {name: tf.gather(value, chosen) for name, value in rows.items()}
        found = clipping.clipped_sums(
            model.network, batch, self.clip, self.absent, weights, self.divisor
        )

        selection = row_selection.Selection.of(
            found, self.sparse_rows, draws.folded(seed, -1), self.deviation / self.clip
        )
        deviation = self.deviation * selection.factor / self.divisor

        def noised(place: int, name: str) -> tf.Tensor:
            def draw(shape: Any) -> tf.Tensor:
                return draws.noise(draws.folded(seed, place), shape, deviation)

            variable = model.variables[name]
            return clipping.noised(found, variable, draw, selection.rows.get(variable.ref()))

        return {name: noised(place, name) for place, name in enumerate(names, 1)}

    def _sample(
        self, rows: work_lib.Values, seed: tf.Tensor
    ) -> "tuple[tf.Tensor, Optional[tf.Tensor]]":
        """The rows of a sample, and what each one's clipped gradient is multiplied by."""
        if self.unit == soundness.ROW:
            return draws.poisson_sample(seed, tf.shape(rows["labels"])[0], self.rate), None
        _, group, sizes = tf.unique_with_counts(rows["group"])
        groups = draws.poisson_sample(seed, tf.size(sizes), self.rate)
        taken = tf.scatter_nd(groups[:, tf.newaxis], tf.ones_like(groups), [tf.size(sizes)])
        chosen = tf.where(tf.gather(taken, group) > 0)[:, 0]
        sizes = tf.gather(sizes, tf.gather(group, chosen))
        return chosen, 1.0 / tf.cast(sizes, tf.float32)
