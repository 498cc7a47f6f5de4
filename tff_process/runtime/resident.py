"""Federated training whose private state stays in the clients' workers between rounds.

The same computations as the reference's (`computations.Computations`), composed by calls on TFF's
`RemoteExecutor` instead of one federated computation: the driver sends each client its values, and
fetches its report and metrics and nothing else.
"""

import collections
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow_federated as tff

from pfrec import client_directory, coarsening, errors, metrics, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from tff_process import plan as plan_lib
from tff_process.client import small_uploads, strategy
from tff_process.process import computations, federation, round_report
from tff_process.process import types as types_lib
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import clients as clients_lib
from tff_process.runtime import compiled as compiled_lib
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import guard, hosts, local, remote, summing
from tff_process.runtime import server as server_lib

OD = collections.OrderedDict
_log = logging.getLogger(__name__)


class ResidentTraining(federation.Federation):
    """One run's federated training on workers that are up.

    Args:
      plan: what to do.
      dataset: of all scenarios; scenario i is client i.
      client_hosts: the worker of each client, in the order of the scenarios; several clients may
        have the same.
      directory: the directory of a scenario's private states, as its worker names it.
      executor: runs the clients.
      rules: what updates are refused.
      cache: keeps what is traced and compiled; None where no other run is to use it.

    Attributes:
      server: its state.
      clients: in the order of the scenarios.
    """

    def __init__(
        self,
        plan: plan_lib.Plan,
        dataset: dataset_lib.Dataset,
        client_hosts: "Sequence[hosts.Host]",
        directory: "Callable[[str], str]",
        executor: executor_lib.ClientExecutor,
        rules: guard.Rules = guard.Rules(),
        cache: "Optional[cache_lib.ComputationCache]" = None,
    ) -> None:
        super().__init__(plan, dataset)
        self._executor, self._rules = executor, rules
        if plan.secure_sums:
            serves = {name: self._serves(i) for i, name in enumerate(dataset.scenarios)}
            summing.check(self.layout, self._tasks, serves, rules.min_clients)
            self._masks: Optional[summing.SimulatedMasks] = self._make_masks()
        self._counted = not self.counts_ids
        compiled = (cache or cache_lib.ComputationCache()).get(self.graph_key, self._compile)
        self._traced: computations.Computations = compiled.traced
        assert compiled.aggregate is not None
        self.server: server_lib.Server = server_lib.Server(
            compiled.traced, local.LocalFunction(compiled.aggregate.computation), self._initial
        )
        # Traced where it comes to that: what a training does not come to costs nothing.
        self._finishing_functions = functools.partial(
            (cache or cache_lib.ComputationCache()).get,
            ("finishing", self.graph_key),
            lambda: cache_lib.finishing(compiled.traced, self.graph_record),
        )
        self._calls: clients_lib.ClientCalls = clients_lib.ClientCalls(compiled, self._initial)
        self.clients: list[clients_lib.Client] = [
            clients_lib.Client(
                executor_lib.ClientHandle(number, scenario, host),
                directory(scenario),
                functools.partial(dataset.shards, scenario),
                self._secret(number),
                self._serves(number),
            )
            for number, (scenario, host) in enumerate(zip(dataset.scenarios, client_hosts))
        ]

    def _secret(self, client: int) -> "Callable[[remote.Remote], Any]":
        """Makes a reference to a client's secret in its worker."""
        return lambda there: there.send(
            pipeline.simulated_secret(self.plan.seed, client), types_lib.SECRET
        )

    def _make_masks(self) -> "Optional[summing.SimulatedMasks]":
        """What puts masks on uploads here; None where that is done before they arrive."""
        return summing.SimulatedMasks(self.plan.seed, self.dataset.scenarios)

    def _compile(self) -> compiled_lib.Compiled:
        return cache_lib.compiled(computations.trace(self.process_spec()), self.graph_record)

    def train_round(self, round_number: int) -> round_report.RoundReport:
        """Trains round `round_number` (from 0),
        after which every client's private state is in its directory.

        Within a round private states are in workers alone, as writing after every aggregation step
        takes longer than a short aggregation step. Where a worker is lost with one, the round is
        trained again from its start.

        Raises:
          PfrecError: where a client fails and may not be skipped.
        """
        self._count_ids()
        start = self._state()
        for attempt in range(executor_lib.ATTEMPTS):
            try:
                return super().train_round(round_number)
            except executor_lib.RoundLostError as error:
                if attempt + 1 == executor_lib.ATTEMPTS:
                    raise errors.PfrecError(
                        f"{error}, {executor_lib.ATTEMPTS} times; see its log, mend it and "
                        f"{executor_lib.GO_ON}"
                    ) from error
                _log.warning(
                    "round %d: %s; it is trained again from its start", round_number + 1, error
                )
                self.restore(start)
        raise AssertionError

    def train_aggregation_step(self, number: int) -> round_report.RoundReport:
        """Trains aggregation step `number` (from 0) and aggregates it.

        A client that is absent, skipped or refused keeps what it has, and its next aggregation step
        begins where it stands.

        Raises:
          RoundLostError: where a worker was lost with a private state that is in no file yet.
          PfrecError: where a client fails and may not be skipped.
        """
        self._count_ids()
        version, ends_round = number + 1, (number + 1) % self.aggregation_steps == 0
        present = self.turns.working(number)
        works = {i: self._work(i, number) for i in present}
        write_as = version if ends_round else None
        done, skipped = self._each(
            present,
            lambda client: self._calls.train(
                client, self.server, works[client.handle.number], write_as
            ),
            "training",
        )
        if self.plan.secure_sums:
            return self._train_sum(number, done, works)
        if self.algorithm.client.upload_bits < strategy.FULL_BITS:
            done = {i: (kept, self._decoded(i, said)) for i, (kept, said) in done.items()}
        if self.charges is not None:
            for i, (_, said) in done.items():
                steps = int(works[i]["steps"])
                self.charges.charge(self.dataset.scenarios[i], said["values"], steps)
        verdict = guard.judge(
            self._rules,
            {i: report for i, (_, report) in done.items()},
            self._traced.types.report,
            self._received,
            {i: self._asked(i, works[i]) for i in done},
        )
        self._tell(verdict, number)
        # Who has no batch in this step is not missing from it.
        needed = max(1, self._rules.min_clients - self.turns.pass_over(number))
        applied = len(verdict.accepted) >= needed
        report: Mapping[str, Any] = {"diagnostics": {}}
        accepted = {i: float(said["loss"]) for i, said in verdict.accepted.items()}
        # Reports are large: from here on they are held as one.
        private = {i: kept for i, (kept, _) in done.items()}
        done.clear()
        if applied:
            report = self.server.apply(verdict.accepted)
            for i in accepted:
                client = self.clients[i]
                client.private, client.version = private[i], version
                client.written = version if ends_round else client.written
                self.turns.done[i] += 1
        elif present:
            _log.warning(
                "%s: %d client(s) accepted of at least %d; it is not applied",
                self._named(number),
                len(accepted),
                needed,
            )
        if ends_round:
            self._write_all()
        return round_report.RoundReport(
            loss={self.dataset.scenarios[i]: loss for i, loss in accepted.items()},
            diagnostics=dict(report["diagnostics"]),
            refused={self.dataset.scenarios[i]: reason for i, reason in verdict.refused.items()},
            skipped={self.dataset.scenarios[i]: reason for i, reason in skipped.items()},
            clipped={self.dataset.scenarios[i]: factor for i, factor in verdict.clipped.items()},
            applied=applied,
        )

    def _train_sum(
        self, number: int, done: "Mapping[int, Any]", works: "Mapping[int, Any]"
    ) -> round_report.RoundReport:
        """Goes on from the sum of what all clients sent; none of it is looked at by itself.

        Raises:
          PfrecError: where there is no sum of it.
        """
        masks = self._masks
        reports = {
            i: said
            if masks is None
            else {**said, "values": masks.masked(i, said["values"], number)}
            for i, (_, said) in done.items()
        }
        mean = summing.opened(
            self.layout,
            self._tasks,
            reports,
            self._traced.types.sent,
            self.server.values(served=False)["common"],
            {i: self._asked(i, works[i]) for i in done},
            self.dataset.scenarios,
        )
        report = self.server.apply(mean)
        for i in done:
            client = self.clients[i]
            client.private, client.version = done[i][0], number + 1
            if (number + 1) % self.aggregation_steps == 0:
                client.written = client.version
            self.turns.done[i] += 1
        return round_report.RoundReport(
            dict.fromkeys(self.dataset.scenarios, 0.0), dict(report["diagnostics"])
        )

    def _count_ids(self) -> None:
        """Asks each client, once a run, how often it holds the ids of shared tables;
        those of one that cannot say count alike.
        """
        if self._counted:
            return
        said, _ = self._each(range(len(self.clients)), self._calls.count, "counting its ids")
        counts = {name: np.array(value) for name, value in self.server.state["row_counts"].items()}
        for i, own in said.items():
            fault = guard.unfit_counts(own, self._traced.types.counts)
            if fault is not None:
                _log.warning(
                    "the counts of client %s are refused: %s; its ids count alike",
                    self.dataset.scenarios[i],
                    fault,
                )
                continue
            for name, value in own.items():
                counts[name][i] = value
        self.server.set_state(
            OD(
                (key, counts if key == "row_counts" else value)
                for key, value in self.server.state.items()
            )
        )
        self._counted = True

    def server_state(self) -> "Mapping[str, Any]":
        return self.server.state

    def set_server_state(self, state: "Mapping[str, Any]") -> None:
        self.server.set_state(state)

    def evaluate(self, split: str) -> np.ndarray:
        """Metrics of all clients' personalised models, float64 [scenarios, tasks, metrics];
        NaN for a client that was skipped, or that says what cannot be.
        """
        return self.evaluate_spreads(split, (1.0,))[0]

    def evaluate_spreads(self, split: str, factors: "Sequence[float]") -> np.ndarray:
        """`evaluate` with each of some factors of the clients' differences, by one call of each
        client: float64 [factors, scenarios, tasks, metrics].
        """
        done, _ = self._each(
            range(len(self.clients)),
            lambda client: self._calls.evaluate(client, self.server, split, tuple(factors)),
            "evaluation",
        )
        return self._measured(split, done, len(factors))

    def _measured(self, split: str, done: "dict[int, np.ndarray]", models: int) -> np.ndarray:
        """What clients say of their models on a split, float64 [models, scenarios, tasks, metrics];
        NaN of those that say nothing, or what cannot be.
        """
        shape = (models, len(self.dataset.schema.tasks), len(metrics.METRICS))
        for i, values in list(done.items()):
            fault = guard.unfit_metrics(values, shape)
            if fault is not None:
                scenario = self.dataset.scenarios[i]
                _log.warning(
                    "the metrics of client %s on %s are refused: %s", scenario, split, fault
                )
                del done[i]
        missing = np.full(shape, np.nan)
        return np.stack([done.get(i, missing) for i in range(len(self.clients))], axis=1)

    def finish_at_home(self, round_number: int) -> "tuple[np.ndarray, list[str]]":
        functions, name = self._finishing_functions(), client_directory.finished_name(round_number)
        done, _ = self._each(
            range(len(self.clients)),
            lambda client: self._calls.finish(
                client,
                self.server,
                self._finishing(client.handle.number),
                functions,
                f"{client.directory}/{name}",
                plan_lib.METRICS not in self.plan.withhold,
            ),
            "finishing what it serves",
        )
        told = {i: values[np.newaxis] for i, values in done.items() if values is not None}
        # What one that was skipped may have written is not whole.
        return self._measured("test", told, 1)[0], [self.dataset.scenarios[i] for i in sorted(done)]

    def to_save(self) -> run_directory.RoundState:
        """The server's state, and which version of each client's own belongs to it;
        the clients write theirs themselves.
        """
        self._write_all()
        return self._state()

    def _state(self) -> run_directory.RoundState:
        server = {"round": self.server.state["round"]}
        for name in federation.NAMED_PARTS:
            server.update(
                {f"{name}/{key}": value for key, value in self.server.state[name].items()}
            )
        versions = {client.handle.scenario: client.version for client in self.clients}
        meta = {
            "participations": list(self.turns.done),
            "versions": versions,
            "counted": self._counted,
            "continued": any(client.given for client in self.clients),
        }
        return run_directory.RoundState(server, {}, meta)

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from a saved round; each client reads its version of it.

        Raises:
          OutOfReachError: where a client's worker is away and the client may not be skipped.
          PfrecError: where a client's version is missing or damaged; the message names the client.
        """
        kinds = self._traced.types.state

        def part(name: str) -> "OD[str, np.ndarray]":
            return OD(
                (key, saved.server[f"{name}/{key}"])
                for key, _ in tff.structure.to_elements(kinds[name])
            )

        self.server.set_state(
            OD(round=saved.server["round"], **{name: part(name) for name in federation.NAMED_PARTS})
        )
        self.turns.done = list(saved.meta["participations"])
        # The pure process counts as it begins, and does not say so.
        self._counted = saved.meta.get("counted", True)
        versions = saved.meta["versions"]
        damaged: dict[int, str] = {}

        def load(client: clients_lib.Client) -> None:
            try:
                self._calls.load(client, client.version)
            except remote.WorkError as error:
                if error.lost:
                    raise
                damaged[client.handle.number] = str(error)

        for client in self.clients:
            version = versions[client.handle.scenario]
            client.given = saved.meta.get("continued", False)
            written = version if version or client.given else -1
            client.version, client.written, client.private = version, written, None
        self._each(range(len(self.clients)), load, "reading its state")
        for i, reason in sorted(damaged.items()):
            raise errors.PfrecError(
                f"client {self.dataset.scenarios[i]}: version {self.clients[i].version} of its "
                f"state is missing or damaged: {reason}"
            )

    def _write_all(self) -> None:
        """Lets clients whose private state is in no file yet write it: those that took part in the
        round but not in its last aggregation step, and those that never took part, whose version 0
        is a state like any other.
        """
        unwritten = [i for i, client in enumerate(self.clients) if client.version != client.written]
        _, skipped = self._each(unwritten, self._calls.write, "writing its private state")
        for i in skipped:
            # It goes on from what it has: its part in the round so far is the server's alone.
            client = self.clients[i]
            client.version, client.private = max(0, client.written), None

    def _each(
        self, numbers: "Sequence[int]", task: "Callable[[clients_lib.Client], Any]", what: str
    ) -> Any:
        return self._executor.run(
            [self.clients[i].handle for i in numbers],
            lambda handle: task(self.clients[handle.number]),
            what,
        )

    def _asked(self, client: int, work: "Mapping[str, Any]") -> guard.Asked:
        # A silo says its rows to two digits, and those of an epoch of less than a batch as well.
        rows = coarsening.row_count(self.dataset.rows(self.dataset.scenarios[client], "train"))
        batch, steps = self.plan.batch_size, int(work["steps"])
        return guard.Asked(steps, steps * min(batch, rows), steps * batch)

    def _decoded(self, client: int, said: Any) -> Any:
        return {**said, "values": small_uploads.decoded(said["values"], self._received(client))}

    def _received(self, client: int) -> "Mapping[str, np.ndarray]":
        return {
            **self.server.values(served=False)["common"],
            **self.server.personal(client, served=False)["values"],
        }

    def _named(self, number: int) -> str:
        """An aggregation step in words: the round that it is of, from 1, and which of its steps."""
        rounds, step = divmod(number, self.aggregation_steps)
        of = f", aggregation {step + 1} of {self.aggregation_steps}"
        return f"round {rounds + 1}{of if self.aggregation_steps > 1 else ''}"

    def _tell(self, verdict: guard.Verdict, number: int) -> None:
        """Logs what was refused, and tells those whom it concerns."""
        for i, reason in verdict.refused.items():
            _log.warning(
                "%s: the update of client %s is refused: %s",
                self._named(number),
                self.dataset.scenarios[i],
                reason,
            )

        def refuse(client: clients_lib.Client) -> None:
            try:
                reason = verdict.refused[client.handle.number]
                self._calls.refuse(client, number // self.aggregation_steps + 1, reason)
            except remote.WorkError as error:
                # The round does not hang on it: a client that cannot be told is out of reach or has
                # no space, and the next round says so.
                _log.warning(
                    "%s: client %s could not be told: %s",
                    self._named(number),
                    client.handle.scenario,
                    error,
                )

        if verdict.refused:
            self._each(sorted(verdict.refused), refuse, "the note of its refusal")
