"""Pooled training: one model on the rows of all scenarios together, through TensorFlow
Recommenders. Not private; the usual yardstick.
"""

import collections
import json
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from pfrec import groups, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.models import adam, networks, ranker
from tff_process import plan as plan_lib
from tff_process.algorithms import averaging
from tff_process.client import work as work_lib
from tff_process.process import carrying, plan_values, pooled_step, round_report, turns
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import local, remote

OD = collections.OrderedDict
_OPTIMIZER = "optimizer/"
_WEIGHTS = {
    ranker.TASK_WEIGHTS: plan_values.task_weights,
    ranker.POSITIVE_WEIGHTS: plan_values.positive_weights,
}


def _here(function: remote.Function) -> "Callable[..., Any]":
    return local.LocalFunction(function.computation)


class PooledTraining:
    """One run's pooled training; a round is an epoch, or `local_epochs` of one.

    What is evaluated and saved is averaged over the parts of rounds as federated training averages
    over its aggregations (`averaging`).

    Args:
      plan: what to do.
      dataset: of all scenarios.
      cache: keeps what is traced and compiled; None where no other training is to use it.
      calling: makes a compiled computation one to call from arrays to arrays; it runs in this
        process where nothing else is said.
    """

    finds_spread = False

    def __init__(
        self,
        plan: plan_lib.Plan,
        dataset: dataset_lib.Dataset,
        cache: "Optional[cache_lib.ComputationCache]" = None,
        calling: "Callable[[remote.Function], Callable[..., Any]]" = _here,
    ) -> None:
        plan = fitted(plan, dataset)
        self.plan, self.dataset = plan, dataset
        network = networks.build(
            plan.name, dataset.schema, plan.model, plan.seed, len(dataset.scenarios)
        )
        self.tagged = groups.tag(network)
        names = {id(item.variable): item.name for item in self.tagged}
        # As they are saved: in the order in which Keras's optimizers hold them.
        self._saved_order = [names[id(variable)] for variable in network.trainable_variables]
        trained = [item for item in self.tagged if item.variable.trainable]
        self._shapes = OD((item.name, tuple(item.variable.shape)) for item in trained)
        optimizer = adam.Adam([item.variable for item in trained])
        self._slots = {
            name: slot.numpy() for name, slot in work_lib.optimizer_slots(optimizer).items()
        }
        self._averaged = 0
        self._trained = self._served = {item.name: item.variable.numpy() for item in self.tagged}
        shards, scenarios = _shards(dataset, "train")
        rows = sum(dataset.rows(scenario, "train") for scenario in dataset.scenarios)
        epoch_steps = pipeline.steps_per_epoch(rows, plan.batch_size)
        self.round_steps = max(1, round(plan.local_epochs * epoch_steps))
        self.rounds = plan.rounds_of(self.round_steps)
        # As often as a federated round aggregates.
        self._parts = turns.aggregations_of_a_round(plan, [self.round_steps])
        step = pooled_step.PooledStep(
            plan.name,
            dataset.schema,
            plan.model,
            len(dataset.scenarios),
            plan.batch_size,
            pooled_step.weights_of(plan),
            plan.decay,
        )
        tasks = [task.name for task in dataset.schema.tasks]
        self._work = {
            "shards": shards,
            "scenarios": scenarios,
            "seed": np.int64(pipeline.stream_seed(plan.seed, 0)),
            "epoch_steps": np.int64(epoch_steps),
            **{
                name: np.array(
                    [_WEIGHTS[name](plan, s, tasks) for s in dataset.scenarios], np.float32
                )
                for name in step.weights
            },
        }

        def compiled() -> "dict[str, remote.Function]":
            bodies = step.bodies(self._trained, self._slots)
            how = {name: body.trace for name, body in bodies.items()}
            return cache_lib.functions([(step.record(), how)])

        key = json.dumps(step.record(), sort_keys=True)
        functions = (cache or cache_lib.ComputationCache()).get(key, compiled)
        self._train, self._evaluate = (calling(functions[n]) for n in ("train", "evaluate"))

    def train_round(self, round_number: int) -> round_report.RoundReport:
        """Trains round `round_number` (from 0)."""
        ends = [part * self.round_steps // self._parts for part in range(self._parts + 1)]
        losses = []
        for part, (first, last) in enumerate(zip(ends, ends[1:])):
            work = self.work_of(round_number, part, first, last - first)
            done = self._train(self._trained, self._slots, work)
            self._trained, self._slots = dict(done["variables"]), dict(done["slots"])
            losses.append((last - first) * float(done["loss"]))
            self._average()
        return round_report.RoundReport({"pooled": sum(losses) / self.round_steps}, {})

    def work_of(self, round_number: int, part: int, first: int, steps: int) -> "dict[str, Any]":
        """What a part of a round is to do; its first step counts from the round's beginning."""
        done = round_number * self._parts + part
        rate = plan_values.learning_rate(self.plan, done, self.rounds * self._parts)
        return {
            **self._work,
            "first_step": np.int64(round_number * self.round_steps + first),
            "steps": np.int64(steps),
            "learning_rate": np.float32(rate),
        }

    def _average(self) -> None:
        """What is served goes towards what was trained."""
        self._averaged += 1
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
        found: np.ndarray = self._evaluate(self._served, *_shards(self.dataset, split))
        return found

    def to_save(self) -> run_directory.RoundState:
        """The model as a round whose clients hold nothing."""
        server = {f"common/{name}": value for name, value in self._served.items()}
        server.update(
            {f"{averaging.TRAINED}{name}": value for name, value in self._trained.items()}
        )
        server.update(self._saved_slots())
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
        for i, place in enumerate(sorted(_in_optimizer(fresh.server))):
            server[place] = old[place]
            if i:  # The first counts steps.
                item = tagged[self._saved_order[(i - 1) // 2]]
                none = np.zeros_like(fresh.server[place])
                server[place] = meaning.carried(item, old[place], none)
        return run_directory.RoundState(server, fresh.clients, fresh.meta)

    def _saved_slots(self) -> "dict[str, np.ndarray]":
        """The optimizer's state as Keras's Adam would hold it: the number of steps, then both
        moments of each variable in turn.
        """
        moments, steps = adam.moments_of(self._shapes, list(self._slots.values()))
        pairs = [moment for name in self._saved_order for moment in moments[name]]
        saved = [np.array(steps, np.int64), *pairs]
        return {f"{_OPTIMIZER}{i:04d}": value for i, value in enumerate(saved)}

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from a saved round."""
        server = saved.server
        self._served = {name: server[f"common/{name}"] for name in self._served}
        self._trained = {name: server[f"{averaging.TRAINED}{name}"] for name in self._trained}
        self._averaged = saved.meta["averaged"]
        steps, *moments = (server[place] for place in sorted(_in_optimizer(server)))
        pairs = dict(zip(self._saved_order, zip(moments[::2], moments[1::2])))
        in_order = {name: pairs[name] for name in self._shapes}
        slots = adam.slots_of(in_order, np.array(steps, np.float32))
        self._slots = dict(zip(self._slots, slots))


def _shards(dataset: dataset_lib.Dataset, split: str) -> "tuple[np.ndarray, np.ndarray]":
    """The shards of a split, and the scenario of each by its number."""
    found = [
        (shard, number)
        for number, scenario in enumerate(dataset.scenarios)
        for shard in dataset.shards(scenario, split)
    ]
    shards, scenarios = zip(*found)
    return np.array(shards, object), np.array(scenarios, np.int32)


def _in_optimizer(server: "Mapping[str, np.ndarray]") -> "list[str]":
    return [name for name in server if name.startswith(_OPTIMIZER)]


def fitted(plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> plan_lib.Plan:
    """The plan with a batch size, by the scenarios' rows."""
    return plan.fitting([dataset.rows(scenario, "train") for scenario in dataset.scenarios])
