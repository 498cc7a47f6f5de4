"""The ways of reading parts of the input of experts and gates, for products with kernels.

Of what is read, some parts are columns of the input, and some come before the columns are made:
their tables are multiplied with their rows of the kernel first. `first_layer` says why and which.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Protocol

import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding
from pfrec.models.precision import matmul

# The rows of a kernel that belong to each part of the input.
Parts = Sequence[tf.Tensor]


class Reading(Protocol):
    """What some parts of the input add to a product: `concat(columns) @ concat(rows)`."""

    @property
    def parts(self) -> "tuple[int, ...]":
        """Which of the input's parts are read."""

    @property
    def constant(self) -> bool:
        """Whether the columns have no gradient."""

    def columns(self) -> "list[tf.Tensor]":
        """Each float32 [rows, columns]."""

    def rows(self, kernel: Parts) -> "list[tf.Tensor]":
        """What the columns are multiplied with, each float32 [columns, units]."""


@dataclasses.dataclass(frozen=True)
class AsItIs:
    """Parts whose values are columns, as embeddings that were looked up.

    Attributes:
      values: of all parts side by side, float32 [rows, columns].
      parts, constant: see `Reading`.
    """

    values: tf.Tensor
    parts: "tuple[int, ...]"
    constant: bool = False

    def columns(self) -> "list[tf.Tensor]":
        return [self.values]

    def rows(self, kernel: Parts) -> "list[tf.Tensor]":
        return [kernel[part] for part in self.parts]


@dataclasses.dataclass(frozen=True)
class Projected:
    """Parts that are a constant times a table, which is multiplied with the kernel first.

    Attributes:
      values: the constants, each float32 [rows, columns].
      tables: by part, what they are multiplied with.
    """

    values: "tuple[tf.Tensor, ...]"
    tables: "Mapping[int, tf.Tensor]"
    constant: bool = True

    @property
    def parts(self) -> "tuple[int, ...]":
        return tuple(self.tables)

    def columns(self) -> "list[tf.Tensor]":
        return list(self.values)

    def rows(self, kernel: Parts) -> "list[tf.Tensor]":
        return [matmul(table, kernel[part]) for part, table in self.tables.items()]


@dataclasses.dataclass(frozen=True)
class Occurring:
    """A feature of which the rows that occur in a batch are multiplied with the kernel, each once;
    the products are added row by row, and there is no column.

    Attributes:
      table: the rows that occur, float32 [distinct ids, dim].
      position: of each row of the batch among them.
      part: of the input.
    """

    table: tf.Tensor
    position: tf.Tensor
    part: int

    @classmethod
    def of(cls, table: Any, ids: tf.Tensor, part: int) -> "Occurring":
        """The feature with these ids, [rows]."""
        distinct, position = tf.unique(ids)
        return cls(tf.gather(table, distinct), position, part)

    def product(self, kernel: Parts) -> tf.Tensor:
        """What the feature adds to the product, float32 [rows, units]."""
        return _rows_of_projection(matmul(self.table, kernel[self.part]), self.position)


def joined(parts: Sequence[tf.Tensor], axis: int = 1) -> Optional[tf.Tensor]:
    """The tensors one after the other; None where there is none."""
    return None if not parts else parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)


def _offsets(cardinalities: "list[int]", dtype: tf.DType) -> tf.Tensor:
    return tf.constant([sum(cardinalities[:n]) for n in range(len(cardinalities))], dtype)


def multi_hot(ids: tf.Tensor, columns: "list[int]", cardinalities: "list[int]") -> tf.Tensor:
    """One-hot forms of some columns of ids side by side, float32 [rows, sum of cardinalities]."""
    chosen = ids if len(columns) == ids.shape[1] else tf.gather(ids, columns, axis=1)
    rows, width = tf.shape(ids)[0], sum(cardinalities)
    place = (
        chosen
        + _offsets(cardinalities, ids.dtype)
        + width * tf.range(rows, dtype=ids.dtype)[:, tf.newaxis]
    )
    # No place occurs twice, so the sum has no order.
    ones = tf.ones([rows * len(columns)])
    return tf.reshape(tf.scatter_nd(tf.reshape(place, [-1, 1]), ones, [rows * width]), [-1, width])


def mean_hot(ids: tf.Tensor, cardinality: int) -> tf.Tensor:
    """The means of the one-hot forms of lists [rows, values], float32 [rows, cardinality]."""
    known = tf.not_equal(ids, schema_lib.NO_VALUE)
    places = tf.where(known)
    cells = tf.stack([places[:, 0], tf.cast(tf.gather_nd(ids, places), tf.int64)], axis=1)
    # A value that stands twice adds up equal numbers, so the sum has no order.
    weights = tf.gather(embedding.shares(known)[:, 0], places[:, 0])
    return tf.ensure_shape(
        tf.scatter_nd(cells, weights, [tf.shape(ids, tf.int64)[0], cardinality]),
        [None, cardinality],
    )


def joint_look_up(tables: "list[tf.Variable]", ids: tf.Tensor) -> tf.Tensor:
    """Embeddings of some features side by side, float32 [rows, sum of widths], in one lookup."""
    cardinalities = [int(table.shape[0]) for table in tables]
    width = int(tables[0].shape[1])
    place = tf.reshape(ids + _offsets(cardinalities, ids.dtype), [-1])

    @tf.custom_gradient
    def look_up(joint: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(
                tf.reshape(upstream, [-1, width]), place, sum(cardinalities)
            )

        return tf.reshape(tf.gather(joint, place), [-1, len(tables) * width]), gradient

    return look_up(joined([tf.convert_to_tensor(table) for table in tables], axis=0))


@tf.custom_gradient
def half_constant_product(constant: tf.Tensor, variable: tf.Tensor, weights: tf.Tensor) -> Any:
    """`[constant, variable] @ weights` without a gradient to `constant`."""
    x = tf.concat([constant, variable], axis=1)
    width = int(constant.shape[1])

    def gradient(upstream: tf.Tensor) -> Any:
        return (
            None,
            matmul(upstream, weights[width:], transpose_b=True),
            matmul(x, upstream, transpose_a=True),
        )

    return matmul(x, weights), gradient


@tf.custom_gradient
def _rows_of_projection(projection: tf.Tensor, position: tf.Tensor) -> Any:
    def gradient(upstream: tf.Tensor) -> Any:
        return tf.math.unsorted_segment_sum(upstream, position, tf.shape(projection)[0]), None

    return tf.gather(projection, position), gradient
