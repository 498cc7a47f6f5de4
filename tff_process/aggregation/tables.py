"""Embedding tables of which every client has its own: a row follows its client's training as far as
the client's own rows bear it.

Formula, for row r of client k that meets it n[k, r] times in an epoch, as coarsely as it says, with
Delta[k] = W[k] - P[k]:
  `C[r] = step * sum over j of n[j, r] * Delta[j, r] / sum over j of n[j, r]`, what all have in
  common;
  `w[k, r] = n[k, r] / (n[k, r] + prior)`;
  `P'[k, r] = w[k, r] * W[k, r] + (1 - w[k, r]) * (P[k, r] + C[r])`.

w is `mix.own_weight`. What is mixed is how a row changes, from where its client had it: what it has
of its own is not pulled back to the others at every aggregation. A row that a client did not meet,
and every row of an absent client, goes with the others. With an endless prior all clients have one
table, averaged by rows seen; with a prior of almost nothing each has what it trained.
With a sharing q (`process.spread`) w is nearer to 1: `w + (1 - q) (1 - w)`; what was not met, of
which W is P, then goes the part q of the way.

[ours] The rule; the source of the paper that was at hand leaves open how tables are aggregated.
"""

import tensorflow as tf

from tff_process.aggregation import mix


def common_change(changes: tf.Tensor, seen: tf.Tensor, step: float) -> tf.Tensor:
    """C of the formula, 0 where nobody met a row.

    Args:
      changes: Delta, [N, V, d]; rows of clients that did not meet them take no part.
      seen: [N, V], not negative.
      step: how far to go.

    Returns:
      [V, d].
    """
    return step * mix.mean_by_rows_seen(changes, seen, tf.zeros_like(changes[0]))


def blend_rows(
    previous: tf.Tensor, trained: tf.Tensor, common: tf.Tensor, own: tf.Tensor
) -> tf.Tensor:
    """P' of the formula.

    Args:
      previous: P, [N, V, d].
      trained: W, [N, V, d]; whatever it is where `own` is 0.
      common: C, [V, d].
      own: w, [N, V].

    Returns:
      [N, V, d].
    """
    weight = own[:, :, tf.newaxis]
    # No sum of sums: two graphs of one may be optimised into different orders of adding.
    return tf.math.multiply_no_nan(trained, weight) + (1.0 - weight) * (previous + common)
