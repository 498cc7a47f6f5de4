"""The loss of a multi-task model, through TensorFlow Recommenders."""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf
import tensorflow_recommenders as tfrs

from pfrec.data.dataset import row_block

TASK_WEIGHTS, POSITIVE_WEIGHTS = "task_weights", "positive_weights"
TARGETS = "targets"


def row_weights(inputs: Mapping[str, tf.Tensor], task: int, labels: tf.Tensor) -> tf.Tensor:
    """What the loss of each row is multiplied by, float32 [rows] or of a shape that is broadcast to
    it.

    Args:
      inputs: of `MultiTaskRanker.compute_loss`.
      task: the number of the task.
      labels: [rows], 1 where a row is positive.
    """
    weight = inputs.get("weight", tf.constant(1.0))
    if TASK_WEIGHTS in inputs:
        weight *= inputs[TASK_WEIGHTS][..., task]
    if POSITIVE_WEIGHTS in inputs:
        own = inputs[POSITIVE_WEIGHTS][..., task]
        weight *= tf.where(tf.equal(labels, 1), own, 1.0)
    return weight


class MultiTaskRanker(tfrs.Model):
    """A network with one `tfrs.tasks.Ranking` per task; the same class serves pooled,
    local and federated training.

    Formula: the loss is the sum over tasks of the mean binary cross-entropy over the rows whose
      label is observed, each row and task times its weight where there are weights (the mean
      still divides by the number of rows); a task with no observed row in a batch adds nothing.

    Args:
      network: maps a batch's features to `{task: logits [rows]}`, as `mmoe.MMoE`.
      tasks: names of the tasks, in the order of the label columns.
    """

    def __init__(self, network: tf.keras.Model, tasks: "list[str]", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.ranking = {
            task: tfrs.tasks.Ranking(
                loss=tf.keras.losses.BinaryCrossentropy(from_logits=True), name=f"ranking_{task}"
            )
            for task in tasks
        }

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        return self.network(inputs, training=training)

    def compute_loss(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The loss of a batch.

        Args:
          inputs: the network's inputs and `labels`, uint8 [rows, tasks], `row_block.UNOBSERVED`
            where a label is not observed; where there are any, `weight`, float32 [rows], and
            `task_weights` and `positive_weights`, float32 [tasks] or [rows, tasks]: what a row's
            loss is multiplied by, a task's, and a positive row's besides; and `targets`, float32
            [rows, tasks], probabilities to learn in place of observed labels.
          training: whether batch statistics and dropout are those of training.

        Returns:
          float32 scalar.
        """
        logits = self(inputs, training=training)
        total = tf.constant(0.0)
        for number, (task, ranking) in enumerate(self.ranking.items()):
            labels = inputs["labels"][:, number]
            observed = tf.cast(tf.not_equal(labels, row_block.UNOBSERVED), tf.float32)
            rows = tf.cast(tf.size(labels), tf.float32)
            # Keras divides by all rows: the weight makes that a division by the observed ones.
            # (`tf.equal`, not `==`: inside a TFF computation that is Python identity.)
            weight = observed * rows / tf.maximum(tf.reduce_sum(observed), 1.0)
            weight *= row_weights(inputs, number, labels)
            target = tf.cast(tf.equal(labels, 1), tf.float32)
            if TARGETS in inputs:
                target = inputs[TARGETS][:, number]
            total += ranking(
                target[:, tf.newaxis],
                logits[task][:, tf.newaxis],
                sample_weight=weight,
                training=training,
                compute_metrics=False,
            )
        return total
