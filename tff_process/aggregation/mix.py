"""Joining the clients' values along their axis."""

import collections
from collections.abc import Mapping
from typing import Union

import tensorflow as tf


def flat(values: tf.Tensor) -> tf.Tensor:
    """Values [N, ...] shaped [N, numbers of each client].

    Shapes are constants of the graph where they are known: to compute them was a third of the
    aggregation's operations.
    """
    values = tf.convert_to_tensor(values)
    clients = tf.shape(values)[0] if values.shape[0] is None else values.shape[0]
    return tf.reshape(values, [clients, values.shape[1:].num_elements()])


def broadcast_like(vector: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """A vector [N] shaped [N, 1, ..., 1] to broadcast against `like` [N, ...]."""
    return tf.reshape(vector, [-1] + [1] * (len(like.shape) - 1))


def _shares(weights: tf.Tensor) -> tf.Tensor:
    precise = tf.cast(weights, tf.float64)
    return precise / tf.reduce_sum(precise, axis=0)


def weighted_mean(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The weighted mean over clients; values of weight 0 take no part, whatever they are.

    Args:
      values: [N, ...].
      weights: [N], not negative, at least one above 0 (else the result is NaN).

    Returns:
      [...], of the type of the values.
    """
    share = tf.cast(_shares(weights), values.dtype)
    return tf.reduce_sum(tf.math.multiply_no_nan(values, broadcast_like(share, values)), axis=0)


def mean_by_rows_seen(values: tf.Tensor, seen: tf.Tensor, previous: tf.Tensor) -> tf.Tensor:
    """The mean of embedding tables over clients, each row weighted by how often each client saw it.

    Args:
      values: [N, V, d].
      seen: [N, V], not negative.
      previous: [V, d]; kept where nobody saw a row.

    Returns:
      [V, d].
    """
    share = tf.cast(_shares(seen), values.dtype)[:, :, tf.newaxis]
    anyone = tf.reduce_any(seen > 0, axis=0)[:, tf.newaxis]
    return tf.where(anyone, tf.reduce_sum(tf.math.multiply_no_nan(values, share), axis=0), previous)


def combine(matrix: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Linear combinations of the clients' values.

    Args:
      matrix: [K, N].
      values: [N, ...].

    Returns:
      [K, ...], of the type of the values.
    """
    joined = tf.matmul(tf.cast(matrix, values.dtype), flat(values))
    rows = tf.shape(matrix)[0] if matrix.shape[0] is None else matrix.shape[0]
    return tf.reshape(joined, [rows, *values.shape[1:]])


def among(weights: tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """Rows of weights over clients, with those of other than `members` spread over these.

    Args:
      weights: [K, N], rows that add up to 1.
      members: bool [N].

    Returns:
      [K, N]; the weights as they are where all are members of what they give weight to, and where
      a row gives weight to no member.
    """
    kept = weights * tf.cast(members, weights.dtype)
    sums = tf.reduce_sum(kept, axis=1, keepdims=True)
    whole = tf.reduce_all(tf.equal(kept, weights), axis=1, keepdims=True)
    return tf.where(whole | tf.equal(sums, 0), weights, tf.math.divide_no_nan(kept, sums))


def personalise(
    local: tf.Tensor, attended: tf.Tensor, mu: "Union[float, tf.Tensor]", present: tf.Tensor
) -> tf.Tensor:
    """`(1 - mu) * local + mu * attended` for the clients present;
    an absent client keeps its `local`.

    Args:
      local: [N, ...], W of the clients present; for an absent client, what it is to keep.
      attended: [N, ...], what the aggregation offers each client.
      mu: how much of it each client takes, a scalar or [N].
      present: bool or number [N].

    Returns:
      [N, ...].
    """
    # `tf.cast` would take a Python number through float32.
    portion = tf.cast(mu, local.dtype) if tf.is_tensor(mu) else tf.constant(mu, local.dtype)
    if portion.shape.rank != 0:
        portion = broadcast_like(portion, local)
    return tf.where(
        broadcast_like(tf.cast(present, tf.bool), local),
        (1.0 - portion) * local + portion * attended,
        local,
    )


def own_weight(count: tf.Tensor, prior: float) -> tf.Tensor:
    """How far a client's own training counts against what others bring: `count / (count + prior)`.

    It is the weight that a mean of so many observations has against a prior that is worth `prior`
    of them.

    Args:
      count: [...], rows that the client trained on, not negative.
      prior: above 0, in the unit of `count`.

    Returns:
      [...], 0 to below 1.

    References:
      Efron and Morris, "Data Analysis Using Stein's Estimator and its Generalizations", JASA 1975.
    """
    return count / (count + prior)


def interpolate(
    previous: "Mapping[str, tf.Tensor]", target: "Mapping[str, tf.Tensor]", step: float
) -> "collections.OrderedDict[str, tf.Tensor]":
    """`previous + step * (target - previous)`, by name; with a step of 1 the target as it is.

    Args:
      previous: values of any shapes.
      target: of the same names and shapes.
      step: above 0 to 1.
    """
    if step == 1.0:
        return collections.OrderedDict(target)
    return collections.OrderedDict(
        (name, previous[name] + step * (value - previous[name])) for name, value in target.items()
    )
