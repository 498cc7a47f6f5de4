"""Pooled training: one model on the rows of all scenarios together, through TensorFlow
Recommenders. Not private; the usual yardstick.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from pfrec import evaluation, groups, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.models import networks, ranker
from pfrec.models.pooled import base as pooled
from tff_process import plan as plan_lib
from tff_process.algorithms import averaging
from tff_process.process import carrying, federation, plan_values


class PooledTraining:
    """One run's pooled training; a round is an epoch, or `local_epochs` of one.

    What is evaluated and saved is averaged over the parts of rounds as federated training averages
    over its aggregations (`averaging`).

    Args:
      plan: what to do.
      dataset: of all scenarios.
    """

    finds_spread = False

    def __init__(self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> None:
        plan = plan.fitting([dataset.rows(scenario, "train") for scenario in dataset.scenarios])
        self.plan, self.dataset = plan, dataset
        self.network = networks.build(
            plan.name, dataset.schema, plan.model, plan.seed, len(dataset.scenarios)
        )
        self.tagged = groups.tag(self.network)
        self._variables = collections.OrderedDict(
            (item.name, item.variable) for item in self.tagged
        )
        own = isinstance(self.network, pooled.PooledModel)
        self._ranker = (
            self.network.make_ranker()
            if own
            else ranker.MultiTaskRanker(self.network, [task.name for task in dataset.schema.tasks])
        )
        # Keras's Adam: the same formula as `pfrec.models.adam`, so pooled and federated clients
        # take equal steps.
        self._optimizer = tf.keras.optimizers.Adam(plan.learning_rate)
        self._optimizer.build(self._ranker.trainable_variables)
        self._train = tf.function(self._train_batches)
        # A variable, so that one graph evaluates all scenarios.
        self._scenario = tf.Variable(0, trainable=False)
        self._evaluator = evaluation.Evaluator(self._with_scenario, dataset.schema)
        shards = [
            (shard, number)
            for number, scenario in enumerate(dataset.scenarios)
            for shard in dataset.shards(scenario, "train")
        ]
        self._shards, self._scenario_of_shard = (
            [shard for shard, _ in shards],
            [number for _, number in shards],
        )
        rows = sum(dataset.rows(scenario, "train") for scenario in dataset.scenarios)
        self._epoch_steps = pipeline.steps_per_epoch(rows, plan.batch_size)
        self.round_steps = max(1, round(plan.local_epochs * self._epoch_steps))
        self.rounds = plan.rounds_of(self.round_steps)
        # As often as a federated round aggregates.
        self._parts = federation.aggregations_of_a_round(plan, [self.round_steps])
        self._averaged = 0
        self._trained = self._served = self._values()

    def _with_scenario(
        self, batch: "Mapping[str, tf.Tensor]", training: bool
    ) -> "dict[str, tf.Tensor]":
        rows = tf.shape(batch["categorical"])[0]
        return self.network(
            {**batch, pooled.SCENARIO: tf.fill([rows], self._scenario)}, training=training
        )

    def train_round(self, round_number: int) -> federation.RoundReport:
        """Trains round `round_number` (from 0)."""
        ends = [part * self.round_steps // self._parts for part in range(self._parts + 1)]
        losses = []
        self._load(self._trained)
        # One dataset for all parts: one that began in the middle would read what comes before.
        batches = pipeline.training_batches(
            tf.constant(self._shards),
            self.dataset.schema,
            self.plan.batch_size,
            seed=pipeline.stream_seed(self.plan.seed, 0),
            first_step=round_number * self.round_steps,
            steps=self.round_steps,
            epoch_steps=self._epoch_steps,
            scenarios=tf.constant(self._scenario_of_shard),
        )
        waiting = iter(self._weighted(batches))
        for part, (first, last) in enumerate(zip(ends, ends[1:])):
            total = self.rounds * self._parts
            done = round_number * self._parts + part
            rate = plan_values.learning_rate(self.plan, done, total)
            self._optimizer.learning_rate.assign(rate)
            losses.append((last - first) * float(self._train(waiting, tf.constant(last - first))))
            self._average()
        return federation.RoundReport({"pooled": sum(losses) / self.round_steps}, {})

    def _train_batches(self, batches: "Iterator[Any]", steps: tf.Tensor) -> tf.Tensor:
        """The mean loss of some batches, after a step for each.

        The loop is one of the graph: Keras's own goes back to Python for every batch, which takes
        longer than a small step, and lets Adam count the call that finds no further batch.
        """
        step = tf.autograph.experimental.do_not_convert(self._step)
        total = tf.constant(0.0)
        for _ in tf.range(steps):
            total += step(next(batches))
        return total / tf.cast(steps, tf.float32)

    def _step(self, batch: "Mapping[str, tf.Tensor]") -> tf.Tensor:
        trained = self._ranker.trainable_variables
        with tf.GradientTape() as tape:
            loss = self._ranker.compute_loss(batch, training=True)
        self._optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained))
        return loss

    def _weighted(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """The batches with the weights of the loss, where the plan has any."""
        plan, tasks = self.plan, [task.name for task in self.dataset.schema.tasks]
        found = {
            ranker.TASK_WEIGHTS: (plan.task_weights, plan_values.task_weights),
            ranker.POSITIVE_WEIGHTS: (plan.positive_weights, plan_values.positive_weights),
        }
        tables = {
            name: tf.constant([of(plan, s, tasks) for s in self.dataset.scenarios], tf.float32)
            for name, (text, of) in found.items()
            if text
        }
        if not tables:
            return batches

        def add(batch: "dict[str, tf.Tensor]") -> "dict[str, tf.Tensor]":
            own = batch[pooled.SCENARIO]
            return {**batch, **{n: tf.gather(table, own) for n, table in tables.items()}}

        return batches.map(add)

    def _values(self) -> "dict[str, np.ndarray]":
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def _load(self, values: "Mapping[str, np.ndarray]") -> None:
        for name, variable in self._variables.items():
            variable.assign(values[name])

    def _average(self) -> None:
        """The network's values are what was trained; what is served goes towards them."""
        self._averaged += 1
        self._trained = self._values()
        portion = np.float32(averaging.part(tf.constant(self._averaged), self.plan.average_over))
        self._served = {
            name: old + portion * (self._trained[name] - old) for name, old in self._served.items()
        }

    def after_round(self, versions: "Sequence[Mapping[str, int]]") -> None:
        """Called when a round is complete: nothing is left to do where states are in the run."""

    def finish(self, round_number: int, test: "Mapping[str, Any]") -> None:
        """Called once at the end, with the best round and its metrics: nothing is left to do."""

    def evaluate(self, split: str) -> np.ndarray:
        """Metrics by scenario, float64 [scenarios, tasks, metrics]."""
        self._load(self._served)
        found = []
        for number, scenario in enumerate(self.dataset.scenarios):
            self._scenario.assign(number)
            found.append(self._evaluator(tf.constant(self.dataset.shards(scenario, split))).numpy())
        return np.stack(found)

    def to_save(self) -> run_directory.RoundState:
        """The model as a round whose clients hold nothing."""
        server = {f"common/{name}": value for name, value in self._served.items()}
        server.update(
            {f"{averaging.TRAINED}{name}": value for name, value in self._trained.items()}
        )
        server.update(
            {f"optimizer/{i:04d}": slot.numpy() for i, slot in enumerate(self._optimizer.variables)}
        )
        return run_directory.RoundState(
            server,
            {scenario: {} for scenario in self.dataset.scenarios},
            {"averaged": self._averaged},
        )

    def continued(
        self, old: "Mapping[str, np.ndarray]", meaning: carrying.Meaning
    ) -> run_directory.RoundState:
        """What a finished run's model comes to as the start of this training, whose average of what
        is served begins anew.

        Args:
          old: the server's tensors of that run.
          meaning: from its schema to this one's.

        Raises:
          PfrecError: where a variable has another shape.
        """
        fresh, tagged = self.to_save(), {item.name: item for item in self.tagged}
        server = dict(fresh.server)
        for name, item in tagged.items():
            for place in (f"common/{name}", f"{averaging.TRAINED}{name}"):
                server[place] = meaning.carried(item, old[place], fresh.server[place])
        moments = self._moments()
        for i, slot in enumerate(self._optimizer.variables):
            place = f"optimizer/{i:04d}"
            server[place] = old[place]
            if id(slot) in moments:
                none = np.zeros_like(fresh.server[place])
                server[place] = meaning.carried(tagged[moments[id(slot)]], old[place], none)
        return run_directory.RoundState(server, fresh.clients, fresh.meta)

    def _moments(self) -> "dict[int, str]":
        """Of each moment of the optimizer, told by its identity, the variable that it is of."""
        names = {id(item.variable): item.name for item in self.tagged}
        trained = self._ranker.trainable_variables
        return {
            id(moment): names[id(variable)]
            for moments in (self._optimizer._momentums, self._optimizer._velocities)
            for variable, moment in zip(trained, moments)
        }

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from a saved round."""
        self._served = {name: saved.server[f"common/{name}"] for name in self._variables}
        self._trained = {
            name: saved.server[f"{averaging.TRAINED}{name}"] for name in self._variables
        }
        self._averaged = saved.meta["averaged"]
        for i, slot in enumerate(self._optimizer.variables):
            slot.assign(saved.server[f"optimizer/{i:04d}"])
