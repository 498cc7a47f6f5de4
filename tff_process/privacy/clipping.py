"""The sum of rows' gradients, each clipped as a whole: one row more or less changes it by at most
the clip.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.data.dataset import row_block
from pfrec.models.mmoe import per_example, per_example_first


@dataclasses.dataclass(frozen=True)
class Clipped:
    """What a batch came to.

    Attributes:
      sums: by variable (`tf.Variable.ref`), the sum of clipped gradients; that of a large table as
        `tf.IndexedSlices`, to be added up.
      moved: by variable, which of its rows can have a gradient, bool; None for all.
      met: by table, how much of the batch met each row of it, float32 [rows of the table]: one row
        of the batch adds at most its weight, over all rows of a table together.
      norms: float32 [rows], of each row's gradient before it was clipped; not finite for a row that
        is left out.
    """

    sums: "dict[Any, Any]"
    moved: "dict[Any, Any]"
    met: "dict[Any, tf.Tensor]"
    norms: tf.Tensor


@tf.autograph.experimental.do_not_convert
def clipped_sums(
    network: Any,
    batch: Mapping[str, tf.Tensor],
    clip: float,
    absent: "Collection[str]" = (),
    weights: "Optional[tf.Tensor]" = None,
    divisor: "tf.Tensor | float" = 1.0,
) -> Clipped:
    """The sum over a batch's rows of `a * g * min(1, clip / |g|)`, with g the gradient of the row's
    loss at all variables together and a the row's weight, 1 where there are none.

    A row's loss is the sum of the cross-entropies of its observed labels: it is divided by nothing
    that other rows decide. A row whose gradient is not finite counts as if it were not there.

    Args:
      network, absent: see `per_example.forward`.
      batch: features and `labels` of any number of rows.
      clip: C.
      weights: float32 [rows]; where those of some rows add up to at most 1, all of these together
        change the sum by at most C.
      divisor: what the sum is divided by.
    """
    with tf.GradientTape() as tape:
        logits, pieces = per_example.forward(network, batch, absent)
        loss = tf.reduce_sum(row_losses(logits, batch["labels"]))
    upstream = tape.gradient(
        loss, [p.output for p in pieces], unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    backward = [piece.backward(own) for piece, own in zip(pieces, upstream)]
    norms = tf.sqrt(tf.add_n([squares for squares, _ in backward]))
    factor = clip / tf.maximum(norms, clip) / divisor
    factor = factor if weights is None else factor * weights
    factor = tf.where(tf.math.is_finite(norms), factor, 0.0)[:, tf.newaxis]
    sums: dict[Any, Any] = {}
    moved: dict[Any, Any] = {}
    met: dict[Any, tf.Tensor] = {}
    for piece, (_, summed) in zip(pieces, backward):
        for variable, total in summed(factor):
            sums[variable.ref()] = total
            moved[variable.ref()] = piece.moved(variable)
        if isinstance(piece, per_example_first.FirstLayer):
            for own in piece.look_ups():
                met[own.table.ref()] = own.met(tf.ones_like(norms) if weights is None else weights)
    return Clipped(sums, moved, met, norms)


def row_losses(logits: Mapping[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
    """Each row's loss, float32 [rows].

    Args:
      logits: by task, in the order of the label columns.
      labels: uint8 [rows, tasks].
    """
    total = tf.zeros(tf.shape(labels)[:1])
    for number, logit in enumerate(logits.values()):
        own = labels[:, number]
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(
            tf.cast(tf.equal(own, 1), tf.float32), logit
        )
        total += tf.where(tf.not_equal(own, row_block.UNOBSERVED), entropy, 0.0)
    return total


def noised(
    found: Clipped,
    variable: Any,
    draw: "Callable[[Any], tf.Tensor]",
    chosen: "Optional[tf.Tensor]" = None,
) -> tf.Tensor:
    """The sum of clipped gradients at a variable with noise wherever a row could change it.

    Args:
      found: of a batch.
      variable: which one.
      draw: `shape -> noise`.
      chosen: int64, the variable's rows that take part; all others are 0; None for all.
    """
    total, moved = found.sums[variable.ref()], found.moved[variable.ref()]
    if chosen is not None:
        own = tf.gather(_added_up(total, variable), chosen)
        own += draw(tf.concat([tf.shape(chosen), variable.shape[1:].as_list()], axis=0))
        shape = tf.constant(variable.shape.as_list(), tf.int64)
        return tf.scatter_nd(chosen[:, tf.newaxis], own, shape)
    # Not before it is wanted: noise of all variables at once is as large as the model.
    with tf.control_dependencies([total.values if isinstance(total, tf.IndexedSlices) else total]):
        noise = draw(variable.shape)
    if moved is not None:
        noise *= tf.constant(moved[:, None], noise.dtype)
    if isinstance(total, tf.IndexedSlices):
        return tf.tensor_scatter_nd_add(noise, total.indices[:, tf.newaxis], total.values)
    return total + noise


def _added_up(total: Any, variable: Any) -> tf.Tensor:
    """A sum of `Clipped` in the shape of its variable."""
    if isinstance(total, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(total.values, total.indices, int(variable.shape[0]))
    return total
