"""The peer of `peers.py` that is TensorFlow Federated's own FedAvg process.

A module of its own, as what it names makes TFF import all of its learning algorithms, which none
of the others needs or is to be charged with.
"""

import collections
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.process import keras_in_tff


class _TffModel(tff.learning.models.VariableModel):
    """The model as TFF's learning processes want it."""

    def __init__(self, schema: Any, shape: ModelConfig, spec: Any, tasks: "list[str]") -> None:
        self._network = mmoe.build(schema, shape, 0)
        self._ranker = ranker.MultiTaskRanker(self._network, tasks)
        self._spec = spec

    @property
    def trainable_variables(self) -> Any:
        return self._network.trainable_variables

    @property
    def non_trainable_variables(self) -> Any:
        return self._network.non_trainable_variables

    @property
    def local_variables(self) -> Any:
        return []

    @property
    def input_spec(self) -> Any:
        return self._spec

    @tf.function
    def predict_on_batch(self, batch_input: Any, training: bool = True) -> Any:
        return self._network(batch_input, training=training)

    @tf.function
    def forward_pass(self, batch_input: Any, training: bool = True) -> Any:
        loss = self._ranker.compute_loss(batch_input, training=training)
        count = tf.shape(batch_input["labels"])[0]
        return tff.learning.models.BatchOutput(loss=loss, predictions=(), num_examples=count)

    @tf.function
    def report_local_unfinalized_metrics(self) -> Any:
        return collections.OrderedDict()

    def metric_finalizers(self) -> Any:
        return collections.OrderedDict()

    @tf.function
    def reset_metrics(self) -> None:
        pass


def tff_peer(
    schema: Any,
    shape: ModelConfig,
    rows: "list[dict[str, np.ndarray]]",
    batch: int,
    context: Any,
) -> Callable[[], None]:
    """TFF's own process, executed in `context`."""
    tasks = [task.name for task in schema.tasks]
    batches = [
        tf.data.Dataset.from_tensor_slices(collections.OrderedDict(own)).batch(
            batch, drop_remainder=True
        )
        for own in rows
    ]

    def make() -> Any:
        with keras_in_tff.version_2():
            return _TffModel(schema, shape, batches[0].element_spec, tasks)

    process = tff.learning.algorithms.build_weighted_fed_avg(
        make,
        client_optimizer_fn=tff.learning.optimizers.build_adam(1e-3),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    )
    first = mmoe.build(schema, shape, 0)
    weights = tff.learning.models.ModelWeights(
        [v.numpy() for v in first.trainable_variables],
        [v.numpy() for v in first.non_trainable_variables],
    )
    installed = tff.framework.get_context_stack().install
    with installed(context):
        held = [process.set_model_weights(process.initialize(), weights)]

    def train() -> None:
        with installed(context):
            held[0] = process.next(held[0], batches).state

    return train


if __name__ == "__main__":
    sys.exit("a part of peers.py")
