"""Federated training of a run: the loop around the process."""

import collections
import dataclasses
import logging
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

import pfrec
from pfrec import errors, files, groups
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.algorithms import base, registry
from tff_process.client import summed_uploads, variables, work
from tff_process.finishing import home as home_lib
from tff_process.privacy import charges as charges_lib
from tff_process.privacy import client as private_client
from tff_process.privacy import mechanism as mechanism_lib
from tff_process.privacy import soundness
from tff_process.process import joining, plan_algorithm, plan_values, spread
from tff_process.process import turns as turns_lib
from tff_process.process.round_report import RoundReport, whole_round
from tff_process.process.spec import ProcessSpec

OD = collections.OrderedDict
_log = logging.getLogger(__name__)

# What of a plan no graph holds: it reaches the computations as values,
# or only the loop around them.
_VALUES: "dict[str, Any]" = {
    "seed": 0,
    "rounds": 1,
    "patience": 0,
    "max_steps": 0,
    "max_rows": 0,
    "local_epochs": 1.0,
    "aggregations": 1,
    "aggregate_every": 1,
    "learning_rate": 1.0,
    "schedule": plan_lib.CONSTANT,
    "warmup": 0.0,
    "schedule_end": 0.0,
    "schedule_factor": 1.0,
    "schedule_parts": 1,
    "task_weights": "",
    "positive_weights": "",
    "participation": 1.0,
    "init_from": "",
    "continues": False,
    "home_epochs": 0.0,
}
NAMED_PARTS = ("common", "personal", "consensus", "extra", "row_counts")


def fitted(plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> plan_lib.Plan:
    """The plan with a batch size, by rows as silos say that they have them, so that a simulation
    comes to the same.
    """
    return plan.fitting(turns_lib.told_rows(dataset))


class Federation:
    """What every runtime knows of a run: who is to do what, and the model's variables.

    Args:
      plan: what to do.
      dataset: of all scenarios; scenario i is client i.

    Attributes:
      algorithm: the algorithm, with the plan's sharing rules applied.
      tagged: the variables of the client model.
      layout: the same as data, under the algorithm's policy.
      aggregation_steps: how many pieces a round's local training is cut into, each of which is
        trained and aggregated by `train_aggregation_step` (`turns.aggregations_of_a_round`); one
        where nothing is shared.
      turns: who takes part in which of them, with which batches.
      round_steps: the most batches that a client trains in a round.
      rounds: how many there are at most.
      mechanism: how what leaves is made differentially private; None where it is not.
      charges: what of its budgets is spent; None where there are none, or before they are opened.
      graph_key: all that the run's graphs depend on.
      graph_record: the same as plain data, for what outlives the process: `client`, all that a
        client's graphs depend on, and `server`, what the server's depend on besides. None for an
        algorithm that is not the project's own, of which a name says too little.
    """

    def __init__(self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> None:
        if plan.precision == plan_lib.AUTO:
            raise errors.PfrecError(
                "--precision=auto: is decided where a run begins, by pfrec-train, which says it; "
                "name float32 or bfloat16"
            )
        plan = fitted(plan, dataset)
        self.plan, self.dataset = plan, dataset
        self._tasks = tuple(task.name for task in dataset.schema.tasks)
        epoch_steps = turns_lib.epoch_steps(plan, dataset)
        fewest = min(epoch_steps)
        if plan.learning_rate * plan.decay >= fewest:
            _log.warning(
                "--learning_rate=%g and --weight_decay=%g: with %d batches in an epoch, as %s has, "
                "weights lose all that they are in each step; lower one of the two",
                plan.learning_rate,
                plan.decay,
                fewest,
                dataset.scenarios[epoch_steps.index(fewest)],
            )
        steps = turns_lib.round_steps(plan, epoch_steps)
        aggregations = turns_lib.aggregations_of_a_round(plan, steps)
        if plan.secure_sums:
            # Everybody has a batch in each, so that all sums are over the same clients.
            aggregations = min(aggregations, *steps)
        epochs = plan.local_epochs / aggregations
        self._evaluates = plan_lib.METRICS not in plan.withhold
        self.algorithm: base.Algorithm = plan_algorithm.of(plan, dataset.schema, epochs)
        epochs_of_a_client = epochs if self.algorithm.client.reckons_with_epochs else None
        network = mmoe.build(dataset.schema, plan.model, plan.seed)
        self.tagged = groups.tag(network)
        self.layout = variables.of(
            self.tagged, self.algorithm.policy, self.algorithm.personal_kinds
        )
        # Not copies, which `numpy` makes: of these the run begins, and the variables stay as built.
        self._initial = OD(
            (item.name, np.asarray(memoryview(item.variable.read_value()))) for item in self.tagged
        )
        self.round_steps = max(steps)
        self.rounds = plan.rounds_of(self.round_steps)
        self.mechanism = self._make_private(steps) if plan.dp_epsilon else None
        self.charges: Optional[charges_lib.Charges] = None
        self.algorithm = plan_algorithm.uploading(self.algorithm, plan, self.layout, self._tasks)
        if plan.init_from and not plan.continues:
            self._initial.update(joining.first_values(pathlib.Path(plan.init_from), self._initial))
        for item in self.algorithm.client.kept(self.layout):
            # A copy of a variable starts as the variable does.
            first = (
                self._initial[item.copy_of]
                if item.copy_of
                else np.full(item.shape, item.initial, np.float32)
            )
            self._initial.setdefault(item.name, first)
        self.aggregation_steps = aggregations if self.layout.uploaded else 1
        self.turns = turns_lib.Turns(plan, epoch_steps, steps, self.aggregation_steps, self.rounds)
        self.graph_key: Hashable = (
            dataclasses.replace(plan, **_VALUES),
            self.mechanism,
            epochs,  # an algorithm may hold it
            dataset.schema,
            len(dataset.scenarios),
        )
        self.graph_record: Optional[Mapping[str, Any]] = None
        if isinstance(plan.algorithm, str) and registry.is_own(plan.algorithm):
            self.graph_record = {
                "client": {
                    "plan": {**plan.to_json(), **_VALUES},
                    # Noise and rates are constants of a private training's graphs.
                    "mechanism": self.mechanism and dataclasses.asdict(self.mechanism),
                    "epochs": epochs_of_a_client,
                    "schema": dataset.schema.to_json(),
                },
                "server": {"epochs": epochs, "clients": len(dataset.scenarios)},
            }

    def _make_private(self, steps: "Sequence[int]") -> mechanism_lib.Mechanism:
        """Gives clients the released model beside the one that they serve; returns its mechanism.

        Args:
          steps: each client's batches in a round.

        Raises:
          PfrecError: where the algorithm cannot be made private.
        """
        plan, dataset = self.plan, self.dataset
        soundness.check_schema(dataset.schema, plan.dp_unit)
        soundness.check_algorithm(self.algorithm, len(self.layout.uploaded), plan.dp_unit)
        mechanism = mechanism_lib.of(
            plan.dp_epsilon,
            plan.dp_delta,
            plan.dp_clip,
            plan.batch_size,
            turns_lib.told_rows(dataset),
            [self.rounds * own for own in steps],
        )
        mechanism = dataclasses.replace(
            mechanism, unit=plan.dp_unit, sparse_rows=plan.dp_sparse_rows
        )
        # All that decides how a step is computed and is in no value of it.
        graph = {**dataclasses.replace(plan, **_VALUES).to_json(), "init_from": ""}
        context = files.json_text([pfrec.__version__, graph, dataset.schema.to_json()])
        client = private_client.PrivateTraining(
            mechanism, dataset.schema, plan.average_over, context, plan.home_rate
        )
        self.algorithm = dataclasses.replace(self.algorithm, client=client)
        # Tables that the released model does not read add nothing at first.
        for spec in self.layout.joined(variables.PRIVATE):
            if spec.kind == "embedding":
                self._initial[spec.name] = np.zeros(spec.shape, np.float32)
        return mechanism

    def open_charges(self, path: pathlib.Path) -> None:
        """Charges what leaves from here on to the budgets, in a file; nothing where there are
        none.
        """
        if self.mechanism is not None:
            budgets = dict(zip(self.dataset.scenarios, self.mechanism.budgets))
            self.charges = charges_lib.Charges(path, budgets)

    def train_round(self, round_number: int) -> RoundReport:
        """Trains round `round_number` (from 0): its aggregation steps in turn."""
        first = round_number * self.aggregation_steps
        return whole_round(
            [
                self.train_aggregation_step(number)
                for number in range(first, first + self.aggregation_steps)
            ]
        )

    @property
    def finds_spread(self) -> bool:
        """Whether how far apart clients stay is found on valid after every round."""
        return self.algorithm.finds_spread

    @property
    def valid_models(self) -> int:
        """How many models a client measures on valid after a round, in one answer."""
        return 1 + (len(spread.FACTORS) if self.finds_spread else 0)

    def spread_members(self) -> "Mapping[str, np.ndarray]":
        """Who takes part in what belongs to a task, bool [clients] by the values' names."""
        serves = np.stack([self._serves(i) > 0 for i in range(len(self.dataset.scenarios))])
        tasks = [task.name for task in self.dataset.schema.tasks]
        return {
            spec.name: serves[:, tasks.index(spec.member)]
            for spec in self.layout.joined(variables.PERSONAL)
            if spec.kind in base.TASK_KINDS
        }

    def server_state(self) -> "Mapping[str, Any]":
        """The server's state, arrays by name in its parts."""
        raise NotImplementedError("each runtime has its own")

    def set_server_state(self, state: "Mapping[str, Any]") -> None:
        """Replaces the server's state."""
        raise NotImplementedError("each runtime has its own")

    def evaluate_spreads(self, split: str, factors: "Sequence[float]") -> np.ndarray:
        """Metrics of all clients' models on a split with their differences from the consensus times
        each factor (`spread.scaled`), float64 [factors, scenarios, tasks, metrics].
        """
        raise NotImplementedError("each runtime has its own")

    def train_aggregation_step(self, number: int) -> RoundReport:
        """Trains aggregation step `number`, counted from 0 over all rounds, and aggregates it;
        absent clients keep what they have.
        """
        raise NotImplementedError("each runtime has its own")

    def after_round(self, versions: "Sequence[Mapping[str, int]]") -> None:
        """Called when a round is complete: nothing is left to do where states are in the run."""

    def finish(self, round_number: int, test: "Mapping[str, Any]") -> None:
        """Called once at the end, with the best round and its metrics: nothing is left to do."""

    def process_spec(self) -> ProcessSpec:
        """What the process of this run is made of."""
        plan, dataset = self.plan, self.dataset
        settings = work.TrainingSettings(
            plan.batch_size,
            self.algorithm.proximal,
            self.algorithm.anchor,
            plan.lazy_adam,
            plan.precision,
            plan.decay,
        )

        def make_network() -> Any:
            # Its values are loaded over before they are used, so the seed is none of the graph's.
            return mmoe.build(dataset.schema, plan.model, seed=0)

        return ProcessSpec(
            self.algorithm,
            self.layout,
            dataset.schema,
            make_network,
            settings,
            self._initial,
            len(dataset.scenarios),
            withhold_loss=plan_lib.LOSS in plan.withhold,
            measured=self._evaluates,
            average_over=plan.average_over,
        )

    @property
    def counts_ids(self) -> bool:
        """Whether clients are asked how often they hold the ids of shared tables,
        which they are once a run.
        """
        return plan_lib.ROW_COUNTS not in self.plan.withhold and any(
            spec.counts_rows for spec in self.layout.specs
        )

    def _work(self, client: int, number: int) -> "OD[str, Any]":
        """What a client is to do in aggregation step `number`, counted from 0 over all rounds."""
        scenario, tasks = self.dataset.scenarios[client], self._tasks
        total = self.rounds * self.aggregation_steps
        first_step, steps = self.turns.part(client)
        asked: OD[str, Any] = OD()
        if home_lib.STEPS in self.algorithm.client.asked:
            assert self.mechanism is not None
            home = self.mechanism.budgets[client].home_steps(self.plan.passes_at_home)
            asked[home_lib.STEPS] = np.int64(home if self.turns.is_last(client, number) else 0)
            asked[home_lib.VALID] = self._shards(client, "valid")
        if self.plan.secure_sums:
            asked[summed_uploads.NUMBER] = np.int64(number)
            asked[summed_uploads.PARTS] = np.int64(self.aggregation_steps)
            asked[summed_uploads.TRAINING] = np.int64(self._training_number)
        return OD(
            shards=self._shards(client, "train"),
            seed=np.int64(self.plan.seed),
            first_step=np.int64(first_step),
            steps=np.int64(steps),
            epoch_steps=np.int64(self.turns.epoch_steps[client]),
            **asked,
            learning_rate=np.float32(plan_values.learning_rate(self.plan, number, total)),
            task_weights=np.array(plan_values.task_weights(self.plan, scenario, tasks), np.float32),
            positive_weights=np.array(
                plan_values.positive_weights(self.plan, scenario, tasks), np.float32
            ),
        )

    def finish_at_home(self, round_number: int) -> "tuple[np.ndarray, list[str]]":
        """Lets each client finish what it serves (`finishing.home`), from the state that is
        current, which is left as it is, and keep what comes of it.

        Args:
          round_number: of the state.

        Returns:
          the metrics of the finished models on test, float64 [scenarios, tasks, metrics]; NaN where
          they are withheld, and for a client that was skipped, which serves what it received; and
          the scenarios that finished.
        """
        raise NotImplementedError("each runtime has its own")

    def _finishing(self, client: int) -> "OD[str, Any]":
        """What a client is to do to finish."""
        work, epoch_steps = self._work(client, 0), self.turns.epoch_steps[client]
        return OD(
            [
                ("shards", work["shards"]),
                (home_lib.VALID, self._shards(client, "valid")),
                (home_lib.TEST, self._shards(client, "test")),
                ("seed", work["seed"]),
                (home_lib.STEPS, np.int64(round(self.plan.passes_at_home * epoch_steps))),
                (home_lib.EPOCH_STEPS, np.int64(epoch_steps)),
                ("learning_rate", np.float32(self.plan.home_rate)),
                ("task_weights", work["task_weights"]),
                ("positive_weights", work["positive_weights"]),
            ]
        )

    @property
    def _training_number(self) -> int:
        """Tells trainings with sums apart at the same clients."""
        return 0

    def _shards(self, client: int, split: str) -> np.ndarray:
        # Bytes of UTF-8: TFF would encode text as ASCII.
        paths = self.dataset.shards(self.dataset.scenarios[client], split)
        return np.array([path.encode() for path in paths], dtype=object)

    def _serves(self, client: int) -> np.ndarray:
        scenario = self.dataset.scenarios[client]
        return np.array(
            [
                self.dataset.observed(scenario, "train", t.name) > 0
                for t in self.dataset.schema.tasks
            ],
            np.float32,
        )
