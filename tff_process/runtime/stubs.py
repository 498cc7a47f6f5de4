"""The calls of TFF's executor protocol on one worker, one by one or several in a message."""

import collections
import itertools
import threading
from collections.abc import Sequence
from typing import Any, Optional

import grpc
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.runtime import together, wire

_SERVICE = "/tensorflow_federated.v0.ExecutorGroup"
# A larger value is sent as it is: one more copy of it would cost more than a message.
_LATER_BYTES = 1 << 16


class TimedChannel(grpc.Channel):
    """A channel that gives every call the same deadline.

    Nobody is told of its connectivity: gRPC's thread that watches it would complain when the
    channel is closed.
    """

    def __init__(self, channel: grpc.Channel, seconds: Optional[float]) -> None:
        self._channel, self._seconds = channel, seconds

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        call = self._channel.unary_unary(method, *arguments, **options)
        return lambda request: call(request, timeout=self._seconds)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        raise NotImplementedError

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        pass

    def unsubscribe(self, callback: Any) -> None:
        pass

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> "TimedChannel":
        return self

    def __exit__(self, *arguments: Any) -> None:
        self.close()


class Stub(tff.framework.RemoteExecutorGrpcStub):
    """Calls without a trace of each, which takes as long as a small call does. Disposing of values
    of a lost worker is no error: they are gone.

    Attributes:
      lost: whether the worker was found lost; it is not told of anything any more, since each word
        would wait out the deadline.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        super().__init__(channel)
        self.lost = False
        # What holds arrays passes as bytes, see `wire`.
        self._create_value = channel.unary_unary(
            f"{_SERVICE}/CreateValue",
            response_deserializer=executor_pb2.CreateValueResponse.FromString,
        )
        self._compute = channel.unary_unary(
            f"{_SERVICE}/Compute",
            request_serializer=executor_pb2.ComputeRequest.SerializeToString,
        )

    def create_value(self, request: bytes) -> Any:
        return self._create_value(request)

    def create_call(self, request: Any) -> Any:
        return self._stub.CreateCall(request)

    def create_struct(self, request: Any) -> Any:
        return self._stub.CreateStruct(request)

    def create_selection(self, request: Any) -> Any:
        return self._stub.CreateSelection(request)

    def compute(self, request: Any) -> bytes:
        return self._compute(request)  # type: ignore[no-any-return]

    def dispose(self, request: Any) -> Any:
        return self._tell(self._stub.Dispose, request)

    def dispose_executor(self, request: Any) -> Any:
        return self._tell(self._stub.DisposeExecutor, request)

    def _tell(self, call: Any, request: Any) -> Any:
        if self.lost:
            return None
        try:
            return call(request)
        except (grpc.RpcError, tff.framework.RetryableError, ValueError):
            self.lost = True
            return None


class TogetherStub(Stub):
    """Small calls on a gatekeeper wait until a value is asked for, and go with that in one message;
    what is refused of them shows there.
    """

    def __init__(self, channel: grpc.Channel) -> None:
        super().__init__(channel)
        self._send = channel.unary_unary(f"/{together.SERVICE}/{together.METHOD}")
        self._count = itertools.count()
        # Garbage collection may dispose of a value anywhere in here: appending needs no lock.
        self._waiting: collections.deque[together.Call] = collections.deque()
        self._sending = threading.Lock()

    def create_value(self, request: bytes) -> Any:
        if len(request) > _LATER_BYTES:
            return super().create_value(request)
        reference = self._later("CreateValue", request)
        return executor_pb2.CreateValueResponse(value_ref=reference)

    def create_call(self, request: Any) -> Any:
        reference = self._later("CreateCall", request.SerializeToString())
        return executor_pb2.CreateCallResponse(value_ref=reference)

    def create_struct(self, request: Any) -> Any:
        reference = self._later("CreateStruct", request.SerializeToString())
        return executor_pb2.CreateStructResponse(value_ref=reference)

    def create_selection(self, request: Any) -> Any:
        reference = self._later("CreateSelection", request.SerializeToString())
        return executor_pb2.CreateSelectionResponse(value_ref=reference)

    def dispose(self, request: Any) -> Any:
        self._waiting.append(together.Call("Dispose", "", request.SerializeToString()))

    def compute(self, request: Any) -> bytes:
        return self.compute_all([request])[0]

    def compute_all(self, requests: "Sequence[Any]") -> "list[bytes]":
        """What several requests ask for, which leaves the silo at once.

        Raises:
          UnreadableError: where the message that came is not of as many answers.
        """
        asked = [together.Call("Compute", "", of.SerializeToString()) for of in requests]
        # One message at a time, as one may name what the one before it makes.
        with self._sending:
            calls: list[together.Call] = []
            while self._waiting:
                if len(calls) + len(asked) == together.MOST_CALLS:
                    self._send(together.pack(calls))
                    calls.clear()
                calls.append(self._waiting.popleft())
            answer = self._send(together.pack([*calls, *asked]))
        try:
            answers = together.unpack_answers(answer)
        except ValueError as error:
            raise wire.UnreadableError(str(error)) from error
        if len(answers) != len(asked):
            raise wire.UnreadableError(f"{len(answers)} answers to {len(asked)} questions")
        return answers

    def _later(self, method: str, request: bytes) -> executor_pb2.ValueRef:
        name = f"~{next(self._count)}"
        self._waiting.append(together.Call(method, name, request))
        return executor_pb2.ValueRef(id=name)
