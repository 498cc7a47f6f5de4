"""The Gram matrix of the clients' updates:
all that coordination and attention need to know of them.
"""

from collections.abc import Sequence

import tensorflow as tf

from tff_process.aggregation import mix


def gram(deltas: "Sequence[tf.Tensor]") -> tf.Tensor:
    """Inner products of the clients' updates, over all variables of a role together.

    Args:
      deltas: of each variable the updates stacked along a client axis, [N, ...].

    Returns:
      float64 [N, N], symmetric.

    Raises:
      ValueError: where there are no variables.
    """
    parts = []
    for delta in deltas:
        flat = tf.cast(mix.flat(delta), tf.float64)
        parts.append(tf.matmul(flat, flat, transpose_b=True))
    total = tf.add_n(parts)
    return 0.5 * (total + tf.transpose(total))


def norms(gram: tf.Tensor) -> tf.Tensor:
    """Lengths of the updates, float64 [N], of their Gram matrix [N, N]."""
    return tf.sqrt(tf.maximum(tf.linalg.diag_part(gram), 0.0))


def cosine(gram: tf.Tensor) -> tf.Tensor:
    """Cosines of the angles between the updates, float64 [N, N] in -1 to 1;
    0 where an update is zero, its own place included.
    """
    length = norms(gram)
    scaled = tf.math.divide_no_nan(
        tf.math.divide_no_nan(gram, length[:, tf.newaxis]), length[tf.newaxis, :]
    )
    return tf.clip_by_value(scaled, -1.0, 1.0)
