"""ESMM: a conversion is learned on all rows as the product of the click and the conversion given a
click.

References:
  Ma et al., "Entire Space Multi-Task Model: An Effective Approach for Estimating Post-Click
  Conversion Rate", SIGIR 2018.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models import ranker
from pfrec.models.pooled import base as pooled
from pfrec.models.pooled import chain

# Of a log probability: keeps log(1 - p) finite.
_LEAST_GAP = 1e-7


def joint_log_probability(logits: "list[tf.Tensor]") -> tf.Tensor:
    """`log` of the product of probabilities given as logits, float32 [rows]."""
    return tf.add_n([tf.math.log_sigmoid(logit) for logit in logits])


class ESMMRanker(ranker.MultiTaskRanker):
    """Trains a network over the entire space.

    Formula, for task t with the tasks a1, a2, ... that it is given in turn: `p = p[t] * p[a1] *
    ...`; its loss is the mean binary cross-entropy of p over all rows where it is known whether t
    and all of these are positive: 1 where all are, 0 where one is not.

    A task that is given none is trained as always: without a chain ESMM is separate bottoms over
    shared tables.
    """

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        logits, schema = self(inputs, training=training), self.network.schema
        columns = dict(
            zip(self.ranking, tf.unstack(inputs["labels"], num=len(self.ranking), axis=1))
        )
        total = tf.constant(0.0)
        for number, task in enumerate(self.ranking):
            path = [task, *chain.ancestors(schema, task)]
            ones = tf.stack([tf.equal(columns[name], 1) for name in path])
            zeros = tf.stack([tf.equal(columns[name], 0) for name in path])
            positive, negative = tf.reduce_all(ones, axis=0), tf.reduce_any(zeros, axis=0)
            log_p = tf.minimum(joint_log_probability([logits[name] for name in path]), -_LEAST_GAP)
            losses = tf.where(
                positive, -log_p, tf.where(negative, -tf.math.log(-tf.math.expm1(log_p)), 0.0)
            )
            losses *= ranker.row_weights(inputs, number, tf.cast(positive, tf.uint8))
            known = tf.cast(positive | negative, tf.float32)
            total += tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(known), 1.0)
        return total


@tf.keras.utils.register_keras_serializable("pfrec")
class ESMM(pooled.PooledModel):
    """A bottom and a tower for each task over shared embeddings; `ESMMRanker` trains it.

    The logits are those of each task given the ones before it, as everywhere. The bottoms together
    have about the weights of the MMoE's experts.

    Arguments and result: see `pooled.PooledModel`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        units = pooled.widened(
            self.width, self.config.expert_units, self.config.experts / len(self.tasks)
        )
        self.bottoms = {
            task: self.block(number, units, f"bottom_{task}")
            for number, task in enumerate(self.tasks)
        }
        self.towers = {task: self.tower(task) for task in self.tasks}

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        x, seed = self.features(inputs, training), inputs.get("dropout_seed")
        return {
            task: self.towers[task](
                pooled.hidden(self.bottoms[task], x, inputs, training),
                dropout_seed=seed,
                training=training,
            )
            for task in self.tasks
        }

    def make_ranker(self) -> ranker.MultiTaskRanker:
        return ESMMRanker(self, self.tasks)
