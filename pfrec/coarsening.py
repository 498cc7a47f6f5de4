"""What a client says in numbers, made coarse before it leaves: counts,
losses and metrics tell what they are for and not more.

Exact counts are measurements of single rows: from counts of every aggregation step, in an order of
rows that the server knew, rows could be read off (`benchmarks/reconstruct_rows.py`). All of this
runs in the client's own computation.
"""

import tensorflow as tf

from pfrec import metrics

# Ids that a client met less often than this are told from those that it never met by nothing that
# it says.
FLOOR = 8
LOSS_DECIMALS, METRIC_DECIMALS = 3, 4
# A larger loss is said to be this: of a model that a server chose, one number without bounds says
# as much as its digits hold of single rows.
LARGEST_LOSS = 100.0
_LARGEST_POWER = 40


def row_count(count: int) -> int:
    """A number of rows, not negative, rounded down to two significant digits: 12,345 to 12,000,
    99 to 99.
    """
    unit = 10 ** max(0, len(str(count)) - 2)
    return count // unit * unit


def row_counts(counts: tf.Tensor) -> tf.Tensor:
    """`row_count` of every element, as graph operations; not negative, below 10^15,
    of any shape and number type.
    """
    exact = tf.cast(counts, tf.int64)
    unit = tf.ones_like(exact)
    for power in range(1, 14):
        unit = tf.where(exact >= 10 ** (power + 1), tf.constant(10**power, tf.int64), unit)
    return tf.cast(exact // unit * unit, counts.dtype)


def id_counts(counts: tf.Tensor) -> tf.Tensor:
    """How often each id was met, as the largest power of two that is not more, and 0 below `FLOOR`.

    Args:
      counts: int32 or int64, not negative, any shape.

    Returns:
      float32 of the same shape.
    """
    powers = [2**exponent for exponent in range(FLOOR.bit_length() - 1, _LARGEST_POWER)]
    steps = tf.constant([0, *powers], tf.int64)
    place = tf.searchsorted(steps[1:], tf.reshape(tf.cast(counts, tf.int64), [-1]), side="right")
    return tf.cast(tf.reshape(tf.gather(steps, place), tf.shape(counts)), tf.float32)


def loss(value: tf.Tensor) -> tf.Tensor:
    """A loss to three decimals, at most `LARGEST_LOSS`; what is not finite stays so."""
    return _rounded(_bounded(value), LOSS_DECIMALS)


def evaluated(values: tf.Tensor) -> tf.Tensor:
    """Metrics to four decimals, the log loss at most `LARGEST_LOSS`; positives and negatives, of
    which `rows` is the sum, to two significant digits.

    Args:
      values: [..., metrics], in the order of `metrics.METRICS`.

    Returns:
      the same shape and type. Where there were rows of both classes there still are.
    """
    by_name = dict(zip(metrics.METRICS, tf.unstack(values, axis=-1)))
    by_name["logloss"] = _bounded(by_name["logloss"])
    positives = row_counts(by_name["positives"])
    negatives = row_counts(by_name["rows"] - by_name["positives"])
    made = {name: _rounded(value, METRIC_DECIMALS) for name, value in by_name.items()}
    made.update(positives=positives, rows=positives + negatives)
    return tf.stack([made[name] for name in metrics.METRICS], axis=-1)


def _bounded(value: tf.Tensor) -> tf.Tensor:
    largest = tf.constant(LARGEST_LOSS, value.dtype)
    return tf.where(tf.math.is_finite(value), tf.minimum(value, largest), value)


def _rounded(value: tf.Tensor, decimals: int) -> tf.Tensor:
    scale = tf.constant(10.0**decimals, value.dtype)
    return tf.round(value * scale) / scale
