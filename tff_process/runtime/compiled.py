"""The computations of a run as its workers and driver run them: traced, compiled, each sent to a
worker once.
"""

import concurrent.futures
import dataclasses
import functools
import gc
from collections.abc import Callable, Mapping, Sequence
from typing import Optional

import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2

from tff_process.process import computations
from tff_process.runtime import remote, state_files

# Of a run's computations, by name, how each is traced: a client's, which do not depend on how many
# clients there are, and the server's. Those that take long come first: the compiling of the last
# has nothing beside it.
_CLIENT: "dict[str, Callable[[computations.Computations], tff.Computation]]" = {
    "train": lambda traced: traced.train,
    # One graph serves the search for the spread and the test alike.
    "evaluate": lambda traced: (
        traced.evaluate_spreads if traced.finds_spread else traced.evaluate_client
    ),
    "count": lambda traced: traced.count_client,
    "write": lambda traced: state_files.writer(traced.types.private),
    "read": lambda traced: state_files.reader(traced.types.private),
    "start": lambda traced: state_files.starter(traced.types.private),
    "note": lambda traced: state_files.noter(),
}
# Of a run whose clients train at home after their last aggregation.
_AT_HOME: "dict[str, Callable[[computations.Computations], tff.Computation]]" = {
    "train_at_home": lambda traced: traced.train_at_home
}
# Of a run whose clients finish what they serve.
_FINISHING: "dict[str, Callable[[computations.Computations], tff.Computation]]" = {
    "finish": lambda traced: traced.finish_client,
    "write_whole": lambda traced: state_files.writer(traced.types.whole),
}
_SERVER: "dict[str, Callable[[computations.Computations], tff.Computation]]" = {
    "aggregate": lambda traced: traced.aggregate
}
SERVER_FUNCTIONS, FINISHING_FUNCTIONS = tuple(_SERVER), tuple(_FINISHING)
AT_HOME_FUNCTIONS = tuple(_AT_HOME)


def client_functions(traced: computations.Computations) -> "tuple[str, ...]":
    """The names of a client's computations: where metrics are withheld nobody evaluates."""
    return tuple(name for name in _CLIENT if name != "evaluate" or traced.spec.measured)


@dataclasses.dataclass(frozen=True)
class Compiled:
    """The computations of a run, compiled once; each is sent to a worker once.

    Attributes:
      train: see `computations.Computations`.
      evaluate: `Computations.evaluate_spreads` where the spread is found, else `evaluate_client`;
        None where metrics are withheld.
      aggregate: `Computations.aggregate`, which the driver runs itself; None where it is another's.
      count: `Computations.count_client`.
      write, read, start, note: see `state_files`.
      traced: their types.
    """

    train: remote.Function
    count: remote.Function
    evaluate: Optional[remote.Function]
    aggregate: Optional[remote.Function]
    write: remote.Function
    read: remote.Function
    start: remote.Function
    note: remote.Function
    traced: computations.Computations

    @classmethod
    def of(
        cls, traced: computations.Computations, functions: "Mapping[str, remote.Function]"
    ) -> "Compiled":
        """Of functions by name: all `client_functions`, and those of `SERVER_FUNCTIONS` where the
        server's part is needed.
        """
        named = {name: functions[name] for name in client_functions(traced)}
        return cls(
            evaluate=named.pop("evaluate", None),
            **named,
            aggregate=functions.get("aggregate"),
            traced=traced,
        )


def tracers(
    traced: computations.Computations, names: "Sequence[str]"
) -> "dict[str, Callable[[], tff.Computation]]":
    """What traces each of some computations, by name."""
    how = {**_CLIENT, **_SERVER, **_AT_HOME, **_FINISHING}
    return {name: functools.partial(how[name], traced) for name in names}


def traced_functions(
    how: "Mapping[str, Callable[[], tff.Computation]]",
) -> "dict[str, remote.Function]":
    """Traces computations, and compiles them for TFF's native runtime, which takes seconds: each in
    a thread beside the tracing of the next, as TensorFlow's optimizer leaves Python to others.
    """
    with concurrent.futures.ThreadPoolExecutor(1, "compile") as pool:
        try:
            compiling = {
                name: pool.submit(remote.Function.of, name, trace()) for name, trace in how.items()
            }
            if compiling:
                gc.collect()  # Graphs hold themselves: of a client's, 100 MB.
            return {name: made.result() for name, made in compiling.items()}
        except BaseException:
            # Who ends the command does not wait for what nobody will use.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def serialised(functions: "Mapping[str, remote.Function]") -> "dict[str, bytes]":
    """Computations by name, each in TFF's own form; for `restored`."""
    return {
        name: tff.framework.serialize_computation(function.computation).SerializeToString()
        for name, function in functions.items()
    }


def restored(parts: "Mapping[str, bytes]") -> "dict[str, remote.Function]":
    """What `serialised` was given, of computations that were traced elsewhere."""
    return {
        name: remote.Function(
            name,
            tff.framework.deserialize_computation(computation_pb2.Computation.FromString(part)),
        )
        for name, part in parts.items()
    }
