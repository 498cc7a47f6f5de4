"""Warm-up requests: a model server replays them when it loads a version,
and refuses the version where one fails.

Without them a version whose variables are missing would load and then fail at the first request.

Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]
from tensorflow_serving.apis import (
    classification_pb2,
    predict_pb2,
    prediction_log_pb2,
    regression_pb2,
)

from export import interface
from export.graph import requests as requests_lib
from pfrec import errors

FILE = "assets.extra/tf_serving_warmup_requests"
SIZES = (1, 8, 32)


@dataclasses.dataclass(frozen=True)
class Replay:
    """One warm-up request.

    Attributes:
      signature: the name of the signature that it is for.
      request: what is sent: a PredictRequest, ClassificationRequest or RegressionRequest.
      inputs: the tensors that a server makes of it, by name.
    """

    signature: str
    request: Any
    inputs: Mapping[str, np.ndarray]


def request_for(
    model: str, served: interface.Interface, name: str, features: Mapping[str, np.ndarray]
) -> Any:
    """The request to a signature of a model server.

    Args:
      model: name of the served model.
      served: its interface.
      name: of the signature.
      features: named arrays [rows].
    """
    method = served.signatures()[name].method.rpartition("/")[2]
    if method == "predict":
        made = predict_pb2.PredictRequest()
        for key, values in features.items():
            made.inputs[key].CopyFrom(
                tf.make_tensor_proto(values, tf.string if values.dtype == object else values.dtype)
            )
    else:
        made = (
            classification_pb2.ClassificationRequest()
            if method == "classify"
            else regression_pb2.RegressionRequest()
        )
        for serialized in requests_lib.examples(features):
            made.input.example_list.examples.add().MergeFromString(serialized)
    made.model_spec.name, made.model_spec.signature_name = model, name
    return made


def requests(
    model: str, served: interface.Interface, features: Mapping[str, np.ndarray]
) -> "list[Any]":
    """For every signature a request of each of `SIZES` rows, made of the given rows."""
    parts = [requests_lib.repeated(features, size) for size in SIZES]
    return [
        request_for(model, served, name, part)
        for name in sorted(served.signatures())
        for part in parts
    ]


def write(directory: pathlib.Path, sent: Sequence[Any]) -> None:
    """Writes requests as the warm-up file of a model directory.

    Raises:
      PfrecError: where the file cannot be written.
    """
    path = directory / FILE
    try:
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            for request in sent:
                log = prediction_log_pb2.PredictionLog()
                if isinstance(request, predict_pb2.PredictRequest):
                    log.predict_log.request.CopyFrom(request)
                elif isinstance(request, classification_pb2.ClassificationRequest):
                    log.classify_log.request.CopyFrom(request)
                else:
                    log.regress_log.request.CopyFrom(request)
                # Maps have no order of their own; two equal exports must give equal files.
                writer.write(log.SerializeToString(deterministic=True))
    except (OSError, tf.errors.OpError) as error:
        raise errors.PfrecError(
            f"{path}: cannot be written ({error}); free space or choose another path"
        ) from error


def read(directory: pathlib.Path) -> "list[Replay]":
    """The warm-up requests of a model directory.

    Raises:
      PfrecError: where the file is missing, damaged, empty, or holds a kind of request that no
        signature of ours answers.
    """
    path = directory / FILE
    remedy = "export the model again"
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    except (tf.errors.OpError, message.DecodeError) as error:
        raise errors.PfrecError(f"{path}: cannot be read ({error}); {remedy}") from error
    if not logs:
        raise errors.PfrecError(f"{path}: holds no request; {remedy}")
    found = []
    for log in logs:
        kind = log.WhichOneof("log_type")
        if kind not in ("predict_log", "classify_log", "regress_log"):
            raise errors.PfrecError(
                f"{path}: holds something other than a request to predict, classify or "
                f"regress; {remedy}"
            )
        request = getattr(log, kind).request
        found.append(Replay(request.model_spec.signature_name, request, arrays(request)))
    return found


def arrays(request: Any) -> "dict[str, np.ndarray]":
    """The tensors that a server makes of a request, text as objects of bytes."""
    if isinstance(request, predict_pb2.PredictRequest):
        return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
    examples = [
        example.SerializeToString(deterministic=True)
        for example in request.input.example_list.examples
    ]
    return {interface.EXAMPLES: requests_lib.texts(examples)}
