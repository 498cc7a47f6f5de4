"""What pooled training computes: a client's loop over batches, with one model for the rows of all
scenarios.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import evaluation
from pfrec.data import schema as schema_lib
from pfrec.models import networks, ranker
from pfrec.models.config import ModelConfig
from pfrec.models.pooled import base as pooled
from tff_process.client import work as work_lib
from tff_process.process import computations, keras_in_tff

OD = collections.OrderedDict
_SHARDS = tff.TensorType(np.str_, [None])
_plain = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class PooledStep:
    """All that the graphs of a pooled training depend on.

    Attributes:
      algorithm: by name.
      schema: of the rows.
      model: the network's shape.
      scenarios: how many there are.
      batch_size: rows of a batch.
      weights: which weights of the loss there are, `ranker.TASK_WEIGHTS` and
        `ranker.POSITIVE_WEIGHTS`, in this order.
      weight_decay: see `work_lib.TrainingSettings`.
    """

    algorithm: str
    schema: schema_lib.Schema
    model: ModelConfig
    scenarios: int
    batch_size: int
    weights: "tuple[str, ...]" = ()
    weight_decay: float = 0.0

    def record(self) -> "dict[str, Any]":
        """The same as plain data."""
        return {**dataclasses.asdict(self), "schema": self.schema.to_json()}

    def bodies(
        self, variables: "Mapping[str, Any]", slots: "Mapping[str, Any]"
    ) -> "dict[str, computations.Body]":
        """What is traced.

        `train` is `(variables, slots, work) -> (variables, slots, loss)`, a stretch of steps, with
        `work` as in `work_lib.ClientInputs` and besides: `scenarios` int32 [shards], the scenario
        of each shard's rows, `learning_rate` float32 scalar, and weights float32 [scenarios,
        tasks]. `evaluate` is `(variables, shards, scenarios) -> float64 [scenarios, tasks,
        metrics]`, with the scenario of each shard's rows.

        Args:
          variables: anything with a shape for each of the network's variables, by name.
          slots: the same for the optimizer's, see `work_lib.optimizer_slots`.
        """
        kinds = [tff.to_type(_floats(values)) for values in (variables, slots)]
        numbers = ("seed", "first_step", "steps", "epoch_steps")
        own = tff.TensorType(np.float32, [self.scenarios, len(self.schema.tasks)])
        work = OD(
            shards=_SHARDS,
            scenarios=tff.TensorType(np.int32, [None]),
            **dict.fromkeys(numbers, tff.TensorType(np.int64)),
            learning_rate=tff.TensorType(np.float32),
            **dict.fromkeys(self.weights, own),
        )
        return {
            "train": computations.Body(self._train, (*kinds, tff.to_type(work))),
            "evaluate": computations.Body(
                self._evaluate, (kinds[0], _SHARDS, tff.TensorType(np.int32, [None]))
            ),
        }

    def _train(self, variables: Any, slots: Any, work: Any) -> Any:
        settings = work_lib.TrainingSettings(self.batch_size, weight_decay=self.weight_decay)
        model = self._model(work["learning_rate"], settings.step_decay(work["epoch_steps"]))
        names, work = list(variables), OD(work.items())

        @_plain
        def step(batch: Any, state: Any) -> Any:
            own = {name: tf.gather(batch[name], batch[pooled.SCENARIO]) for name in self.weights}
            loss, gradients = work_lib.loss_and_gradients(model, settings, {**batch, **own}, {})
            model.apply(gradients)
            return loss, state

        def loop() -> Any:
            model.load(variables)
            model.load(slots)
            done = work_lib.for_each_batch(model, settings, work, step, ())
            after = OD((name, slot.read_value()) for name, slot in model.slots.items())
            return model.read(names), after, done.loss

        trained, after, loss = tf.function(loop)()
        return OD(
            variables=OD((name, trained[name]) for name in names),
            slots=OD((name, after[name]) for name in slots),
            loss=loss,
        )

    def _evaluate(self, variables: Any, shards: tf.Tensor, scenarios: tf.Tensor) -> tf.Tensor:
        model = self._model()

        @_plain
        def of(scenario: tf.Tensor) -> tf.Tensor:
            def network(batch: Any, training: bool) -> Any:
                rows = tf.shape(batch["categorical"])[0]
                return model.network(
                    {**batch, pooled.SCENARIO: tf.fill([rows], scenario)}, training=training
                )

            own = tf.boolean_mask(shards, tf.equal(scenarios, scenario))
            return evaluation.Evaluator(_plain(network), self.schema)(own)

        @tf.function
        def run() -> tf.Tensor:
            model.load(variables)
            every = tf.range(self.scenarios)
            # One after the other: predictions of one scenario's rows are in memory at a time.
            return tf.map_fn(of, every, parallel_iterations=1, fn_output_signature=tf.float64)

        return run()

    @_plain
    def _model(self, learning_rate: Any = 0.0, decay: Optional[Any] = None) -> work_lib.ClientModel:
        with keras_in_tff.version_2():
            return work_lib.ClientModel(self._network, self.schema, learning_rate, decay=decay)

    def _network(self) -> tf.keras.Model:
        # The seed is of initial values, and variables are loaded.
        return networks.build(self.algorithm, self.schema, self.model, 0, self.scenarios)


def _floats(values: "Mapping[str, Any]") -> "OD[str, tff.TensorType]":
    return OD(
        (name, tff.TensorType(np.float32, list(value.shape))) for name, value in values.items()
    )


def weights_of(plan: Any) -> "tuple[str, ...]":
    """Which weights of the loss a plan has, for `PooledStep.weights`."""
    given = {
        ranker.TASK_WEIGHTS: plan.task_weights,
        ranker.POSITIVE_WEIGHTS: plan.positive_weights,
    }
    return tuple(name for name, text in given.items() if text)
