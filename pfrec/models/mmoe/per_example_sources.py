"""What stands behind parts of the first layer's input in `per_example`: a constant matrix A of the
batch times variables B. For ids A is their one-hot form, or of lists the mean of those, and B the
table.
"""

import dataclasses
from typing import Any, Optional, Protocol

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding
from pfrec.models.mmoe import readings

Sums = list[tuple[tf.Variable, Any]]

# From so many elements on, the sum at a table is told by the rows that were met.
LARGE_ELEMENTS = 1 << 16


class Source(Protocol):
    """A part of the input, `A @ B`."""

    @property
    def width(self) -> int:
        """Columns of the part."""

    @property
    def read(self) -> np.ndarray:
        """Which of these can be other than 0, bool."""

    @property
    def ratio(self) -> Any:
        """The squared norm of a row's gradient at the variables over that of its gradient at the
        part, [rows] or a number; 0 where there are no variables.
        """

    def values(self) -> tf.Tensor:
        """The part, float32 [rows, width]."""

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        """The sums at the variables of gradients at the part, which are scaled.

        Args:
          upstream: float32 [rows, width], 0 in rows that do not count.
          counted: bool [rows, 1]; rows that do not count may hold what is no number.
        """

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        """Which rows of a variable can have a gradient, bool; None for all."""


@dataclasses.dataclass(frozen=True)
class LookUp:
    """A table, looked up.

    Attributes:
      table: variable [ids, dim].
      ids: int32 [rows], or lists [rows, values], of which the mean is read.
    """

    table: tf.Variable
    ids: tf.Tensor

    @property
    def width(self) -> int:
        return int(self.table.shape[1])

    @property
    def narrow(self) -> int:
        """Columns of A."""
        return int(self.table.shape[0])

    @property
    def listed(self) -> bool:
        """Whether ids are lists."""
        return int(self.ids.shape.rank) > 1

    @property
    def read(self) -> np.ndarray:
        return np.full(self.width, True)

    @property
    def ratio(self) -> Any:
        if not self.listed:
            return 1.0
        # An id that stands m times in a list of n gets m / n of the gradient.
        known = tf.not_equal(self.ids, schema_lib.NO_VALUE)
        same = tf.equal(self.ids[:, :, tf.newaxis], self.ids[:, tf.newaxis])
        pairs = tf.reduce_sum(tf.cast(same & known[:, tf.newaxis], tf.float32), axis=[1, 2])
        return pairs * tf.square(embedding.shares(known)[:, 0])

    def values(self) -> tf.Tensor:
        return embedding.look_up(self.table, self.ids)

    def columns(self) -> tf.Tensor:
        """A, float32 [rows, ids]."""
        if self.listed:
            return readings.mean_hot(self.ids, self.narrow)
        return tf.one_hot(self.ids, self.narrow)

    def factor(self) -> tf.Tensor:
        """B, [ids, dim]."""
        return tf.convert_to_tensor(self.table)

    def squared_norms(self) -> tf.Tensor:
        """Of each row of the part, without making it where that is dear; [rows]."""
        if self.listed:
            return squares(self.values())
        return tf.gather(squares(self.factor()), self.ids)

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        del counted
        ids, values = self._single(upstream)
        if self.table.shape.num_elements() >= LARGE_ELEMENTS:
            return [(self.table, tf.IndexedSlices(values, ids))]
        return [(self.table, tf.math.unsorted_segment_sum(values, ids, self.narrow))]

    def of_factor(self, gradient: tf.Tensor) -> Sums:
        return [(self.table, gradient)]

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        del variable  # Any row may be met.
        return None

    def met(self, weights: tf.Tensor) -> tf.Tensor:
        """How much of the rows' weights each row of the table was looked up for, float32 [ids]; a
        list gives each of its values the same share of its row's weight.

        Args:
          weights: float32 [rows].
        """
        ids, values = self._single(weights[:, tf.newaxis])
        return tf.math.unsorted_segment_sum(values, ids, self.narrow)[:, 0]

    def _single(self, values: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor]":
        """Each id by itself, and what it gets of its row's values."""
        if not self.listed:
            return self.ids, values
        known = tf.not_equal(self.ids, schema_lib.NO_VALUE)
        places = tf.where(known)
        values = tf.gather(values * embedding.shares(known), places[:, 0])
        return tf.gather_nd(self.ids, places), values


@dataclasses.dataclass(frozen=True)
class Projection:
    """Numbers times a kernel, and a bias.

    Attributes:
      kernel, bias: variables.
      numbers: float32 [rows, numbers], 0 where they are not read.
      known: bool [numbers], which are.
    """

    kernel: tf.Variable
    bias: tf.Variable
    numbers: tf.Tensor
    known: np.ndarray

    @property
    def width(self) -> int:
        return int(self.kernel.shape[1])

    @property
    def read(self) -> np.ndarray:
        return np.full(self.width, True)

    @property
    def ratio(self) -> Any:
        return squares(self.numbers) + 1.0

    def values(self) -> tf.Tensor:
        return tf.matmul(self.numbers, self.kernel) + self.bias

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        numbers = tf.where(counted, self.numbers, 0.0)
        return [
            (self.kernel, tf.matmul(numbers, upstream, transpose_a=True)),
            (self.bias, tf.reduce_sum(upstream, axis=0)),
        ]

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        return self.known if variable is self.kernel and not self.known.all() else None


@dataclasses.dataclass(frozen=True)
class Numbers:
    """Numbers as they are.

    Attributes:
      numbers, known: see `Projection`.
    """

    numbers: tf.Tensor
    known: np.ndarray
    ratio: float = 0.0

    @property
    def width(self) -> int:
        return int(self.numbers.shape[1])

    @property
    def read(self) -> np.ndarray:
        return self.known

    def values(self) -> tf.Tensor:
        return self.numbers

    def sums(self, upstream: tf.Tensor, counted: tf.Tensor) -> Sums:
        del upstream, counted
        return []

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        del variable
        return None


def squares(x: tf.Tensor) -> tf.Tensor:
    """Squared norms of the rows of a matrix."""
    return tf.reduce_sum(tf.square(x), axis=1)


def most_squares(x: tf.Tensor) -> tf.Tensor:
    """Squared norms of the rows of a matrix, no smaller than they are: a square below the least
    number counts as that, where `squares` has 0, which times a large factor would still be 0.
    """
    return squares(x) + float(np.finfo(np.float32).tiny) * float(x.shape[1])
