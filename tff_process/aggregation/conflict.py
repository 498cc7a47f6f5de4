"""Coordinating updates that conflict: each method gives coefficients u [N] of `U = sum over j of u[j] * Delta[j]`.

Only the Gram matrix of the updates is needed. The coefficients of absent clients are zero.

References:
  Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021 (CAGrad);
  Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020 (PCGrad);
  Kivinen and Warmuth, "Exponentiated Gradient versus Gradient Descent for Linear Predictors", 1997;
  Barzilai and Borwein, "Two-Point Step Size Gradient Methods", 1988; Grippo, Lampariello and Lucidi, 1986 (non-monotone acceptance).
"""

from typing import Callable, Optional

import tensorflow as tf

from tff_process.aggregation import present as present_lib

MAX_ITERATIONS = 20_000
# Of ||Dbar||^2: the solver stops where it is proven that the objective is no further than this from its least value.
_GAP = 1e-10
# Of squared lengths, with the longest update scaled to 1: below it a length is rounding error of the Gram matrix.
_SQUARED_LENGTH_FLOOR = 1e-16
_LEAST_LOG_WEIGHT = -200.0
_MEMORY = 8
_STEP_RANGE = (1e-6, 1e8)


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


def conflict_averse(gram: tf.Tensor, present: tf.Tensor, c: float, weights: Optional[tf.Tensor] = None) -> tf.Tensor:
    """The update near the mean that serves the worst-served client best.

    Formula, with Dbar the (weighted) mean of the updates present: `w* = argmin over the simplex of (Dw)'Dbar + c * ||Dbar|| * ||Dw||`,
    `U = (Dbar + c * ||Dbar|| / ||Dw*|| * Dw*) / (1 + c^2)`. Hence `||(1 + c^2) * U - Dbar|| <= c * ||Dbar||`, and c = 0 is the mean.

    Clients that agree fully, and one client alone, give `(1 + c) / (1 + c^2) * Dbar`: the formula lengthens what it need not turn. Where
    Dw* is zero its direction is not defined and the second term vanishes.

    The simplex problem is convex. It is solved by exponentiated gradient, with Barzilai-Borwein steps that must improve on the worst
    of the last few objectives, until the duality gap `w'slope - min(slope)`, an upper bound of what is left to gain, is below
    1e-10 * ||Dbar||^2, or for 20,000 steps: some tens for updates as they come, thousands for updates that are almost copies of one
    another (1e-3 apart), where the objective still comes within 1e-5 * ||Dbar||^2.

    Args:
      gram: [N, N], of the updates.
      present: bool or number [N].
      c: radius, 0 to below 1.
      weights: [N], not negative, of the mean; without them every client counts alike.

    Returns:
      float64 [N].
    """
    average = present_lib.subvector(mean(present, weights), present)
    return present_lib.spread(_conflict_averse(present_lib.submatrix(gram, present), average, tf.constant(c, tf.float64)), present)


@tf.function(input_signature=[tf.TensorSpec(shape, tf.float64) for shape in ([None, None], [None], [])], autograph=False)
def _conflict_averse(gram: tf.Tensor, average: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    longest = tf.reduce_max(tf.concat([tf.linalg.diag_part(gram), tf.zeros([1], tf.float64)], axis=0))
    gram /= tf.where(longest > 0.0, longest, tf.ones_like(longest))
    start = tf.ones_like(average) / tf.cast(tf.size(average), tf.float64)
    with_mean = tf.linalg.matvec(gram, average)
    radius = c * tf.sqrt(tf.maximum(tf.tensordot(average, with_mean, 1), 0.0))

    def length(weights: tf.Tensor, with_weights: tf.Tensor) -> tf.Tensor:
        return tf.sqrt(tf.maximum(tf.tensordot(weights, with_weights, 1), 0.0) + _SQUARED_LENGTH_FLOOR)

    def objective(weights: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor]":
        with_weights = tf.linalg.matvec(gram, weights)
        distance = length(weights, with_weights)
        return tf.tensordot(weights, with_mean, 1) + radius * distance, with_mean + radius * with_weights / distance

    weights = _minimise_on_simplex(objective, start, _GAP * tf.tensordot(average, with_mean, 1))
    return (average + radius / length(weights, tf.linalg.matvec(gram, weights)) * weights) / (1.0 + tf.square(c))


def _minimise_on_simplex(
    objective: "Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]", start: tf.Tensor, tolerance: tf.Tensor
) -> tf.Tensor:
    """Exponentiated gradient; `objective(weights)` gives the value to minimise and its gradient. Returns the best weights met."""

    def unfinished(log_weights: tf.Tensor, weights: tf.Tensor, slope: tf.Tensor, *rest: tf.Tensor) -> tf.Tensor:
        del log_weights, rest
        return tf.tensordot(weights, slope, 1) - tf.reduce_min(slope) > tolerance

    def step(
        log_weights: tf.Tensor,
        weights: tf.Tensor,
        slope: tf.Tensor,
        size: tf.Tensor,
        recent: tf.Tensor,
        best_weights: tf.Tensor,
        best_value: tf.Tensor,
    ) -> "tuple[tf.Tensor, ...]":
        moved = tf.maximum(tf.nn.log_softmax(log_weights - size * (slope - tf.reduce_min(slope))), _LEAST_LOG_WEIGHT)
        new_weights = tf.exp(moved)
        new_value, new_slope = objective(new_weights)
        shift = new_weights - weights
        accepted = new_value <= tf.reduce_max(recent) + 1e-4 * tf.tensordot(slope, shift, 1)
        # The mirror map's own secant equation: how far the logarithms moved, against how much the slope changed.
        travelled = tf.tensordot(shift, moved - log_weights, 1)
        curved = tf.tensordot(shift, new_slope - slope, 1)
        secant = tf.where(curved > 1e-18 * travelled, travelled / curved, 4.0 * size)
        next_size = tf.clip_by_value(tf.where(accepted, secant, 0.25 * size), *_STEP_RANGE)
        better = new_value < best_value
        best_weights, best_value = tf.where(better, new_weights, best_weights), tf.minimum(new_value, best_value)
        return (
            tf.where(accepted, moved, log_weights),
            tf.where(accepted, new_weights, weights),
            tf.where(accepted, new_slope, slope),
            next_size,
            tf.where(accepted, tf.concat([recent[1:], new_value[tf.newaxis]], axis=0), recent),
            best_weights,
            best_value,
        )

    value, slope = objective(start)
    initial = (tf.math.log(start), start, slope, tf.ones_like(value), tf.fill([_MEMORY], value), start, value)
    return tf.while_loop(unfinished, step, initial, maximum_iterations=MAX_ITERATIONS, parallel_iterations=1)[-2]


def pcgrad(gram: tf.Tensor, present: tf.Tensor, weights: Optional[tf.Tensor] = None) -> tf.Tensor:
    """The (weighted) mean of the updates after each gave up what it holds against the others.

    Update i, for every other client j in order of their numbers: where `v[i]'Delta[j] < 0`, `v[i] -= v[i]'Delta[j] / ||Delta[j]||^2 *
    Delta[j]`. The source draws the order at random; here it is fixed, so with three clients or more the result depends on their order.

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
    _, held = tf.while_loop(lambda j, _: j < clients, project, (0, start), shape_invariants=shapes, parallel_iterations=1)
    average = present_lib.subvector(mean(present, weights), present)
    return present_lib.spread(tf.linalg.matvec(held, average, transpose_a=True), present)


def conflict_share(gram: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """The fraction of pairs of clients present whose updates have a negative cosine, float64; 0 where there is no pair."""
    inner = present_lib.submatrix(gram, present)
    clients = tf.cast(tf.shape(inner)[0], tf.float64)
    # Both halves of the symmetric matrix hold each pair; a diagonal is never negative.
    return tf.math.divide_no_nan(tf.math.count_nonzero(inner < 0.0, dtype=tf.float64), clients * (clients - 1.0))
