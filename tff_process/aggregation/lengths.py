"""A joined update as long as the clients' own, while training begins.

Updates of different clients stand nearly at right angles, noise being most of them, so the mean of
N is shorter than each by the root of N. Adam's first steps are all about as long as its rate,
wherever they go: what is aggregated is then slower than a client alone, and with few rows the first
epoch is lost.

Formula, for a joined update `J = sum over j of u[j] Delta[j]`, of which the Gram matrix H holds the
length, `||J||^2 = u' H u`:
  `r = min(root of N, max(1, root of (sum of n[j] ||Delta[j]||^2 / sum of n[j]) / ||J||))`
over the N clients that take part. Where all go the same way r is 1, where they stand at right
angles it is the root of N. Row r of a table is joined over the clients that met it, n[j, r] times
each, and m[r] of them in effect: `m[r] = (sum of n[j, r])^2 / sum of n[j, r]^2`, whose root stands
for r, as if updates of rows always stood at right angles. J and the change of the row are
multiplied by `r^e` and `m[r]^(e / 2)`, with `e = max(0, 1 - t / T)` after t rows of a client: in
the end the mean is what is wanted, whose noise is less.

References:
  Jhunjhunwala et al., "FedExP: Speeding Up Federated Averaging via Extrapolation", ICLR 2023 (a
  step by the same two lengths); Kish, "Survey Sampling", 1965 (m).
"""

import tensorflow as tf


def beginning(rows: tf.Tensor, whole: float) -> tf.Tensor:
    """e of the formula, 1 to 0, float32 scalar.

    Args:
      rows: t, float32 scalar.
      whole: T, above 0.
    """
    return tf.clip_by_value(1.0 - rows / whole, 0.0, 1.0)


def lengthening(
    gram: tf.Tensor, joined: tf.Tensor, rows: tf.Tensor, members: tf.Tensor, power: tf.Tensor
) -> tf.Tensor:
    """`r^e` of the formula, float64 [K].

    Args:
      gram: H, float64 [N, N], finite.
      joined: u of K joined updates, [K, N], 0 for clients that take no part.
      rows: n, [N].
      members: bool or number [N], who takes part.
      power: e, a scalar.
    """
    taking = tf.cast(tf.cast(members, tf.bool), tf.float64)
    counted = taking * tf.cast(rows, tf.float64)
    mean = tf.math.divide_no_nan(
        tf.reduce_sum(counted * tf.linalg.diag_part(gram)), tf.reduce_sum(counted)
    )
    by = tf.cast(joined, tf.float64)
    square = tf.reduce_sum(tf.matmul(by, gram) * by, axis=1)
    longest = tf.maximum(tf.reduce_sum(taking), 1.0)
    ratio = tf.math.divide_no_nan(mean, tf.maximum(square, 0.0))
    return tf.pow(tf.clip_by_value(ratio, 1.0, longest), 0.5 * tf.cast(power, tf.float64))


def lengthening_of_rows(seen: tf.Tensor, power: tf.Tensor) -> tf.Tensor:
    """`m[r]^(e / 2)` of the formula, 1 where nobody met a row, float32 [V].

    Args:
      seen: n[j, r], float32 [N, V], not negative.
      power: e, a scalar.
    """
    many = tf.math.divide_no_nan(
        tf.square(tf.reduce_sum(seen, axis=0)), tf.reduce_sum(tf.square(seen), axis=0)
    )
    return tf.pow(tf.maximum(many, 1.0), 0.5 * power)
