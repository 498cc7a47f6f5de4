"""Where the state of a resident training is: the server's in the driver, each client's private one
in its worker, and in its files once a round.
"""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow_federated as tff

from pfrec import errors, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from tff_process import plan as plan_lib
from tff_process.process import computations, federation
from tff_process.process import types as types_lib
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import clients as clients_lib
from tff_process.runtime import compiled as compiled_lib
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import guard, hosts, local, remote, summing
from tff_process.runtime import server as server_lib

OD = collections.OrderedDict


class ResidentState(federation.Federation):
    """A run's server and clients on workers that are up: begun, saved and restored.

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
        at_the_end = functools.partial(self._at_the_end, cache or cache_lib.ComputationCache())
        self._at_home_functions = functools.partial(at_the_end, compiled_lib.AT_HOME_FUNCTIONS)
        self._finishing_functions = functools.partial(at_the_end, compiled_lib.FINISHING_FUNCTIONS)
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

    def _at_the_end(
        self, cache: cache_lib.ComputationCache, names: "tuple[str, ...]"
    ) -> "Mapping[str, remote.Function]":
        """Computations that no round but the last comes to, by name."""
        return cache.get(
            (names, self.graph_key),
            lambda: cache_lib.at_the_end(self._traced, self.graph_record, names),
        )

    def server_state(self) -> "Mapping[str, Any]":
        return self.server.state

    def set_server_state(self, state: "Mapping[str, Any]") -> None:
        self.server.set_state(state)

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

    def _received(self, client: int) -> "Mapping[str, np.ndarray]":
        return {
            **self.server.values(served=False)["common"],
            **self.server.personal(client, served=False)["values"],
        }
