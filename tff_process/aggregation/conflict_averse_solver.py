"""The simplex problem of conflict-averse coordination,
solved to rounding error by an interior point method.

With G the Gram matrix, b = G * average and r = c * sqrt(average' b), the problem is

    minimise f(w) = b'w + r * sqrt(w'Gw)   over w >= 0, sum(w) = 1,

convex, and not smooth where `Dw` is zero, which is where the best w lies when the updates hold each
other in balance. As a cone programme the root becomes a variable tau with `tau >= sqrt(w'Gw)`. With
a barrier of weight eta on both cones, its best tau for a given w is `tau(w) = eta / r + sqrt((eta /
r)^2 + w'Gw)`, so that what is left to minimise,

    f_eta(w) = b'w + r * tau(w) - eta * log(tau(w)) - eta * sum(log(w)),

is smooth and self-concordant. It is followed to eta -> 0 by Newton steps in the primal and the
multipliers z of `w >= 0` (the matrix then stays well scaled as weights go to zero), each as long as
lowers f_eta most among halvings of the whole step.

Every step proves how good it is: `u = Dw / tau(w)` has a length below 1, and so no w gives less
than the least element of `slope = b + r * Gw / tau(w)`. The solver stops where f(w) is within 1e-12
of the squared length of the mean update of that bound, or where eta has sunk a thousand times below
what that takes: then rounding of the Gram matrix itself is larger, which happens for a mean update
shorter than about a thousandth of the longest. 20 to 40 steps are usual, whatever the number of
clients.

References:
  Boyd and Vandenberghe, "Convex Optimization", 2004, chapter 11 (barriers, primal-dual steps,
  self-concordance); Alizadeh and Goldfarb, "Second-order cone programming", Mathematical
  Programming 95, 2003.
"""

import tensorflow as tf

MAX_STEPS = 100
_GAP = 1e-12
_BARRIER_FLOOR = 1e-3 * _GAP
_SHRINK = 0.1
# Newton's decrement, squared: below the first the barrier shrinks, below the second a whole step
# needs no search.
_CENTRED, _QUADRATIC = 1.0, 0.1
_HALVINGS = [2.0 ** (-1.5 * number) for number in range(20)]
_TO_THE_BOUNDARY = 0.95
# How far multipliers may be from `eta / w`, so that steps stay Newton's.
_OFF_CENTRE = 100.0
_RIDGE = 1e-14  # of a matrix with a unit diagonal, so that rounding cannot make it indefinite


@tf.function(
    input_signature=[tf.TensorSpec(shape, tf.float64) for shape in ([None, None], [None], [])],
    autograph=False,
)
def solve(gram: tf.Tensor, average: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
    """The coefficients t of `Dt = c * ||Dbar|| * u`, with u the solution of the dual problem: `Dw*
    / ||Dw*||` where that is defined.

    Args:
      gram: float64 [N, N], of the updates; N may be 0.
      average: float64 [N], the weights of the mean update Dbar, of sum 1.
      c: radius, 0 to below 1.

    Returns:
      float64 [N]; zeros where Dbar or c is zero.
    """
    clients = tf.cast(tf.size(average), tf.float64)
    longest = tf.reduce_max(
        tf.concat([tf.linalg.diag_part(gram), tf.zeros([1], tf.float64)], axis=0)
    )
    gram = gram / tf.where(longest > 0.0, longest, tf.ones_like(longest))
    toward_mean = tf.linalg.matvec(gram, average)
    natural = tf.maximum(tf.tensordot(average, toward_mean, 1), 0.0)
    exists = (natural > 0.0) & (c > 0.0)
    radius = tf.where(exists, c * tf.sqrt(natural), tf.ones_like(c))

    def length(eta: tf.Tensor, squared: tf.Tensor) -> tf.Tensor:
        return eta / radius + tf.sqrt(tf.square(eta / radius) + squared)

    def squared_length(weights: tf.Tensor, with_weights: tf.Tensor) -> tf.Tensor:
        return tf.maximum(tf.reduce_sum(weights * with_weights, axis=0), 0.0)

    def unfinished(
        weights: tf.Tensor,
        multipliers: tf.Tensor,
        eta: tf.Tensor,
        least_gap: tf.Tensor,
        best: tf.Tensor,
    ) -> tf.Tensor:
        del weights, multipliers, best
        return exists & (least_gap > _GAP * natural) & (eta * clients > _BARRIER_FLOOR * natural)

    def step(
        weights: tf.Tensor,
        multipliers: tf.Tensor,
        eta: tf.Tensor,
        least_gap: tf.Tensor,
        best: tf.Tensor,
    ) -> "tuple[tf.Tensor, ...]":
        with_weights = tf.linalg.matvec(gram, weights)
        squared = squared_length(weights, with_weights)
        tau = length(eta, squared)
        slope = toward_mean + radius / tau * with_weights
        gap = (
            tf.tensordot(weights, toward_mean, 1) + radius * tf.sqrt(squared) - tf.reduce_min(slope)
        )
        # A length that eta no longer touches is the length itself, to the last digit.
        settled = eta / radius < 1e-3 * tf.sqrt(squared)
        coefficients = weights * radius / tf.where(settled, tf.sqrt(squared), tau)
        best, least_gap = tf.where(gap < least_gap, coefficients, best), tf.minimum(gap, least_gap)
        # Newton's system for y = dw / w, with w'y = 0.
        multipliers = tf.clip_by_value(
            multipliers, eta / weights / _OFF_CENTRE, eta / weights * _OFF_CENTRE
        )
        curvature = gram - with_weights[:, tf.newaxis] * with_weights / (tau * (tau - eta / radius))
        matrix = radius / tau * weights[:, tf.newaxis] * curvature * weights
        matrix = tf.linalg.set_diag(
            matrix, tf.maximum(tf.linalg.diag_part(matrix), 0.0) + weights * multipliers
        )
        scale = tf.sqrt(tf.linalg.diag_part(matrix))
        unit = matrix / scale[:, tf.newaxis] / scale
        unit = tf.linalg.set_diag(unit, tf.linalg.diag_part(unit) + _RIDGE * (clients + 10.0))
        downhill = weights * (slope - tf.tensordot(weights, slope, 1)) - eta * (
            1.0 - clients * weights
        )
        sides = tf.stack([downhill, weights], axis=1) / scale[:, tf.newaxis]
        solved = tf.linalg.cholesky_solve(tf.linalg.cholesky(unit), sides) / scale[:, tf.newaxis]
        share = tf.tensordot(weights, solved[:, 0], 1) / tf.tensordot(weights, solved[:, 1], 1)
        move = share * solved[:, 1] - solved[:, 0]
        decrement = tf.tensordot(move, tf.linalg.matvec(matrix, move), 1) / eta
        next_multipliers = eta / weights - multipliers * move
        # How far: the multipliers to the boundary, the weights to where f_eta is least.
        farthest = _farthest(move)
        sizes = farthest * tf.constant(_HALVINGS, tf.float64)
        tried = weights[:, tf.newaxis] * (1.0 + move[:, tf.newaxis] * sizes)
        lengths = length(eta, squared_length(tried, tf.matmul(gram, tried)))
        values = tf.linalg.matvec(tried, toward_mean, transpose_a=True) + radius * lengths
        values -= eta * (
            tf.math.log(lengths / tau)
            + tf.reduce_sum(tf.math.log1p(move[:, tf.newaxis] * sizes), axis=0)
        )
        size = tf.where(decrement > _QUADRATIC, sizes[tf.argmin(values)], farthest)
        change = next_multipliers - multipliers
        multipliers += _farthest(change / multipliers) * change
        moved = weights * (1.0 + size * move)
        return (
            moved / tf.reduce_sum(moved),
            multipliers,
            tf.where(decrement < _CENTRED, _SHRINK * eta, eta),
            least_gap,
            best,
        )

    even = tf.ones_like(average) / clients
    initial = (
        even,
        tf.ones_like(average) * natural,
        natural / tf.maximum(clients, 1.0),
        tf.constant(float("inf"), tf.float64),
    )
    loop = tf.while_loop(
        unfinished,
        step,
        (*initial, tf.zeros_like(average)),
        maximum_iterations=MAX_STEPS,
        parallel_iterations=1,
    )
    return loop[-1]


def _farthest(relative: tf.Tensor) -> tf.Tensor:
    """The part of a step, at most all of it,
    by which no element loses more than `_TO_THE_BOUNDARY` of itself.
    """
    return tf.minimum(
        tf.ones([], tf.float64), _TO_THE_BOUNDARY / tf.maximum(-tf.reduce_min(relative), 1e-300)
    )
