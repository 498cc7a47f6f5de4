"""Federated training whose private state stays in the clients' workers between rounds.

The same computations as the reference's (`computations.Computations`), composed by calls on TFF's
`RemoteExecutor` instead of one federated computation: the driver sends each client its values, and
fetches its report and metrics and nothing else.
"""

import collections
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pfrec import amounts, client_directory, coarsening, errors, metrics
from tff_process import plan as plan_lib
from tff_process.client import small_uploads, strategy
from tff_process.finishing import home
from tff_process.process import round_report
from tff_process.runtime import clients as clients_lib
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import guard, remote, resident_state, stacking, summing

OD = collections.OrderedDict
_log = logging.getLogger(__name__)


class ResidentTraining(resident_state.ResidentState):
    """A run's federated training on workers that are up; its arguments are `ResidentState`'s."""

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
        stack = self.server.stack()
        at_home: dict[int, remote.Function] = {}
        if last := [i for i in present if works[i].get(home.STEPS, 0)]:
            # Traced here: clients train in threads, and tracing is for one.
            at_home = dict.fromkeys(last, self._at_home_functions()["train_at_home"])

        arrived: dict[int, Any] = {}

        def train(client: clients_lib.Client) -> "tuple[clients_lib.RemoteState, Any]":
            i = client.handle.number
            write = None if i in at_home else write_as
            kept, said = self._calls.train(client, self.server, works[i], write)
            if not self.plan.secure_sums:
                # Reports are large: each has left the message that it came in before the next
                # arrives.
                said = arrived[i] = stack.hold(i, self._decoded(i, said))
            if i in at_home:
                kept = self._calls.train_at_home(client, kept, works[i], write_as, at_home[i])
                client.handle.host.remote.flush()  # As after `train`, the state before it too.
            return kept, said

        try:
            done, skipped = self._each(present, train, "training")
        finally:
            if self.charges is not None:
                # Also what came of clients whose training at home failed after it.
                for i in sorted(arrived):
                    steps = int(works[i]["steps"])
                    self.charges.charge(self.dataset.scenarios[i], arrived[i]["values"], steps)
        if self.plan.secure_sums:
            return self._train_sum(number, done, works, stack)
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
        if applied:
            report = self.server.apply(verdict.accepted, stack)
            for i in accepted:
                client = self.clients[i]
                client.private, client.version = done[i][0], version
                client.written = version if ends_round else client.written
                self.turns.done[i] += 1
        elif present:
            _log.warning(
                "%s: %s accepted of at least %d; it is not applied",
                self._named(number),
                amounts.amount(len(accepted), "client"),
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
        self,
        number: int,
        done: "Mapping[int, Any]",
        works: "Mapping[int, Any]",
        stack: stacking.Stack,
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
        report = self.server.apply(mean, stack)
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

    def _asked(self, client: int, work: "Mapping[str, Any]") -> guard.Asked:
        # A silo says its rows to two digits, and those of an epoch of less than a batch as well.
        rows = coarsening.row_count(self.dataset.rows(self.dataset.scenarios[client], "train"))
        batch, steps = self.plan.batch_size, int(work["steps"])
        return guard.Asked(steps, steps * min(batch, rows), steps * batch)

    def _decoded(self, client: int, said: Any) -> Any:
        if self.algorithm.client.upload_bits == strategy.FULL_BITS:
            return said
        return {**said, "values": small_uploads.decoded(said["values"], self._received(client))}

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
