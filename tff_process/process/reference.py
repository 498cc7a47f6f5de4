"""The reference runtime: the pure process, in the current TFF context."""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from pfrec import run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from tff_process import plan as plan_lib
from tff_process.process import computations, federation, iterative, round_report, spread

OD = collections.OrderedDict


class FederatedTraining(federation.Federation):
    """The reference runtime: one pure computation a round, in the current TFF context,
    with all state in and out.

    Args:
      plan: what to do.
      dataset: of all scenarios; scenario i is client i.

    Attributes:
      process: the TFF computations.
    """

    def __init__(self, plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> None:
        super().__init__(plan, dataset)
        self.process = iterative.build(computations.trace(self.process_spec()))
        self._private_type = self.process.iterative.next.type_signature.parameter[1].member[
            "private"
        ]
        self._state = self.process.iterative.initialize()
        self._private = [self._initial_private() for _ in dataset.scenarios]
        self._count_ids()

    def _count_ids(self) -> None:
        """Asks each client how often it holds the ids of shared tables."""
        if self.counts_ids:
            counting = [
                OD(client_id=np.int32(i), shards=self._shards(i, "train"))
                for i in range(len(self.dataset.scenarios))
            ]
            self._state = self.process.count(self._state, counting)

    def clients(self, number: int) -> "list[OD[str, Any]]":
        """What the clients that take part in aggregation step `number` bring to
        `process.iterative.next`.
        """
        return [
            OD(
                client_id=np.int32(i),
                private=self._private[i],
                secret=pipeline.simulated_secret(self.plan.seed, i),
                work=self._work(i, number),
                serves=self._serves(i),
            )
            for i in self.turns.working(number)
        ]

    def train_aggregation_step(self, number: int) -> round_report.RoundReport:
        present = self.turns.working(number)
        if not present:
            self.turns.pass_over(number)
            return round_report.RoundReport({}, {}, applied=False)
        self._state, returned, report = self.process.iterative.next(
            self._state, self.clients(number)
        )
        self.turns.pass_over(number)
        for client, private in zip(present, returned):
            self._private[client] = private
            self.turns.done[client] += 1
        losses = {self.dataset.scenarios[i]: float(report["loss"][i]) for i in present}
        return round_report.RoundReport(losses, dict(report["diagnostics"]))

    def server_state(self) -> "Mapping[str, Any]":
        return self._state

    def set_server_state(self, state: "Mapping[str, Any]") -> None:
        self._state = state

    def evaluate(self, split: str) -> np.ndarray:
        """Metrics of all clients' personalised models, float64 [scenarios, tasks, metrics]."""
        clients = [
            OD(client_id=np.int32(i), private=self._private[i], shards=self._shards(i, split))
            for i in range(len(self.dataset.scenarios))
        ]
        return self.process.evaluate(self._state, clients)

    def evaluate_spreads(self, split: str, factors: "Sequence[float]") -> np.ndarray:
        """`evaluate` with each of some factors of the clients' differences, one after the other:
        float64 [factors, scenarios, tasks, metrics].
        """
        state, members, found = self._state, self.spread_members(), []
        try:
            for factor in factors:
                if factor != 1.0:
                    self._state = spread.scaled(state, factor, members, trained=False)
                found.append(self.evaluate(split))
                self._state = state
        finally:
            self._state = state
        return np.stack(found)

    def to_save(self) -> run_directory.RoundState:
        """All state, for `restore`."""
        server = {"round": self._state["round"]}
        for name in federation.NAMED_PARTS:
            server.update({f"{name}/{key}": value for key, value in self._state[name].items()})
        clients = dict(zip(self.dataset.scenarios, self._private))
        return run_directory.RoundState(server, clients, {"participations": self.turns.done})

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from a saved round."""
        state_type = self.process.iterative.state_type.member

        def part(name: str) -> "OD[str, np.ndarray]":
            return OD(
                (key, saved.server[f"{name}/{key}"])
                for key, _ in tff.structure.to_elements(state_type[name])
            )

        self._state = OD(
            round=saved.server["round"], **{name: part(name) for name in federation.NAMED_PARTS}
        )
        self._private = [
            OD(
                (name, saved.clients[scenario][name])
                for name, _ in tff.structure.to_elements(self._private_type)
            )
            for scenario in self.dataset.scenarios
        ]
        self.turns.done = list(saved.meta["participations"])
        # Of a run that went on from another one and was stopped before its first round.
        if not saved.meta.get("counted", True):
            self._count_ids()

    def _initial_private(self) -> "OD[str, np.ndarray]":
        # Optimizer slots start at zero, as `adam.Adam` says.
        return OD(
            (
                name,
                self._initial[name] if name in self._initial else np.zeros(kind.shape, kind.dtype),
            )
            for name, kind in tff.structure.to_elements(self._private_type)
        )
