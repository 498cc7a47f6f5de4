"""Target attention over a list of values, as in the Deep Interest Network (DIN).

References:
  Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding, roles

UNITS = 16  # of the hidden layer that scores a value


@tf.keras.utils.register_keras_serializable("pfrec")
class TargetAttention(tf.keras.layers.Layer):
    """A list's embedding as a weighted mean of its values' embeddings, by how they fit the target.

    Formula: for values `v` of a row with target `q`, `s[v] = w @ relu(W [q, v, q - v, q * v] + b)`
      and `y = sum over v of softmax(s)[v] * v`; zero where the list is empty.
    [ours] The weights of a row add up to one, so that the embedding does not grow with the list,
    and `w` starts at zero, so that training starts from the mean.

    Args:
      feature: the name of the list.
      seed: of the initial values.

    Call arguments:
      target: float32 [rows, dim].
      ids: int32 or int64 [rows, values], `schema.NO_VALUE` where there is no further value.
      table: [ids, dim], of target and values.

    Returns:
      float32 [rows, dim].
    """

    def __init__(self, feature: str, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feature, self.seed = feature, seed
        roles.declare(self, roles.attention(feature))
        self.hidden = tf.keras.layers.Dense(
            UNITS,
            activation="relu",
            kernel_initializer=tf.keras.initializers.GlorotUniform(seed=seed),
            name="hidden",
        )
        self.score = tf.keras.layers.Dense(
            1, use_bias=False, kernel_initializer="zeros", name="score"
        )

    def call(self, target: tf.Tensor, ids: tf.Tensor, table: Any) -> tf.Tensor:
        # Value by value of all rows: of places without one nothing is read, so that the gradient
        # has no row for them.
        places = tf.where(tf.not_equal(ids, schema_lib.NO_VALUE))
        rows, count = places[:, 0], tf.shape(ids)[0]
        values = tf.cast(tf.gather(table, tf.gather_nd(ids, places)), tf.float32)
        own = tf.gather(target, rows)
        scores = self.score(
            self.hidden(tf.concat([own, values, own - values, own * values], axis=1))
        )[:, 0]
        highest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, rows, count))
        weights = tf.exp(scores - tf.gather(highest, rows))[:, tf.newaxis]
        total = tf.math.unsorted_segment_sum(weights, rows, count)
        return tf.math.unsorted_segment_sum(weights * values, rows, count) / tf.maximum(total, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "feature": self.feature, "seed": self.seed}


def layers(schema: schema_lib.Schema, next_seed: Callable[[], int]) -> "dict[str, TargetAttention]":
    """The attention of each feature that has one, by the feature's name."""
    return {
        f.name: TargetAttention(f.name, next_seed(), name=f"attention_{f.name}")
        for f in schema.categorical
        if f.pooling == schema_lib.ATTENTION
    }


def pooled(
    attention: Mapping[str, TargetAttention],
    embeddings: Sequence[embedding.FeatureEmbedding],
    ids: tf.Tensor,
    schema: schema_lib.Schema,
) -> "dict[int, tf.Tensor]":
    """The embeddings of the features with attention, float32 [rows, dim] each, by their place in
    the schema.

    Args:
      attention: of `layers`.
      embeddings: of all features, in order, with their tables.
      ids: int32 [rows, `schema.id_columns`].
      schema: of the features.
    """
    names, places = [f.name for f in schema.categorical], schema.id_places
    found = {}
    for place, feature in enumerate(schema.categorical):
        if feature.name in attention:
            table = embeddings[place].table
            target = embedding.look_up(table, ids[:, places[names.index(feature.table)].start])
            found[place] = attention[feature.name](
                tf.cast(target, tf.float32), ids[:, places[place]], table
            )
    return found


def looked_up(
    embeddings: Sequence[embedding.FeatureEmbedding],
    attention: Mapping[str, TargetAttention],
    ids: tf.Tensor,
    schema: schema_lib.Schema,
) -> "list[tf.Tensor]":
    """The embedding of each categorical feature of some rows, float32 [rows, dim]; arguments as in
    `pooled`.
    """
    own = embedding.ids_by_feature(ids, schema)
    # The tables first: a first call makes them, each in its layer's own scope of names.
    found = {
        place: layer(own[place])
        for place, (layer, feature) in enumerate(zip(embeddings, schema.categorical))
        if feature.name not in attention
    }
    found.update(pooled(attention, embeddings, ids, schema))
    return [found[place] for place in range(len(embeddings))]
