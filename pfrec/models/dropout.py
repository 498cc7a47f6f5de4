"""Dropout whose mask is a function of a seed that travels with the batch."""

from typing import Any, Optional

import tensorflow as tf


@tf.keras.utils.register_keras_serializable("pfrec")
class SeededDropout(tf.keras.layers.Layer):
    """Inverted dropout (Srivastava et al., JMLR 2014) with a stateless mask.

    Keras's own layer holds a generator in a variable: a resumed run would have to restore it, and a client's mask would depend on how
    often its model was traced. Here the mask depends on the batch's seed and on this layer's index alone.

    Args:
      rate: the share of values set to zero; the others are divided by 1 - rate.
      index: tells this layer's mask from those of the other dropout layers.

    Call arguments:
      x: float32, any shape.
      seed: int64 [2], or None where nothing is dropped.
      training: whether to drop.
    """

    def __init__(self, rate: float, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.index = rate, index

    def call(self, x: tf.Tensor, seed: Optional[tf.Tensor] = None, training: Optional[bool] = None) -> tf.Tensor:
        if not training or self.rate == 0.0:
            return x
        if seed is None:
            raise ValueError(f"{self.name}: dropout {self.rate} needs a seed with each training batch")
        own = tf.random.experimental.stateless_fold_in(seed, tf.constant(self.index, tf.int64))
        return tf.nn.experimental.stateless_dropout(x, self.rate, own)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "index": self.index}
