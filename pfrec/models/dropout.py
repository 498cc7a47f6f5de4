"""Dropout whose mask is a function of a seed that travels with the batch."""

from typing import Any, Optional

import tensorflow as tf

# An odd constant whose multiples are spread over all int64 (the golden ratio's fraction in 64
# bits), so that layers' seeds do not meet.
_SPREAD = 0x9E3779B97F4A7C15


def keep_mask(seed: tf.Tensor, index: int, rows: tf.Tensor, width: int, rate: float) -> tf.Tensor:
    """Which values dropout keeps.

    Drawing the random numbers is most of what dropout costs, so a value takes 8 bits instead of a
    float: it is dropped where its byte lies below a threshold, `floor(256 rate)` or one more, drawn
    once per mask such that every value is dropped with probability `rate` exactly (to 2^-32).

    Args:
      seed: int64 [2], of the batch.
      index: of the layer.
      rows: how many.
      width: values of a row.
      rate: the share to drop.

    Returns:
      bool [rows, width].
    """
    shift = (index * _SPREAD) % 2**64
    own = seed + tf.constant([shift - 2**64 if shift >= 2**63 else shift, 0], tf.int64)
    words = -(-width // 4)
    drawn = tf.random.stateless_uniform([rows, words], own, None, None, tf.uint32)
    octets = tf.reshape(tf.bitcast(drawn, tf.uint8), [rows, 4 * words])
    whole = int(256 * rate)
    # The second half of a seed counts steps: this is beyond any of them.
    chance = tf.random.stateless_uniform([], own + tf.constant([0, 2**62], tf.int64))
    threshold = whole + tf.cast(chance < 256 * rate - whole, tf.int32)
    return (octets if width == 4 * words else octets[:, :width]) >= tf.cast(threshold, tf.uint8)


@tf.keras.utils.register_keras_serializable("pfrec")
class SeededDropout(tf.keras.layers.Layer):
    """Inverted dropout (Srivastava et al., JMLR 2014) with a stateless mask.

    Keras's own layer holds a generator in a variable: a resumed run would have to restore it, and a
    client's mask would depend on how often its model was traced. Here the mask depends on the
    batch's seed and on this layer's index alone.

    Args:
      rate: the share of values set to zero; the others are divided by 1 - rate.
      index: tells this layer's mask from those of the other dropout layers.

    Call arguments:
      x: float32, any shape whose last dimension is known.
      seed: int64 [2], or None where nothing is dropped.
      training: whether to drop.
    """

    def __init__(self, rate: float, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate, self.index = rate, index

    def call(
        self, x: tf.Tensor, seed: Optional[tf.Tensor] = None, training: Optional[bool] = None
    ) -> tf.Tensor:
        if not self.drops(training):
            return x
        keep = self.keep(seed, tf.size(x) // x.shape[-1], x.shape[-1])
        return tf.where(tf.reshape(keep, tf.shape(x)), x / (1.0 - self.rate), 0.0)

    def drops(self, training: Optional[bool]) -> bool:
        """Whether anything is dropped."""
        return bool(training) and self.rate > 0.0

    def keep(self, seed: Optional[tf.Tensor], rows: tf.Tensor, width: int) -> tf.Tensor:
        """The mask, bool [rows, width]; see `keep_mask`."""
        if seed is None:
            raise ValueError(
                f"{self.name}: dropout {self.rate} needs a seed with each training batch"
            )
        return keep_mask(seed, self.index, rows, width, self.rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate, "index": self.index}
