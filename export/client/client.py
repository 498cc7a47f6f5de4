"""A client of a model server for users' own programs, by gRPC or by REST,
with one deadline per call and retries within it.

    with pfrec.Client("localhost:8500", "NL", timeout=0.5) as model:
        probabilities = model.predict({"item_id": [3, 3], "price": [1.5, 2.0]})["ctr"]

A prediction changes nothing on the server, so it may be asked again: what is retried is a server
that is not reachable, is overloaded or does not answer in time; never a request that it refused.
"""

import abc
import http.client
import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Optional, TypeVar

import numpy as np

from export.client import rest
from pfrec import errors

_T = TypeVar("_T")
_SEQUENCES = (list, tuple, np.ndarray)
_NUMPY = {"int64": np.int64, "float32": np.float32}


class ServingError(errors.PfrecError):
    """The server refused a request, or could not be reached in time.

    Attributes:
      code: gRPC's name of the status, or the number of HTTP's, as text; `DEADLINE_EXCEEDED` where
        time ran out.
    """

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _Input(NamedTuple):
    """An input of a served model: its dtype, and whether it takes a list for each row."""

    dtype: str
    listed: bool


class _AgainError(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


class Client(abc.ABC):
    """What both clients have in common; threads may share one.

    Args:
      target: HOST:PORT.
      model: name of the served model.
      version: which version; None for the one that the server serves as its newest.
      timeout: seconds that a call may take, with all its attempts.
      attempts: how often a call is tried at most. Each has an equal part of the time that is left.
      backoff: seconds before the second attempt; twice as long before each further one, and up to
        half as long again by chance.
    """

    def __init__(
        self,
        target: str,
        model: str,
        *,
        version: Optional[int] = None,
        timeout: float = 1.0,
        attempts: int = 3,
        backoff: float = 0.02,
    ) -> None:
        if timeout <= 0 or attempts < 1:
            raise errors.PfrecError(
                f"{target}: timeout {timeout:g} and attempts {attempts} must be above 0"
            )
        self.target, self.model, self.version = target, model, version
        self._timeout, self._attempts, self._backoff = timeout, attempts, backoff
        self._types: Optional[dict[str, _Input]] = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def predict(self, features: Mapping[str, Sequence[Any]]) -> "dict[str, np.ndarray]":
        """Probabilities of some rows.

        Args:
          features: per input a list or array [rows]: whole numbers, numbers, or text; lists of
            them, of any lengths, where the input takes lists.

        Returns:
          float32 [rows] by task.

        Raises:
          ServingError: where the server refuses, or does not answer within the timeout.
          PfrecError: where a value does not fit the type of its input.
        """
        deadline = time.monotonic() + self._timeout
        if self._types is None:
            self._types = self._tried(deadline, self._input_types)
        arrays = {
            name: _array(name, values, self._types.get(name)) for name, values in features.items()
        }
        try:
            return self._tried(deadline, lambda seconds: self._predict(arrays, seconds))
        except ServingError:
            self._types = None  # A new version may take other types.
            raise

    @abc.abstractmethod
    def close(self) -> None:
        """Gives the connection back."""

    @abc.abstractmethod
    def _input_types(self, seconds: float) -> "dict[str, _Input]":
        """What the server says of each input."""

    @abc.abstractmethod
    def _predict(self, arrays: Mapping[str, np.ndarray], seconds: float) -> "dict[str, np.ndarray]":
        """One attempt."""

    def _tried(self, deadline: float, attempt: Callable[[float], _T]) -> _T:
        """Calls `attempt(seconds)` until it answers, the attempts are used up,
        or the deadline has come.
        """
        last = _AgainError("DEADLINE_EXCEEDED", "no time was left")
        for number in range(self._attempts):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return attempt(left / (self._attempts - number))
            except _AgainError as error:
                last = error
            pause = self._backoff * 2**number * (1 + random.random() / 2)
            if number + 1 < self._attempts:
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        raise ServingError(
            f"{self.target}: model {self.model}: no answer within {self._timeout:g} s ({last}); "
            "check that the server is up, or allow more time",
            last.code,
        )

    def _refused(self, code: str, reason: str) -> ServingError:
        return ServingError(
            f"{self.target}: model {self.model}: refused ({code}): {' '.join(reason.split())}", code
        )


class GrpcClient(Client):
    """A client by gRPC.

        >>> import pfrec
        >>> with pfrec.Client("localhost:8500", "nl", timeout=10.0) as model:
        ...     answer = model.predict({"item": [3, 5], "price": [1.5, 2.0]})
        >>> sorted(answer), answer["click"].shape
        (['buy', 'click'], (2,))

    Importing what it needs takes seconds: TensorFlow's protocol buffers come with TensorFlow.
    """

    def __init__(self, target: str, model: str, **settings: Any) -> None:
        super().__init__(target, model, **settings)
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        # A server that comes back is found at once, not after gRPC's own backoff of up to two
        # minutes.
        options = [("grpc.max_reconnect_backoff_ms", 500), ("grpc.min_reconnect_backoff_ms", 50)]
        self._channel = grpc.insecure_channel(target, options=options)
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._again = (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.ABORTED,
        )
        self._rpc_error = grpc.RpcError

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _call(self, method: Any, request: Any, seconds: float) -> Any:
        request.model_spec.name = self.model
        if self.version is not None:
            request.model_spec.version.value = self.version
        try:
            return method(request, timeout=seconds)
        except self._rpc_error as error:
            if error.code() in self._again:
                raise _AgainError(error.code().name, error.details() or "") from error
            raise self._refused(error.code().name, error.details() or "") from error

    def _input_types(self, seconds: float) -> "dict[str, _Input]":
        import tensorflow as tf
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call(self._stub.GetModelMetadata, request, seconds)
        signatures = get_model_metadata_pb2.SignatureDefMap.FromString(
            response.metadata["signature_def"].value
        )
        inputs = signatures.signature_def["serving_default"].inputs
        return {
            name: _Input(tf.as_dtype(info.dtype).name, len(info.tensor_shape.dim) > 1)
            for name, info in inputs.items()
        }

    def _predict(self, arrays: Mapping[str, np.ndarray], seconds: float) -> "dict[str, np.ndarray]":
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.signature_name = "serving_default"
        for name, values in arrays.items():
            request.inputs[name].CopyFrom(
                tf.make_tensor_proto(values, tf.string if values.dtype == object else values.dtype)
            )
        response = self._call(self._stub.Predict, request, seconds)
        return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


class RestClient(Client):
    """A client by REST; it needs neither TensorFlow nor gRPC.

    >>> import pfrec
    >>> with pfrec.RestClient("localhost:8501", "nl", timeout=10.0) as model:
    ...     answer = model.predict({"item": [3, 5], "price": [1.5, 2.0]})
    >>> bool((answer["buy"] < 1).all())
    True

    """

    def __init__(self, target: str, model: str, **settings: Any) -> None:
        super().__init__(target, model, **settings)
        self._own = threading.local()

    def close(self) -> None:
        """Closes this thread's connection."""
        connection = getattr(self._own, "connection", None)
        if connection is not None:
            connection.close()
            del self._own.connection

    def _call(self, method: str, path: str, body: Optional[bytes], seconds: float) -> Any:
        connection = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = http.client.HTTPConnection(self.target)
        connection.timeout = seconds
        if connection.sock is not None:
            connection.sock.settimeout(seconds)
        try:
            connection.request(
                method,
                rest.path(self.model, self.version) + path,
                body,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            status, content = response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            code = "DEADLINE_EXCEEDED" if isinstance(error, TimeoutError) else "UNAVAILABLE"
            raise _AgainError(code, str(error) or type(error).__name__) from error
        if status in (429, 502, 503, 504):
            raise _AgainError(str(status), content.decode(errors="replace"))
        if status != 200:
            raise self._refused(str(status), content.decode(errors="replace"))
        try:
            return json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._refused(str(status), f"the answer is no JSON ({error})") from error

    def _input_types(self, seconds: float) -> "dict[str, _Input]":
        signature = rest.signatures(self._call("GET", "/metadata", None, seconds))[
            "serving_default"
        ]
        self._tasks = list(signature.outputs)
        return {
            name: _Input(text.split()[0], "," in text) for name, text in signature.inputs.items()
        }

    def _predict(self, arrays: Mapping[str, np.ndarray], seconds: float) -> "dict[str, np.ndarray]":
        body = {"signature_name": "serving_default", "inputs": rest.columns(arrays)}
        answer = self._call("POST", ":predict", json.dumps(body).encode(), seconds)
        # REST leaves out the name of an only output.
        return {name or self._tasks[0]: values for name, values in rest.outputs(answer).items()}


def _array(name: str, values: Sequence[Any], kind: "Optional[_Input]") -> np.ndarray:
    """The values in the type that the server takes;
    one that it does not know is left to the server to refuse.
    """
    if kind is None:
        listed = len(values) and isinstance(values[0], _SEQUENCES)
        return _lists(name, values, None) if listed else _single(name, values, None)
    return _lists(name, values, kind.dtype) if kind.listed else _single(name, values, kind.dtype)


def _lists(name: str, lists: Sequence[Any], dtype: Optional[str]) -> np.ndarray:
    """Lists of any lengths as an array [rows, values], filled up with what stands for no value."""
    if dtype == "float32" and len({len(v) for v in lists if isinstance(v, _SEQUENCES)}) > 1:
        raise errors.PfrecError(f"input {name!r}: takes vectors of one length; mend the shorter")
    for place, values in enumerate(lists):
        if not isinstance(values, _SEQUENCES):
            raise errors.PfrecError(
                f"input {name!r}: takes a list for each row, got {values!r} in row {place}; put it "
                "into a list"
            )
    flat = _single(name, [value for values in lists for value in values], dtype)
    filled = np.full(
        (len(lists), max([1, *map(len, lists)])), b"" if flat.dtype == object else -1, flat.dtype
    )
    start = 0
    for row, values in zip(filled, lists):
        row[: len(values)] = flat[start : start + len(values)]
        start += len(values)
    return filled


def _flat(name: str, values: Sequence[Any]) -> np.ndarray:
    """Single values as an array [rows]."""
    for place, value in enumerate(values):
        if isinstance(value, _SEQUENCES):
            raise errors.PfrecError(
                f"input {name!r}: takes single values, got {value!r} in row {place}; take it out "
                "of its list"
            )
    return np.asarray(values)


def _single(name: str, values: Sequence[Any], dtype: Optional[str]) -> np.ndarray:
    """The values in the type that the server takes;
    one that it does not know is left to the server to refuse.
    """
    if dtype in _NUMPY:
        wanted = np.dtype(_NUMPY[dtype])
        given = _flat(name, values) if len(values) else np.empty(0, wanted)
        if given.dtype.kind not in "iub" + ("f" if dtype == "float32" else ""):
            raise errors.PfrecError(
                f"input {name!r}: takes {dtype}, got {given.dtype}; convert the values"
            )
        return given.astype(wanted)
    if dtype is None and not isinstance(values, (str, bytes)):
        given = _flat(name, values)
        if given.dtype.kind in "iufb":
            return given.astype(np.float32 if given.dtype.kind == "f" else np.int64)
    texts = np.empty(len(values), object)
    for place, value in enumerate(values):
        if not isinstance(value, (str, bytes)):
            raise errors.PfrecError(
                f"input {name!r}: takes text, got {type(value).__name__} {value!r}; convert "
                "the values"
            )
        texts[place] = value.encode() if isinstance(value, str) else value
    return texts
