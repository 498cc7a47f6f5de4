"""What the runtime does with one client: its state stays in its worker,
and its files are written and read there.
"""

import collections
import dataclasses
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Optional

import numpy as np
import tensorflow_federated as tff

from pfrec import client_directory, files
from tff_process.runtime import compiled as compiled_lib
from tff_process.runtime import executor, hosts, remote, server

OD = collections.OrderedDict


@dataclasses.dataclass(frozen=True)
class RemoteState:
    """A private state in a worker.

    Attributes:
      reference: to it.
      generation: of the worker's host when it was made: in another the reference is of no use.
    """

    reference: Any
    generation: int


@dataclasses.dataclass
class Client:
    """A client between rounds.

    Attributes:
      handle: where it runs.
      directory: of its versions, as its worker names it.
      shards: the paths of a split's shards, as its worker names them.
      secret: `there -> reference` to the client's secret in its worker, an int64 [2].
      serves: float32 [tasks], 1 where it has observed labels of the task.
      version: the aggregation step after which its accepted private state is; 0 before its first.
      written: the version that is in its directory, -1 for none; another than `version` within a
        round, and where it has not taken part yet.
      given: whether it began with a state in its directory, version 0, in place of the model's
        first values.
      private: that state in its worker; None where it is to be read from its directory.
    """

    handle: executor.ClientHandle
    directory: str
    shards: "Callable[[str], list[str]]"
    secret: "Callable[[remote.Remote], Any]"
    serves: np.ndarray
    version: int = 0
    written: int = -1
    given: bool = False
    private: Optional[RemoteState] = None

    def version_path(self, version: int) -> str:
        """Where a version is."""
        return f"{self.directory}/{client_directory.version_name(version)}"


class ClientCalls:
    """The calls that make up a client's part of a round; safe to use for several clients at once.

    Args:
      compiled: the computations.
      initial: the model's first values by name, of which private ones start every client.
    """

    def __init__(self, compiled: compiled_lib.Compiled, initial: Mapping[str, np.ndarray]) -> None:
        self._compiled, self._traced, self._initial = compiled, compiled.traced, initial
        self._starts: weakref.WeakValueDictionary[Any, Any] = weakref.WeakValueDictionary()
        self._starting = threading.Lock()

    def train(
        self, client: Client, incoming: server.Server, work: Any, version: Optional[int]
    ) -> "tuple[RemoteState, Any]":
        """Trains an aggregation step and writes the new private state as `version`,
        or not at all where that is None.

        The state before it stays in the worker only where it is in no file: if the new one is
        refused, it is read again. Of all clients both would take as much memory again until the
        last has trained.

        Returns:
          the new private state, and the report that leaves the client.
        """
        there = client.handle.host.remote
        private, report = self._trained(client, incoming, work, version)
        if client.version in (0, client.written):
            client.private = None
        there.flush()  # What the call was given and made goes before the next client trains.
        return private, report

    def _trained(
        self, client: Client, incoming: server.Server, work: Any, version: Optional[int]
    ) -> "tuple[RemoteState, Any]":
        generation = client.handle.host.generation
        there = client.handle.host.remote
        own = self._training_client(client, self._private(client), self._sent(client, work))
        result = there.call(
            self._compiled.train, self._argument(client, incoming, own, served=False)
        )
        wanted = [there.select(result, 1)]
        if version is not None:
            wanted.append(self._begin_to_write(client, there.select(result, 0), version))
        report, *_ = there.fetch_all(wanted)
        # Selected now that the call is over: what was selected of a running one keeps the call in
        # the worker's memory, with its report, what it was given and the private state before it.
        private = there.select(result, 0)
        # The generation that it was begun in: by the end another client may have had the worker
        # started again.
        return RemoteState(private, generation), report

    def train_at_home(
        self,
        client: Client,
        private: RemoteState,
        work: Any,
        version: Optional[int],
        function: remote.Function,
    ) -> RemoteState:
        """Makes the private state to serve of the one after a client's last aggregation step, and
        writes it as `version`, or not at all where that is None; nothing leaves the client.

        Args:
          client: which one.
          private: the state that `train` returned.
          work: the same as `train`'s.
          version: see above.
          function: `Computations.train_at_home`.
        """
        there = client.handle.host.remote
        own = self._training_client(client, private.reference, self._sent(client, work))
        result = there.call(function, there.struct(own))
        there.fetch(there.select(result, 1))
        made = there.select(result, 0)  # Now that the call is over, as in `_trained`.
        if version is not None:
            there.fetch(self._begin_to_write(client, made, version))
        return RemoteState(made, private.generation)

    def finish(
        self,
        client: Client,
        incoming: server.Server,
        work: Any,
        functions: "Mapping[str, remote.Function]",
        path: str,
        tells: bool,
    ) -> Optional[np.ndarray]:
        """Lets a client finish what it serves, and write that; nothing that it keeps changes.

        Args:
          client: which one.
          incoming: what the server has for it.
          work: see `types.ProcessTypes.finishing_client`.
          functions: of `compiled.FINISHING_FUNCTIONS`, by name.
          path: where to write.
          tells: whether it tells how good that is.

        Returns:
          metrics on test, float64 [tasks, metrics]; None where they are not told.
        """
        host = client.handle.host
        there, types = host.remote, self._traced.types
        asked = there.send(work, types.finishing_client["work"])
        own = self._training_client(client, self._private(client), asked)
        first = host.kept("first", self, lambda there: there.send(self._of_model(), types.whole))
        argument = there.struct(
            OD(
                **self._received(client, incoming, served=True),
                client=there.struct(own),
                first=first,
            )
        )
        result = there.call(functions["finish"], argument)
        directory = there.send(path, tff.TensorType(np.str_))
        written = there.struct(OD(private=there.select(result, 0), directory=directory))
        wanted = [there.call(functions["write_whole"], written)]
        if tells:
            wanted.append(there.select(result, 1))
        _, *told = there.fetch_all(wanted)
        return np.asarray(told[0]) if told else None

    def _of_model(self) -> "OD[str, np.ndarray]":
        """The model's first values."""
        kinds = tff.structure.to_elements(self._traced.types.whole)
        return OD((name, self._initial[name]) for name, _ in kinds)

    def count(self, client: Client) -> "Mapping[str, np.ndarray]":
        """How often the client's training rows hold the ids of shared tables, by table;
        see `counting.count_ids`.
        """
        there = client.handle.host.remote
        shards = there.send(
            np.array(client.shards("train"), dtype=object),
            self._traced.types.client["work"]["shards"],
        )
        return there.fetch(there.call(self._compiled.count, shards))

    def write(self, client: Client) -> None:
        """Writes the private state as it is, where that is not in the client's directory yet."""
        client.handle.host.remote.fetch(
            self._begin_to_write(client, self._private(client), client.version)
        )
        client.written = client.version

    def _begin_to_write(self, client: Client, private: Any, version: int) -> Any:
        """A reference to the end of the writing."""
        there = client.handle.host.remote
        directory = there.send(client.version_path(version), tff.TensorType(np.str_))
        return there.call(
            self._compiled.write, there.struct(OD(private=private, directory=directory))
        )

    def refuse(self, client: Client, round_number: int, reason: str) -> None:
        """Tells the client that its update of a round was refused, by a file in its directory; it
        goes on from where it stood before.
        """
        content = files.json_text({"round": round_number, "reason": reason})
        self.note(client, f"{client.directory}/refused/round_{round_number:05d}.json", content)

    def note(self, client: Client, path: str, content: str) -> None:
        """Leaves a small text file with the client."""
        there = client.handle.host.remote
        text = tff.TensorType(np.str_)
        values = OD(path=there.send(path, text), text=there.send(content, text))
        there.fetch(there.call(self._compiled.note, there.struct(values)))

    def write_received(
        self, client: Client, incoming: server.Server, write: remote.Function, path: str
    ) -> None:
        """Lets the client write its values of the shared variables; `write` is a compiled
        `state_files.received_writer`.
        """
        there = client.handle.host.remote
        values = OD(
            **self._received(client, incoming, served=True),
            directory=there.send(path, tff.TensorType(np.str_)),
        )
        there.fetch(there.call(write, there.struct(values)))

    def evaluate(
        self,
        client: Client,
        incoming: server.Server,
        split: str,
        factors: "tuple[float, ...]" = (1.0,),
    ) -> np.ndarray:
        """Metrics of the client's model on a split with its differences from the consensus times
        each factor, float64 [factors, tasks, metrics]; another factor than 1 is for algorithms
        that find the spread alone.
        """
        there = client.handle.host.remote
        types = self._traced.types.spreads_client
        own = OD(
            client_id=self._constant(
                client, "client_id", np.int32(client.handle.number), types["client_id"]
            ),
            private=self._private(client),
            shards=self._constant(
                client, split, np.array(client.shards(split), dtype=object), types["shards"]
            ),
        )
        if self._traced.finds_spread:
            own["serves"] = self._constant(client, "serves", client.serves, types["serves"])
            own["spreads"] = client.handle.host.kept(
                ("spreads", factors, tuple(client.serves)),
                incoming.version,
                lambda there: there.send(
                    incoming.spreads(factors, client.serves), types["spreads"]
                ),
            )
        assert self._compiled.evaluate is not None  # Nobody asks where metrics are withheld.
        argument = self._argument(client, incoming, own, served=True)
        values = np.asarray(there.fetch(there.call(self._compiled.evaluate, argument)))
        return values if self._traced.finds_spread else values[np.newaxis]

    def load(self, client: Client, version: int) -> None:
        """Makes a version on the client's disk its private state.

        Raises:
          WorkError: where it is missing or damaged.
        """
        host = client.handle.host
        there, generation = host.remote, host.generation
        there_already = version > 0 or client.given
        if there_already:
            directory = there.send(client.version_path(version), tff.TensorType(np.str_))
            read = there.call(self._compiled.read, directory)
            # Fetching the count waits for the read, so that damage shows here and not in a round.
            there.fetch(there.select(read, 1))
            private = there.select(read, 0)
        else:
            private = self._start(host)
        client.private, client.version = RemoteState(private, generation), version
        if there_already:
            client.written = version

    def begin(self, client: Client, values: "Mapping[str, np.ndarray]") -> None:
        """Lets a client begin with values of its own in place of the model's first ones, and write
        them; the names of `first_values`.
        """
        host = client.handle.host
        client.private = RemoteState(self._started(host.remote, values), host.generation)
        client.version = 0
        self.write(client)

    def first_values(self) -> "OD[str, np.ndarray]":
        """What a client's private state begins with, but for the optimizer's slots."""
        kinds = self._compiled.start.type_signature.parameter
        return OD((name, self._initial[name]) for name, _ in tff.structure.to_elements(kinds))

    def _start(self, host: hosts.Host) -> Any:
        """What clients of a worker begin with: one for all that have nothing else yet."""
        with self._starting:  # Several clients begin at once.
            key = host, host.generation
            found = self._starts.get(key)
            if found is None:
                found = self._starts[key] = self._started(host.remote, self.first_values())
            return found

    def _started(self, there: remote.Remote, values: "Mapping[str, np.ndarray]") -> Any:
        kinds = self._compiled.start.type_signature.parameter
        return there.call(self._compiled.start, there.send(values, kinds))

    def _private(self, client: Client) -> Any:
        if client.private is None or client.private.generation != client.handle.host.generation:
            if client.version and client.version != client.written:
                raise executor.RoundLostError(
                    f"client {client.handle.scenario}: its worker was lost in the middle of a round"
                )
            self.load(client, client.version)
        assert client.private is not None
        return client.private.reference

    def _constant(self, client: Client, name: str, value: Any, kind: tff.Type) -> Any:
        return client.handle.host.kept(
            (client.handle.number, name), self, lambda there: there.send(value, kind)
        )

    def _sent(self, client: Client, work: Any) -> Any:
        """A reference to what a client is asked to train."""
        return client.handle.host.remote.send(work, self._traced.types.client["work"])

    def _training_client(self, client: Client, private: Any, work: Any) -> "OD[str, Any]":
        """The parts of a client that is to train, of references to its state and work."""
        types = self._traced.types.client
        return OD(
            client_id=self._constant(
                client, "client_id", np.int32(client.handle.number), types["client_id"]
            ),
            private=private,
            secret=client.handle.host.kept((client.handle.number, "secret"), self, client.secret),
            work=work,
            serves=self._constant(client, "serves", client.serves, types["serves"]),
        )

    def _argument(self, client: Client, incoming: server.Server, own: Any, served: bool) -> Any:
        there = client.handle.host.remote
        return there.struct(
            OD(**self._received(client, incoming, served), client=there.struct(own))
        )

    def _received(self, client: Client, incoming: server.Server, served: bool) -> "dict[str, Any]":
        """References to what the server has for a client;
        sent once for each state of the server.
        """
        host, version = client.handle.host, incoming.version
        served = (
            served and self._traced.averages
        )  # else both are the same, and what was sent for one serves the other
        shared = host.kept(
            ("shared", served),
            version,
            lambda there: there.send(incoming.shared(served), self._traced.types.shared),
        )
        personal = host.kept(
            (client.handle.number, "personal", served),
            version,
            lambda there: there.send(
                incoming.personal(client.handle.number, served), self._traced.types.personal
            ),
        )
        return {"shared": shared, "personal": personal}
