"""What a client does when it is asked: `work_lib` in the terms of a process."""

import collections
import dataclasses
from typing import Any, Optional

import tensorflow as tf
import tensorflow_federated as tff

from pfrec import coarsening
from pfrec.data.dataset import pipeline
from tff_process.client import counting, measuring, variables
from tff_process.client import strategy as strategy_lib
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.process import keras_in_tff, spread
from tff_process.process.spec import ProcessSpec

OD = collections.OrderedDict


class ClientStep:
    """A client's part of a process.

    Args:
      spec: of the process.
      private: the type of what a client keeps.
    """

    def __init__(self, spec: ProcessSpec, private: tff.StructType) -> None:
        self._spec = spec
        self._private_names = tff.structure.name_list(private)
        self._optimizers = spec.algorithm.client.optimizers(spec.layout)

    def train(self, shared: Any, personal: Any, client: Any) -> Any:
        """`(shared, personal, client) -> (private, report)`, one client's round."""
        spec, strategy, work = self._spec, self._spec.algorithm.client, self._work(client)
        inputs = work_lib.ClientInputs(
            spec.layout,
            spec.settings,
            _incoming(shared, personal),
            shared["consensus"],
            client["private"],
            work,
        )
        done = strategy_lib.trained(strategy, self._training_model(work), inputs)
        report = OD(
            values=done.upload,
            examples=done.examples,
            serves=client["serves"],
            loss=tf.zeros_like(done.loss) if spec.withhold_loss else coarsening.loss(done.loss),
        )
        return OD(
            private=OD((name, done.private[name]) for name in self._private_names), report=report
        )

    def train_at_home(self, client: Any) -> Any:
        """`client -> (private, done)`: the private state of a client that trained, after its
        training at home (`Strategy.train_at_home`), and a number that tells nothing but that this
        is over.
        """
        spec, work, private = self._spec, self._work(client), client["private"]
        changed = spec.algorithm.client.train_at_home(
            self._training_model(work), spec.settings, private, work
        )
        after = {**private, **changed}
        return OD(
            private=OD((name, after[name]) for name in self._private_names), done=tf.constant(0)
        )

    def finish(self, shared: Any, personal: Any, client: Any, first: Any) -> Any:
        """`(shared, personal, client, first) -> (values, metrics)`: all values of the model that a
        client makes of what it serves and of first values (`home.finish`), and its metrics on test.
        """
        spec, asked = self._spec, client["work"]
        work = OD(asked.items())
        work["seed"] = pipeline.order_seed(client["secret"], asked["seed"])
        work[home.SERVES] = client["serves"]
        # One optimizer for all, whatever the algorithm's own train.
        model = self._model(asked["learning_rate"], one_optimizer=True)
        settings = dataclasses.replace(spec.settings, proximal=0.0)
        training = home.Training(
            model, settings, work, first, spec.average_over, asked["learning_rate"]
        )

        @tf.function
        def run() -> Any:
            model.load(_incoming(shared, personal))
            model.load(strategy_lib.of_variables(model, client["private"]))
            home.finish(training)
            return model.read(list(model.variables)), training.evaluator(work[home.TEST])

        values, measured = run()
        return OD(values=values, metrics=coarsening.evaluated(measured))

    def count(self, shards: tf.Tensor) -> Any:
        """`shards -> row counts`, by table, see `counting.count_ids`."""
        return counting.count_ids(self._spec.layout, self._spec.schema, shards)

    def evaluate(self, shared: Any, personal: Any, client: Any) -> tf.Tensor:
        """`(shared, personal, client) -> float64 [tasks, metrics]`."""
        values = measuring.evaluate(
            self._model(), _incoming(shared, personal), client["private"], client["shards"]
        )
        return coarsening.evaluated(values)

    def evaluate_spreads(self, shared: Any, personal: Any, client: Any) -> tf.Tensor:
        """`(shared, personal, client) -> float64 [factors, tasks, metrics]`: of the model with its
        differences from the consensus times each of some factors (`spread.scaled`), where 1 leaves
        it as it is to the last bit.
        """
        incoming, serves = _incoming(shared, personal), client["serves"]
        factors, consensus = client["spreads"]["factors"], client["spreads"]["consensus"]
        specs = self._spec.layout.joined(variables.PERSONAL)
        differences = {spec.name: incoming[spec.name] - consensus[spec.name] for spec in specs}

        def values_of(number: tf.Tensor) -> "OD[str, tf.Tensor]":
            factor, found = factors[number], OD()
            any_moves = tf.not_equal(factor, 1.0)
            of_task = {t: any_moves & (serves[i] > 0) for i, t in enumerate(self._spec.tasks)}
            for spec in specs:
                moves = of_task[spec.member] if spec.kind in variables.TASK_KINDS else any_moves
                after = spread.moved(consensus[spec.name], differences[spec.name], factor)
                found[spec.name] = tf.where(moves, after, incoming[spec.name])
            return found

        values = measuring.evaluate_each(
            self._model(),
            incoming,
            client["private"],
            client["shards"],
            tf.size(factors),
            values_of,
        )
        return coarsening.evaluated(values)

    def _work(self, client: Any) -> "OD[str, tf.Tensor]":
        """What a client is asked to train, with its own part."""
        work = OD(client["work"].items())
        work["seed"] = pipeline.order_seed(client["secret"], work["seed"])
        work["serves"] = client["serves"]
        strategy = self._spec.algorithm.client
        work.update(strategy.own_work(client["client_id"], client["secret"]))
        return work

    def _training_model(self, work: work_lib.Values) -> work_lib.ClientModel:
        decay = self._spec.settings.step_decay(work["epoch_steps"])
        return self._model(work["learning_rate"], decay)

    @tf.autograph.experimental.do_not_convert
    def _model(
        self,
        learning_rate: Any = 0.0,
        decay: Optional[Any] = None,
        one_optimizer: bool = False,
    ) -> work_lib.ClientModel:
        spec = self._spec
        with keras_in_tff.version_2():
            return work_lib.ClientModel(
                spec.make_network,
                spec.schema,
                learning_rate,
                None if one_optimizer else self._optimizers,
                spec.settings.lazy_adam and not one_optimizer,
                decay,
            )


def _incoming(shared: Any, personal: Any) -> "OD[str, tf.Tensor]":
    """A client's values of the shared variables."""
    return OD((*shared["common"].items(), *personal["values"].items()))
