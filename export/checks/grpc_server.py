"""The checks of a running model server by gRPC."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export import interface
from export.checks import malformed, server_expectations
from export.checks import version as version_checks
from export.graph import requests
from export.version import warmup
from pfrec import errors

_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class _RefusedError(errors.PfrecError):
    """The server answered with an error."""


class _Server:
    """A server's services, asked about one version of one model."""

    def __init__(
        self,
        channel: grpc.Channel,
        wanted: server_expectations.Expected,
        target: str,
        timeout: float,
    ) -> None:
        self._predictions = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._wanted, self._target, self._timeout = wanted, target, timeout

    def _call(self, method: Any, request: Any) -> Any:
        if not request.model_spec.name:
            request.model_spec.name = self._wanted.model
        if self._wanted.version is not None and not request.model_spec.HasField("version"):
            request.model_spec.version.value = self._wanted.version
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            if error.code() in _UNREACHABLE:
                raise _unreachable(
                    self._target, f"{error.code().name}: {error.details()}"
                ) from error
            raise _RefusedError(f"{error.code().name}: {error.details()}") from error

    def status(self) -> str:
        """That the version is available."""
        response = self._call(
            self._models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest()
        )
        states = get_model_status_pb2.ModelVersionStatus.State
        found = {
            status.version: states.Name(status.state) for status in response.model_version_status
        }
        version = self._wanted.version
        if "AVAILABLE" not in (found.values() if version is None else [found.get(version)]):
            raise errors.PfrecError(f"version {version} is not available; the server says {found}")
        available = [str(v) for v, state in sorted(found.items()) if state == "AVAILABLE"]
        return f"version {', '.join(available)} is available"

    def metadata(self) -> str:
        """That the signatures are those of the schema."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        response = self._call(self._predictions.GetModelMetadata, request)
        described = get_model_metadata_pb2.SignatureDefMap.FromString(
            response.metadata["signature_def"].value
        )
        found = {
            name: interface.Signature(s.method_name, _tensors(s.inputs), _tensors(s.outputs))
            for name, s in described.signature_def.items()
            if not name.startswith("__")
        }
        return server_expectations.require_signatures(found, self._wanted.served)

    def answers(self) -> str:
        """That the answers to the warm-up requests are those of the files."""
        largest = 0.0
        for replay, mine in zip(self._wanted.replays, self._wanted.answers):
            rows = requests.rows(replay.inputs)
            what = f"{replay.signature}, {rows} rows"
            try:
                found = self.ask(replay.request)
            except _RefusedError as error:
                raise errors.PfrecError(f"{what}: refused: {error}") from error
            largest = max(largest, server_expectations.require_equal(found, mine, what))
        return (
            f"{len(self._wanted.replays)} warm-up requests, largest difference to the files "
            f"here {largest:.3g}"
        )

    def refusals(self) -> str:
        """That what has to be an error is one."""
        request = requests.random(self._wanted.served, 2, seed=0)
        strange, future = (
            _predict_request(interface.SERVE, request),
            _predict_request(interface.SERVE, request),
        )
        strange.model_spec.name = "no_such_model"
        future.model_spec.version.value = 2**40
        swapped = warmup.request_for(
            self._wanted.model, self._wanted.served, interface.REGRESS, request
        )
        swapped.model_spec.signature_name = interface.CLASSIFY
        sent: list[tuple[str, Any]] = [
            ("an unknown model", strange),
            ("an unknown version", future),
            ("a regression request to classify", swapped),
        ]
        sent += [
            (case.name, _request(case))
            for case in server_expectations.errors_expected(self._wanted.served)
        ]
        return server_expectations.require_refusals(
            [(name, self._refusal(request)) for name, request in sent]
        )

    def _refusal(self, request: Any) -> Optional[str]:
        try:
            self.ask(request)
        except _RefusedError as error:
            return str(error)
        return None

    def ask(self, request: Any) -> "dict[str, np.ndarray]":
        """Sends a request of any kind; its outputs by name, as the signature has them."""
        if isinstance(request, predict_pb2.PredictRequest):
            response = self._call(self._predictions.Predict, request)
            return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}
        if isinstance(request, classification_pb2.ClassificationRequest):
            rows = self._call(self._predictions.Classify, request).result.classifications
            return {
                interface.CLASSES: np.array(
                    [[c.label.encode() for c in row.classes] for row in rows], object
                ),
                interface.SCORES: np.array(
                    [[c.score for c in row.classes] for row in rows], np.float32
                ),
            }
        assert isinstance(request, regression_pb2.RegressionRequest)
        rows = self._call(self._predictions.Regress, request).result.regressions
        return {interface.REGRESSED: np.array([row.value for row in rows], np.float32)}


def check(
    made: version_checks.Checklist,
    wanted: server_expectations.Expected,
    target: str,
    timeout: float,
) -> None:
    """Adds the checks of a server by gRPC.

    Raises:
      UnreachableError: where no server answers in time.
    """
    with _channel(target, timeout) as channel:
        server = _Server(channel, wanted, target, timeout)
        for name in ("status", "metadata", "answers", "refusals"):
            made.passed(f"gRPC {name}", getattr(server, name))


@contextlib.contextmanager
def _channel(target: str, timeout: float) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=timeout)
        except grpc.FutureTimeoutError:
            raise _unreachable(target, f"no connection within {timeout:g} s") from None
        yield channel


def _unreachable(target: str, reason: str) -> server_expectations.UnreachableError:
    return server_expectations.UnreachableError(
        f"{target}: {reason}; start the model server, or check --endpoint (its gRPC port) and "
        "--timeout"
    )


def _tensors(described: Mapping[str, Any]) -> "dict[str, str]":
    return {
        name: f"{tf.as_dtype(info.dtype).name} {tf.TensorShape(info.tensor_shape).as_list()}"
        for name, info in described.items()
    }


def _predict_request(name: str, inputs: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = name
    for key, values in inputs.items():
        request.inputs[key].CopyFrom(
            tf.make_tensor_proto(values, tf.string if values.dtype == object else values.dtype)
        )
    return request


def _request(case: malformed.Malformed) -> Any:
    """The request that stands for malformed inputs; examples go the way of examples,
    or as a tensor where they are none.
    """
    if set(case.inputs) != {interface.EXAMPLES}:
        return _predict_request(case.signature, case.inputs)
    made = (
        classification_pb2.ClassificationRequest()
        if case.signature == interface.CLASSIFY
        else regression_pb2.RegressionRequest()
    )
    made.model_spec.signature_name = case.signature
    for serialized in case.inputs[interface.EXAMPLES]:
        try:
            made.input.example_list.examples.add().MergeFromString(serialized)
        except message.DecodeError:
            return _predict_request(case.signature, case.inputs)
    return made
