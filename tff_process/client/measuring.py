"""How good a client's model is on its own rows: pure TensorFlow, without TFF."""

from collections.abc import Callable

import tensorflow as tf

from pfrec import evaluation
from tff_process.client import work


def evaluate(
    model: work.ClientModel, incoming: work.Values, private: work.Values, shards: tf.Tensor
) -> tf.Tensor:
    """Metrics of the client's model on all rows of some shards.

    What the private state holds under a variable's own name goes over what was received, as it does
    wherever a run's model is loaded.

    Returns:
      float64 [tasks, metrics], in the order of `metrics.METRICS`.
    """
    evaluator = evaluation.Evaluator(model.network, model.schema)

    @tf.function
    def run() -> tf.Tensor:
        model.load(incoming)
        model.load({name: value for name, value in private.items() if name in model.variables})
        return evaluator(shards)

    return run()


def evaluate_each(
    model: work.ClientModel,
    incoming: work.Values,
    private: work.Values,
    shards: tf.Tensor,
    models: tf.Tensor,
    values_of: "Callable[[tf.Tensor], work.Values]",
) -> tf.Tensor:
    """`evaluate` of several models on rows that are read once.

    Args:
      model, incoming, private, shards: see `evaluate`.
      models: how many there are, an int32 scalar.
      values_of: what a model, by its number, has in place of what was received, by name: the same
        names for all.

    Returns:
      float64 [models, tasks, metrics].
    """
    evaluator = evaluation.Evaluator(model.network, model.schema)
    own = {name: value for name, value in private.items() if name in model.variables}

    def load(number: tf.Tensor) -> None:
        model.load({k: value for k, value in values_of(number).items() if k not in own})

    @tf.function
    def run() -> tf.Tensor:
        model.load(incoming)
        model.load(own)
        return evaluator.each(shards, models, load)

    return run()
