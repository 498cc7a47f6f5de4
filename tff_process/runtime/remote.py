"""Calls on one worker through TFF's `RemoteExecutor`:
values stay there as references until they are fetched.

Every call has a deadline, and an error says whether the worker is lost or the computation failed.
"""

import collections
import concurrent.futures
import dataclasses
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Optional

import grpc
import numpy as np
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import computation_pb2, executor_pb2
from tensorflow_federated.python.core.impl.executors import remote_executor

from pfrec import errors
from tff_process.runtime import stubs, wire, worker_process

_LOST = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    # A worker that was started again does not know the executor.
    grpc.StatusCode.FAILED_PRECONDITION,
}
# Few: a reference that waits for its turn keeps a whole private state in the worker's memory.
_DISPOSE_TOGETHER = 8
_MOST_CONNECTIONS = 1_000
# The name of an executor that a silo's gatekeeper hands out begins with this and the digest of the
# plan that the silo agreed to.
GATEKEEPER = "pfrec-gatekeeper/3/"


class WorkError(errors.PfrecError):
    """A call on a worker failed.

    Attributes:
      lost: whether the worker died, hung or is out of reach; otherwise its computation failed.
      refused: whether a silo or its gatekeeper refused it, which it would do again.
    """

    def __init__(self, message: str, lost: bool, refused: bool = False) -> None:
        super().__init__(message)
        self.lost, self.refused = lost, refused


@dataclasses.dataclass(frozen=True)
class Function:
    """A computation, and the name that a silo with a gatekeeper has for its own of it.

    Attributes:
      name: of it.
      computation: compiled for TFF's native runtime.
    """

    name: str
    computation: tff.Computation

    @classmethod
    def of(cls, name: str, computation: tff.Computation) -> "Function":
        """Compiles."""
        return cls(name, tff.backends.native.desugar_and_transform_to_native(computation))

    @property
    def type_signature(self) -> tff.FunctionType:
        """Of the computation."""
        return self.computation.type_signature

    def reference(self) -> Any:
        """The name alone, in the protocol's form of a computation."""
        whole = tff.framework.serialize_computation(self.computation)
        return computation_pb2.Computation(
            type=whole.type, reference=computation_pb2.Reference(name=self.name)
        )


class _Executor(tff.framework.RemoteExecutor):
    """References may be dropped by several threads at once,
    and by garbage collection within one that is dropping. Values pass by `wire`, and nothing is
    traced or looked through on its way.
    """

    _dispose_request: Any  # TFF's own.

    def __init__(self, stub: Any) -> None:
        super().__init__(stub, dispose_batch_size=_DISPOSE_TOGETHER)
        self._lock = threading.RLock()
        self._answers = wire.Answers()
        # Types of structures by the names and types of their elements, which are kept with them:
        # TFF goes through all that is in them to make one.
        self._structs: dict[Any, tuple[Any, tff.StructType]] = {}

    def speak_through(self, stub: Any) -> None:
        """Goes on with another stub of the same worker."""
        self._stub = stub

    def _dispose(self, *arguments: Any) -> None:
        with self._lock:
            super()._dispose(*arguments)

    def flush(self) -> None:
        """Disposes of what waits for more to be disposed of with it."""
        with self._lock:
            waiting = self._dispose_request
            if waiting is not None and waiting.value_ref:
                self._dispose_request = executor_pb2.DisposeRequest(executor=self._executor_id)
                self._stub.dispose(waiting)

    async def create_value(self, value: Any, type_spec: Any = None) -> Any:
        if isinstance(type_spec, tff.FunctionType):
            computation, _ = tff.framework.serialize_value(value, type_spec)
            request = executor_pb2.CreateValueRequest(
                executor=self._executor_id, value=computation
            ).SerializeToString()
        else:
            request = wire.request(value, type_spec, self._executor_id)
        reference = self._stub.create_value(request).value_ref
        return remote_executor.RemoteValue(reference, type_spec, self)

    async def create_call(self, comp: Any, arg: Any = None) -> Any:
        request = executor_pb2.CreateCallRequest(
            executor=self._executor_id,
            function_ref=comp.reference,
            argument_ref=None if arg is None else arg.reference,
        )
        reference = self._stub.create_call(request).value_ref
        return remote_executor.RemoteValue(reference, comp.type_signature.result, self)

    async def create_struct(self, elements: Any) -> Any:
        element = executor_pb2.CreateStructRequest.Element
        request = executor_pb2.CreateStructRequest(
            executor=self._executor_id,
            element=[element(name=n, value_ref=of.reference) for n, of in elements.items()],
        )
        reference = self._stub.create_struct(request).value_ref
        return remote_executor.RemoteValue(reference, self._struct_type(elements), self)

    def _struct_type(self, elements: "Mapping[str, Any]") -> tff.StructType:
        kinds = [(name, of.type_signature) for name, of in elements.items()]
        key = tuple((name, id(kind)) for name, kind in kinds)
        found = self._structs.get(key)
        if found is None:
            found = self._structs[key] = kinds, tff.StructType(kinds)
        return found[1]

    async def create_selection(self, source: Any, index: int) -> Any:
        request = executor_pb2.CreateSelectionRequest(
            executor=self._executor_id, source_ref=source.reference, index=index
        )
        reference = self._stub.create_selection(request).value_ref
        return remote_executor.RemoteValue(reference, source.type_signature[index], self)

    async def _compute(self, value_ref: executor_pb2.ValueRef, type_spec: tff.Type) -> Any:
        request = executor_pb2.ComputeRequest(executor=self._executor_id, value_ref=value_ref)
        return self._answers.value(self._stub.compute(request), type_spec)

    async def compute_all(self, references: "Sequence[Any]") -> "list[Any]":
        """The values of several references, which a gatekeeper is asked for in one message."""
        if not isinstance(self._stub, stubs.TogetherStub):
            return [await self._compute(of.reference, of.type_signature) for of in references]
        requests = [
            executor_pb2.ComputeRequest(executor=self._executor_id, value_ref=of.reference)
            for of in references
        ]
        return [
            self._answers.value(answer, of.type_signature)
            for answer, of in zip(self._stub.compute_all(requests), references)
        ]


class Remote:
    """One worker's executor, used from several threads.

    Args:
      target: HOST:PORT of a worker that accepts calls.
      deadline: seconds that a call may take; None for no limit.

    Attributes:
      channel: to the worker.
      agreed: the digest of the plan that a silo's gatekeeper agreed to; None where there is no
        gatekeeper.

    Raises:
      WorkError: where the worker cannot be reached.
    """

    def __init__(self, target: str, deadline: Optional[float]) -> None:
        self._target, self._deadline = target, deadline
        self.channel = grpc.insecure_channel(target, worker_process.CHANNEL_OPTIONS)
        self._functions: dict[int, Any] = {}
        self._lock = threading.Lock()
        self.agreed: Optional[str] = None

    def wait_until_ready(self, seconds: float) -> None:
        """Waits for the worker to greet.

        Raises:
          WorkError: where it does not in `seconds`.
        """
        ready = grpc.channel_ready_future(self.channel)
        try:
            ready.result(timeout=seconds)
        except grpc.FutureTimeoutError:
            raise WorkError("it does not answer", lost=True) from None
        finally:
            ready.cancel()

    def open(self, *, alone: bool = False) -> None:
        """Connects: asks the worker for an executor.

        Args:
          alone: whether to dispose of what connections before this one left in the worker; they are
            of no use any more.
        """
        self._stub: stubs.Stub = stubs.Stub(stubs.TimedChannel(self.channel, self._deadline))
        self._executor = _Executor(self._stub)
        self._try(lambda: self._executor.set_cardinalities({tff.CLIENTS: 0}))
        name = str(self._executor._executor_id.id)
        self.agreed = name.split("/")[2] if name.startswith(GATEKEEPER) else None
        if self.agreed is not None:
            self._stub = stubs.TogetherStub(stubs.TimedChannel(self.channel, self._deadline))
            self._executor.speak_through(self._stub)
        # A gatekeeper has done so itself.
        if alone and self.agreed is None:
            self._try(self._dispose_of_others)

    def _dispose_of_others(self) -> None:
        # The worker hands out one executor to all who ask, with a count of them, and makes a new
        # one once the count is down to zero.
        for _ in range(_MOST_CONNECTIONS):
            number = self._executor._executor_id
            for _ in range(2):
                self._stub.dispose_executor(executor_pb2.DisposeExecutorRequest(executor=number))
            self._executor._executor_id = None
            self._executor.set_cardinalities({tff.CLIENTS: 0})
            if self._executor._executor_id != number:
                return

    def close(self) -> None:
        """Disposes of the executor and its values, and disconnects."""
        if hasattr(self, "_executor"):
            with self._lock:
                self._functions.clear()
            self._executor.close()
        self.channel.close()

    def abandon(self) -> None:
        """Disconnects from a worker that is lost, without a word to it."""
        self.channel.close()

    def send(self, value: Any, kind: tff.Type) -> Any:
        """A reference to a value that is sent to the worker, to a gatekeeper with what is fetched
        next; text as bytes of UTF-8.
        """
        return self._run(lambda: self._executor.create_value(as_bytes(value), kind))

    def flush(self) -> None:
        """Has the worker let go at once of what nobody refers to any more."""
        self._executor.flush()

    def struct(self, values: Mapping[str, Any]) -> Any:
        """A reference to the structure of referenced values."""
        return self._run(lambda: self._executor.create_struct(collections.OrderedDict(values)))

    def call(self, function: Function, argument: Any = None) -> Any:
        """A reference to the result of a computation, which is sent where it was not yet, by its
        name alone to a gatekeeper; the call itself does not wait.
        """
        with self._lock:
            # The function is kept too: its number may be another's after it is gone.
            if id(function) not in self._functions:
                what = function.computation if self.agreed is None else function.reference()
                self._functions[id(function)] = function, self.send(what, function.type_signature)
            _, reference = self._functions[id(function)]
        return self._run(lambda: self._executor.create_call(reference, argument))

    def select(self, source: Any, index: int) -> Any:
        """A reference to an element of a referenced structure."""
        return self._run(lambda: self._executor.create_selection(source, index))

    def fetch(self, reference: Any) -> Any:
        """The value of a reference; structures come as ordered dicts, or lists where they have no
        names. Waits for the computation.
        """
        return self._run(
            lambda: self._executor._compute(reference.reference, reference.type_signature)
        )

    def fetch_all(self, references: "Sequence[Any]") -> "list[Any]":
        """The values of several references, see `fetch`."""
        return self._run(lambda: self._executor.compute_all(references))

    def _run(self, start: Any) -> Any:
        return self._try(lambda: _finish(start()))

    def _try(self, call: Any) -> Any:
        try:
            return self._called(call)
        except WorkError as error:
            self._stub.lost |= error.lost
            raise

    def _called(self, call: Any) -> Any:
        try:
            return call()
        except (grpc.RpcError, tff.framework.RetryableError) as error:
            code = error.code() if callable(getattr(error, "code", None)) else None
            details = (
                error.details() if callable(getattr(error, "details", None)) else None
            ) or str(error)
            if code == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise WorkError(f"no answer within {self._deadline:g} s", lost=True) from error
            if code in _LOST:
                raise WorkError(
                    f"the worker is gone ({errors.readable(details)[:200]})", lost=True
                ) from error
            refused = self.agreed is not None and code == grpc.StatusCode.PERMISSION_DENIED
            raise WorkError(errors.readable(details), lost=False, refused=refused) from error
        except wire.UnreadableError as error:
            raise WorkError(f"what it answered cannot be read: {error}", lost=False) from error
        except (concurrent.futures.CancelledError, ValueError) as error:
            if "closed channel" in str(error) or isinstance(
                error, concurrent.futures.CancelledError
            ):
                raise WorkError("the worker is gone", lost=True) from error
            raise


def as_bytes(value: Any) -> Any:
    """A value with its text as bytes of UTF-8: TFF would encode it as ASCII."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Mapping):
        return collections.OrderedDict((name, as_bytes(inner)) for name, inner in value.items())
    if isinstance(value, np.ndarray) and value.dtype.kind in "OU":
        return np.array([as_bytes(one) for one in value.ravel()], object).reshape(value.shape)
    return value


def _finish(work: "Coroutine[Any, Any, Any]") -> Any:
    """Runs a coroutine of `RemoteExecutor`, which blocks where others would wait."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("the executor waits for something else than its worker")
