"""Embedding tables, one per categorical feature."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import roles


def layers(
    schema: schema_lib.Schema, dim: int, scale: float, next_seed: Callable[[], int]
) -> "list[FeatureEmbedding]":
    """The embedding of each categorical feature, in order; one that reads another's table is the
    same layer.
    """
    made: dict[str, FeatureEmbedding] = {}
    for f in schema.categorical:
        seed = next_seed()
        if not f.table:
            made[f.name] = FeatureEmbedding(
                f.name, f.cardinality, dim, scale, seed, name=f"embedding_{f.name}"
            )
    return [made[f.owner] for f in schema.categorical]


def ids_by_feature(ids: tf.Tensor, schema: schema_lib.Schema) -> "list[tf.Tensor]":
    """The ids of each categorical feature, int32 [rows], or [rows,
    values] where its rows hold lists.

    Args:
      ids: int32 [rows, `schema.id_columns`].
      schema: of the features.
    """
    columns = tf.unstack(ids, num=schema.id_columns, axis=1) if schema.categorical else []
    return [
        columns[place.start] if feature.values == 1 else tf.stack(columns[place], axis=1)
        for feature, place in zip(schema.categorical, schema.id_places)
    ]


def ids_at(ids: tf.Tensor, place: slice) -> tf.Tensor:
    """The ids of one feature alone, of the shape that `ids_by_feature` gives;
    `place` is its one of `schema.id_places`.
    """
    return ids[:, place.start] if place.stop - place.start == 1 else ids[:, place]


def look_up(table: Any, ids: tf.Tensor) -> tf.Tensor:
    """`table[ids]`, [rows, dim]; of lists the mean over their values in float32,
    and zero for an empty one.

    Args:
      table: [ids, dim].
      ids: int32 or int64 [rows], or lists [rows, values] with `schema.NO_VALUE` where there is no
        further value.
    """
    if ids.shape.rank == 1:
        return tf.gather(table, ids)
    # Of places without a value nothing is read, so that the gradient has no row for them.
    known = tf.not_equal(ids, schema_lib.NO_VALUE)
    places = tf.where(known)
    found = tf.cast(
        tf.gather(table, tf.gather_nd(ids, places)), tf.float32
    )  # a table kept in half precision is not summed in it
    return tf.math.unsorted_segment_sum(found, places[:, 0], tf.shape(ids)[0]) * shares(known)


def shares(known: tf.Tensor) -> tf.Tensor:
    """What each value of a list weighs: one over their number, float32 [rows, 1];
    1 where there is none.

    Args:
      known: bool [rows, values].
    """
    return 1.0 / tf.maximum(tf.reduce_sum(tf.cast(known, tf.float32), axis=1, keepdims=True), 1.0)


@tf.keras.utils.register_keras_serializable("pfrec")
class FeatureEmbedding(tf.keras.layers.Layer):
    """The embedding of one categorical feature.

    Formula: `y[i] = table[ids[i]]`; of a list the mean over its values, and zero where it is empty.
      The table has `cardinality + 1` rows;
    the last stands for an unknown id and starts at zero, so an id that no training row held adds
    nothing.

    Args:
      feature: the feature's name.
      cardinality: how many known ids there are.
      dim: the width of the table.
      scale: the standard deviation of the initial rows.
      seed: of the initial rows.

    Call arguments:
      ids: int32 or int64 [rows], in 0 to cardinality; or lists [rows, values], -1 where there is no
        further value.

    Returns:
      float32 [rows, dim].
    """

    def __init__(
        self,
        feature: str,
        cardinality: int,
        dim: int,
        scale: float = 0.05,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.feature, self.cardinality, self.dim, self.scale, self.seed = (
            feature,
            cardinality,
            dim,
            scale,
            seed,
        )
        roles.declare(self, roles.embedding(feature))

    def build(self, input_shape: Any) -> None:
        def initial(shape: Any, dtype: Any = None) -> tf.Tensor:
            known = tf.random.stateless_normal(
                [shape[0] - 1, shape[1]], [self.seed, 0], stddev=self.scale, dtype=dtype
            )
            return tf.concat([known, tf.zeros([1, shape[1]], dtype)], axis=0)

        self.table = self.add_weight("table", [self.cardinality + 1, self.dim], initializer=initial)
        super().build(input_shape)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return look_up(self.table, ids)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "feature": self.feature,
            "cardinality": self.cardinality,
            "dim": self.dim,
            "scale": self.scale,
            "seed": self.seed,
        }
