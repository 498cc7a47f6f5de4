"""Coordinating updates that conflict:
each method gives coefficients u [N] of `U = sum over j of u[j] * Delta[j]`.

Only the Gram matrix of the updates is needed. The coefficients of absent clients are zero.

References:
  Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021 (CAGrad);
  Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020 (PCGrad).
"""

from typing import Optional

import tensorflow as tf

from tff_process.aggregation import conflict_averse_solver
from tff_process.aggregation import present as present_lib


def mean(present: tf.Tensor, weights: Optional[tf.Tensor] = None) -> tf.Tensor:
    """The coefficients of the (weighted) mean.

    Args:
      present: bool or number [N].
      weights: [N], not negative; without them every client counts alike.

    Returns:
      float64 [N], sums to 1; zero where nobody is present.
    """
    mask = present_lib.mask(present)
    share = tf.ones_like(mask, tf.float64) if weights is None else tf.cast(weights, tf.float64)
    share = tf.where(mask, share, tf.zeros_like(share))
    return tf.math.divide_no_nan(share, tf.reduce_sum(share))


def conflict_averse(
    gram: tf.Tensor, present: tf.Tensor, c: float, weights: Optional[tf.Tensor] = None
) -> tf.Tensor:
    """The update near the mean that serves the worst-served client best.

    Formula, with Dbar the (weighted) mean of the updates present: `w* = argmin over the simplex of
    (Dw)'Dbar + c * ||Dbar|| * ||Dw||`, `U = (Dbar + c * ||Dbar|| / ||Dw*|| * Dw*) / (1 + c^2)`.
    Hence `||(1 + c^2) * U - Dbar|| <= c * ||Dbar||`, and c = 0 is the mean.

    Clients that agree fully, and one client alone, give `(1 + c) / (1 + c^2) * Dbar`: the formula
    lengthens what it need not turn. Where Dw* is zero its direction is not defined; then the
    solution of the dual problem, `p = (1 + c^2) * U` that maximises the least `Delta[j]'p` in the
    ball of radius `c * ||Dbar||` around Dbar, is returned all the same: see
    `conflict_averse_solver`, which also says how exact it is.

    Args:
      gram: [N, N], of the updates.
      present: bool or number [N].
      c: radius, 0 to below 1.
      weights: [N], not negative, of the mean; without them every client counts alike.

    Returns:
      float64 [N].
    """
    average = present_lib.subvector(mean(present, weights), present)
    radius = tf.constant(c, tf.float64)
    towards = conflict_averse_solver.solve(present_lib.submatrix(gram, present), average, radius)
    return present_lib.spread((average + towards) / (1.0 + tf.square(radius)), present)


def pcgrad(gram: tf.Tensor, present: tf.Tensor, weights: Optional[tf.Tensor] = None) -> tf.Tensor:
    """The (weighted) mean of the updates after each gave up what it holds against the others.

    Update i, for every other client j in order of their numbers: where `v[i]'Delta[j] < 0`, `v[i]
    -= v[i]'Delta[j] / ||Delta[j]||^2 * Delta[j]`. The source draws the order at random; here it is
    fixed, so with three clients or more the result depends on their order.

    Args:
      gram: [N, N], of the updates.
      present: bool or number [N].
      weights: [N], not negative, of the mean; without them every client counts alike.

    Returns:
      float64 [N].
    """
    inner = present_lib.submatrix(gram, present)
    clients = tf.shape(inner)[0]
    start = tf.eye(clients, dtype=tf.float64)

    def project(j: tf.Tensor, held: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor]":
        against = tf.minimum(tf.linalg.matvec(held, inner[:, j]), 0.0)
        other = tf.one_hot(j, clients, dtype=tf.float64)
        excess = tf.math.divide_no_nan(against, inner[j, j]) * (1.0 - other)
        return j + 1, held - excess[:, tf.newaxis] * other[tf.newaxis, :]

    shapes = (tf.TensorShape([]), tf.TensorShape([None, None]))
    _, held = tf.while_loop(
        lambda j, _: j < clients,
        project,
        (0, start),
        shape_invariants=shapes,
        parallel_iterations=1,
    )
    average = present_lib.subvector(mean(present, weights), present)
    return present_lib.spread(tf.linalg.matvec(held, average, transpose_a=True), present)


def conflict_share(gram: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """The fraction of pairs of clients present whose updates have a negative cosine, float64;
    0 where there is no pair.
    """
    inner = present_lib.submatrix(gram, present)
    clients = tf.cast(tf.shape(inner)[0], tf.float64)
    # Both halves of the symmetric matrix hold each pair; a diagonal is never negative.
    return tf.math.divide_no_nan(
        tf.math.count_nonzero(inner < 0.0, dtype=tf.float64), clients * (clients - 1.0)
    )
