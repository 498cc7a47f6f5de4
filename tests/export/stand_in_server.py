"""A stand-in for TensorFlow Serving: its gRPC and REST protocols over the stand-in's models, on
loopback. It is not that server.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import pathlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format  # type: ignore[import-untyped]
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from export.version import warmup
from tests.export import stand_in_models
from tests.export.stand_in_models import Models, Refusal

_METHOD = "tensorflow/serving/"
_DTYPES = {
    tf.int64.as_datatype_enum: np.int64,
    tf.float32.as_datatype_enum: np.float32,
    tf.string.as_datatype_enum: object,
}


class Service(
    prediction_service_pb2_grpc.PredictionServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
):
    """Predict, Classify, Regress, GetModelMetadata and GetModelStatus.

    Attributes:
      failures: how many of the next requests answer UNAVAILABLE, to test retries.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self.failures = 0

    def _answer(self, request: Any, context: grpc.ServicerContext, body: Any) -> Any:
        if self.failures > 0:
            self.failures -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "told to fail")
        spec = request.model_spec
        try:
            with self._models.use(
                spec.name, spec.version.value if spec.HasField("version") else None
            ) as (version, model):
                response = body(model, spec.signature_name or "serving_default")
                if hasattr(response, "model_spec"):
                    response.model_spec.name, response.model_spec.version.value = spec.name, version
                return response
        except Refusal as error:
            context.abort(error.code, str(error))

    def Predict(self, request, context):  # noqa: N802  (the protocol's names)
        def body(model: stand_in_models.LoadedModel, name: str) -> Any:
            response = predict_pb2.PredictResponse()
            for key, values in model.call(name, warmup.arrays(request)).items():
                response.outputs[key].CopyFrom(
                    tf.make_tensor_proto(values, tf.string if values.dtype == object else None)
                )
            return response

        return self._answer(request, context, body)

    def Classify(self, request, context):  # noqa: N802
        def body(model: stand_in_models.LoadedModel, name: str) -> Any:
            response = classification_pb2.ClassificationResponse()
            for row in classified(model, name, warmup.arrays(request)):
                response.result.classifications.add().classes.extend(
                    classification_pb2.Class(label=label, score=score) for label, score in row
                )
            return response

        return self._answer(request, context, body)

    def Regress(self, request, context):  # noqa: N802
        def body(model: stand_in_models.LoadedModel, name: str) -> Any:
            response = regression_pb2.RegressionResponse()
            for value in regressed(model, name, warmup.arrays(request)):
                response.result.regressions.add().value = value
            return response

        return self._answer(request, context, body)

    def GetModelMetadata(self, request, context):  # noqa: N802
        def body(model: stand_in_models.LoadedModel, name: str) -> Any:
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.metadata["signature_def"].Pack(_signature_map(model))
            return response

        return self._answer(request, context, body)

    def GetModelStatus(self, request, context):  # noqa: N802
        try:
            return _status(self._models, request.model_spec.name)
        except Refusal as error:
            context.abort(error.code, str(error))


def classified(
    model: stand_in_models.LoadedModel, name: str, inputs: Mapping[str, np.ndarray]
) -> "list[list[tuple[str, float]]]":
    """Labels and scores per row."""
    _require_method(model, name, "classify")
    outputs = model.call(name, inputs)
    return [
        [(label.decode(), float(score)) for label, score in zip(*row)]
        for row in zip(outputs["classes"], outputs["scores"].tolist())
    ]


def regressed(
    model: stand_in_models.LoadedModel, name: str, inputs: Mapping[str, np.ndarray]
) -> "list[float]":
    """A value per row."""
    _require_method(model, name, "regress")
    return model.call(name, inputs)["outputs"].tolist()


def _require_method(model: stand_in_models.LoadedModel, name: str, method: str) -> None:
    if name not in model.signatures or model.signatures[name].method_name != _METHOD + method:
        raise Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, f"Expected signature {name} with method {method}"
        )


def _signature_map(model: stand_in_models.LoadedModel) -> get_model_metadata_pb2.SignatureDefMap:
    described = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        described.signature_def[name].CopyFrom(signature)
    return described


def _status(models: Models, name: str) -> get_model_status_pb2.GetModelStatusResponse:
    response = get_model_status_pb2.GetModelStatusResponse()
    for version in models.versions(name):
        state = response.model_version_status.add()
        state.version, state.state = version, get_model_status_pb2.ModelVersionStatus.AVAILABLE
    return response


class _Handler(http.server.BaseHTTPRequestHandler):
    """The REST protocol."""

    protocol_version = "HTTP/1.1"
    models: Models

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        def body(path: "list[str]", verb: str, content: bytes) -> Any:
            name, version = _target(path)
            if path[-1] == "metadata":
                with self.models.use(name, version) as (_, model):
                    described = json_format.MessageToDict(
                        _signature_map(model), preserving_proto_field_name=True
                    )
                    return {"model_spec": {"name": name}, "metadata": {"signature_def": described}}
            return json_format.MessageToDict(
                _status(self.models, name), preserving_proto_field_name=True
            )

        self._respond(body)

    def do_POST(self) -> None:
        def body(path: "list[str]", verb: str, content: bytes) -> Any:
            name, version = _target(path)
            asked = json.loads(content)
            signature = asked.get("signature_name", "serving_default")
            with self.models.use(name, version) as (_, model):
                if verb == "predict":
                    return _predicted(model, signature, asked)
                examples = np.array([_example(row) for row in asked["examples"]], object)
                answer = classified if verb == "classify" else regressed
                return {"results": answer(model, signature, {"inputs": examples})}

        self._respond(body)

    def _respond(self, body: Any) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, verb = self.path.partition(":")
        try:
            status, answer = 200, body(path.strip("/").split("/")[2:], verb, content)
        except Refusal as error:
            status, answer = (
                (404 if error.code == grpc.StatusCode.NOT_FOUND else 400),
                {"error": str(error)},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            status, answer = 400, {"error": repr(error)}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def _target(path: "list[str]") -> "tuple[str, Optional[int]]":
    return path[0], int(path[2]) if len(path) > 2 and path[1] == "versions" else None


def _predicted(
    model: stand_in_models.LoadedModel, name: str, asked: "dict[str, Any]"
) -> "dict[str, Any]":
    if name not in model.signatures:
        raise ValueError(f"no signature {name}")
    described = model.signatures[name].inputs
    by_rows = "instances" in asked
    if by_rows:
        rows = asked["instances"]
        if not rows:
            raise ValueError("no instances")
        rows = [row if isinstance(row, dict) else {next(iter(described)): row} for row in rows]
        if any(set(row) != set(rows[0]) for row in rows):
            raise ValueError("instances of different keys")
        columns = {key: [row[key] for row in rows] for key in rows[0]}
    else:
        columns = asked["inputs"]
    inputs = {}
    for key, values in columns.items():
        if key not in described:
            raise ValueError(f"no input {key}")
        inputs[key] = _tensor(values, _DTYPES[described[key].dtype])
    outputs = {key: values.tolist() for key, values in model.call(name, inputs).items()}
    if not by_rows:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    if len(outputs) == 1:
        return {"predictions": next(iter(outputs.values()))}
    return {"predictions": [dict(zip(outputs, row)) for row in zip(*outputs.values())]}


def _tensor(values: Any, dtype: Any) -> np.ndarray:
    """JSON to a tensor, as strict as the server: no null, and no 3.0 for a whole number."""
    flat: list[Any] = []

    def shape(value: Any) -> "list[int]":
        if not isinstance(value, list):
            fits = {np.int64: (int,), np.float32: (int, float), object: (str, dict)}[dtype]
            if not isinstance(value, fits) or isinstance(value, bool):
                raise ValueError(f"{value!r} is not of the input's type")
            if dtype is object:
                value = (
                    base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()
                )
            flat.append(value)
            return []
        shapes = [shape(item) for item in value]
        if any(s != shapes[0] for s in shapes):
            raise ValueError("rows of different shapes")
        return [len(value), *(shapes[0] if shapes else [])]

    sizes = shape(values)
    result = np.empty(len(flat), dtype)
    result[:] = flat
    return result.reshape(sizes)


def _example(row: "dict[str, Any]") -> bytes:
    example = tf.train.Example()
    for key, given in row.items():
        feature = example.features.feature[key]
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, int):
                feature.int64_list.value.append(value)
            elif isinstance(value, float):
                feature.float_list.value.append(value)
            else:
                feature.bytes_list.value.append(
                    base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()
                )
    return example.SerializeToString()


class Running:
    """A running stand-in.

    Attributes:
      grpc, rest: HOST:PORT.
      models, service: what it serves.
    """

    def __init__(
        self, grpc_target: str, rest_target: str, models: Models, service: Service
    ) -> None:
        self.grpc, self.rest, self.models, self.service = grpc_target, rest_target, models, service


@contextlib.contextmanager
def running(serving: pathlib.Path) -> Iterator[Running]:
    """Serves the models of a serving directory's models.config until the block ends."""
    models = Models(serving)
    service = Service(models)
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    handler = type("Handler", (_Handler,), {"models": models})
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web.daemon_threads = True
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    try:
        yield Running(f"127.0.0.1:{port}", f"127.0.0.1:{web.server_address[1]}", models, service)
    finally:
        web.shutdown()
        web.server_close()
        server.stop(None).wait()
        models.stop()
