"""Embedding tables, one per categorical feature."""

from typing import Any

import tensorflow as tf

from pfrec.models import roles


@tf.keras.utils.register_keras_serializable("pfrec")
class FeatureEmbedding(tf.keras.layers.Layer):
    """The embedding of one categorical feature.

    Formula: `y[i] = table[ids[i]]`. The table has `cardinality + 1` rows; the last stands for an unknown id and starts at zero, so an id
    that no training row held adds nothing.

    Args:
      feature: the feature's name.
      cardinality: how many known ids there are.
      dim: the width of the table.
      scale: the standard deviation of the initial rows.
      seed: of the initial rows.

    Call arguments:
      ids: int32 or int64 [rows], in 0 to cardinality.

    Returns:
      float32 [rows, dim].
    """

    def __init__(self, feature: str, cardinality: int, dim: int, scale: float = 0.05, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feature, self.cardinality, self.dim, self.scale, self.seed = feature, cardinality, dim, scale, seed
        roles.declare(self, roles.embedding(feature))

    def build(self, input_shape: Any) -> None:
        def initial(shape: Any, dtype: Any = None) -> tf.Tensor:
            known = tf.random.stateless_normal([shape[0] - 1, shape[1]], [self.seed, 0], stddev=self.scale, dtype=dtype)
            return tf.concat([known, tf.zeros([1, shape[1]], dtype)], axis=0)

        self.table = self.add_weight("table", [self.cardinality + 1, self.dim], initializer=initial)
        super().build(input_shape)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.table, ids)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "feature": self.feature,
            "cardinality": self.cardinality,
            "dim": self.dim,
            "scale": self.scale,
            "seed": self.seed,
        }
