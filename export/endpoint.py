"""The check of a running model server, over gRPC."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Optional

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from export import capi, manifest, signature, verification, warmup
from pfrec import errors
from pfrec.data import schema as schema_lib

# The server is another build of TensorFlow, perhaps on a GPU: sums are taken in another order than here.
TOLERANCE = 1e-4
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def check(endpoint: str, directory: pathlib.Path, *, timeout: float) -> verification.Check:
    """Sends the warm-up requests of a version to a server and compares its answers with what the version's files answer here.

    Args:
      endpoint: HOST:PORT of the server's gRPC port.
      directory: of a version that passed `verification.verify`; its name is the version asked for, where that is a number.
      timeout: deadline of each request, in seconds.

    Raises:
      PfrecError: where no server answers in time, or the directory cannot be read.
    """
    value = manifest.read(directory)
    schema = schema_lib.Schema.from_json(value["schema"], place=str(directory / manifest.FILE))
    requests = warmup.read(directory)
    inputs = [warmup.arrays(request) for request in requests]
    answers = capi.run(directory, signature.read(directory, schema).names, inputs)
    largest = 0.0
    with _channel(endpoint, timeout) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        for request, mine in zip(requests, answers):
            if directory.name.isdecimal():
                request.model_spec.version.value = int(directory.name)
            response, refusal = _predict(stub, request, endpoint, timeout)
            if response is None:
                return verification.Check("endpoint", False, f"{endpoint} refused a warm-up request: {refusal}")
            theirs = capi.Answer({name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()})
            missing = sorted(set(mine.outputs) - set(theirs.outputs))
            if missing:
                return verification.Check("endpoint", False, f"{endpoint} gives no output {', '.join(missing)}")
            try:
                largest = max(largest, verification.largest_difference([verification.Case({}, mine.outputs)], [theirs]))
            except errors.PfrecError as error:
                return verification.Check("endpoint", False, f"{endpoint}: {error}")
    detail = f"{endpoint}: {len(requests)} request(s), largest difference to the files here {largest:.3g}"
    return verification.Check("endpoint", largest <= TOLERANCE, detail)


@contextlib.contextmanager
def _channel(endpoint: str, timeout: float) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=timeout)
        except grpc.FutureTimeoutError:
            raise _unreachable(endpoint, f"no connection within {timeout:g} s") from None
        yield channel


def _predict(
    stub: prediction_service_pb2_grpc.PredictionServiceStub, request: predict_pb2.PredictRequest, endpoint: str, timeout: float
) -> "tuple[Optional[predict_pb2.PredictResponse], str]":
    """The server's response, or None and why it refused."""
    try:
        return stub.Predict(request, timeout=timeout), ""
    except grpc.RpcError as error:
        if error.code() in _UNREACHABLE:
            raise _unreachable(endpoint, f"{error.code().name}: {error.details()}") from error
        return None, f"{error.code().name}: {error.details()}"


def _unreachable(endpoint: str, reason: str) -> errors.PfrecError:
    return errors.PfrecError(f"{endpoint}: {reason}; start the model server, or check --endpoint (its gRPC port) and --timeout")
