"""Several models taught to one, on rows that nobody has seen.

A network learns what others answer instead of labels (Hinton et al., "Distilling the knowledge in
a neural network", 2015): a mean of their logits, so that one model has what their mean has. On
the rows that they were trained on they answer what they remember. So each feature's value is, by a
coin, that of the row or of another one of the batch, which makes new rows of known values, as many
as are asked for.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models import ranker
from tff_process.client import work as work_lib

# Of AUC on `valid`, by how much one teacher is ahead where it counts for e times the other.
_WELL_AHEAD = 0.02

_plain = tf.autograph.experimental.do_not_convert


@_plain
def shares_of(scores: "Sequence[tf.Tensor]") -> tf.Tensor:
    """What each teacher's answers count for, by how well it does; float32 [teachers]: the softmax
    of scores over 0.02, so that equal ones count the same and what is far behind hardly does.

    Args:
      scores: of each teacher, AUC on `valid`, float64 scalars.
    """
    return tf.cast(tf.nn.softmax(tf.stack(scores) / _WELL_AHEAD), tf.float32)


@_plain
def mixed(
    batch: Mapping[str, tf.Tensor], schema: schema_lib.Schema, seed: tf.Tensor
) -> "dict[str, tf.Tensor]":
    """Rows of which each feature, a list or vector as a whole, is the row's own or that of the row
    before it; what is no feature is left as it is.

    Args:
      batch: see `pipeline.decode_blocks`.
      schema: of the rows.
      seed: int64 [2].
    """
    found = dict(batch)
    kinds = (("categorical", schema.id_places), ("numerical", schema.number_places))
    for number, (kind, places) in enumerate(kinds):
        own, key = batch[kind], seed + tf.constant([0, number << 32], tf.int64)
        coins = tf.random.stateless_uniform([tf.shape(own)[0], len(places)], key) < 0.5
        columns = [at for at, place in enumerate(places) for _ in range(place.start, place.stop)]
        taken = tf.gather(coins, tf.constant(columns, tf.int32), axis=1)
        found[kind] = tf.where(taken, tf.roll(own, 1, 0), own)
    return found


@_plain
def with_labels(batch: Mapping[str, tf.Tensor]) -> "dict[str, tf.Tensor]":
    """A batch of the form of `with_answers`, whose targets are its labels."""
    return {**batch, ranker.TARGETS: tf.cast(tf.equal(batch["labels"], 1), tf.float32)}


@_plain
def with_answers(
    model: work_lib.ClientModel,
    teachers: "Sequence[work_lib.Values]",
    shares: tf.Tensor,
    batch: Mapping[str, tf.Tensor],
    seed: tf.Tensor,
    serves: tf.Tensor,
) -> "dict[str, tf.Tensor]":
    """Mixed rows of a batch, whose targets are what the teachers answer on them. A row has targets
    of each task that the client has labels of, whether it has a label itself: of other tasks a
    teacher that was never sent anything answers at random.

    Args:
      model: left as it is.
      teachers: values of its variables by name, of each teacher the same ones.
      shares: float32 [teachers], what each one's logits count for in the mean; they add up to 1.
      batch: of labelled rows.
      seed: see `mixed`.
      serves: float32 [tasks], 1 where the client has labels of the task.
    """
    rows, learnt = mixed(batch, model.schema, seed), model.read(list(teachers[0]))
    answers = []
    for teacher in teachers:
        model.load(teacher)
        logits = model.network(rows, training=False)
        answers.append(tf.stack([logits[task.name] for task in model.schema.tasks], axis=1))
    model.load(learnt)
    mean = tf.tensordot(shares, tf.stack(answers), 1)
    absent = tf.cast(tf.equal(serves, 0.0), tf.uint8) * row_block.UNOBSERVED
    labels = tf.zeros_like(batch["labels"]) + absent
    return {**rows, "labels": labels, ranker.TARGETS: tf.sigmoid(mean)}
