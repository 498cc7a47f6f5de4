"""Warm-up requests: a model server replays them when it loads a version, and refuses the version where one fails.

Without them a version whose variables are missing would load and then fail at the first request.

Reference: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import pathlib
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from google.protobuf import message  # type: ignore[import-untyped]
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export import signature
from pfrec import errors

FILE = "assets.extra/tf_serving_warmup_requests"


def predict_request(model: str, request: Mapping[str, np.ndarray]) -> predict_pb2.PredictRequest:
    """The request to `serving_default` of a model server that holds these inputs, each [rows]."""
    made = predict_pb2.PredictRequest()
    made.model_spec.name = model
    made.model_spec.signature_name = signature.NAME
    for name, values in request.items():
        made.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string if values.dtype == object else values.dtype))
    return made


def write(directory: pathlib.Path, model: str, request: Mapping[str, np.ndarray]) -> None:
    """Writes one warm-up request into a model directory.

    Raises:
      PfrecError: where the file cannot be written.
    """
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.CopyFrom(predict_request(model, request))
    path = directory / FILE
    try:
        path.parent.mkdir(exist_ok=True)
        with tf.io.TFRecordWriter(str(path)) as writer:
            # Maps have no order of their own; two equal exports must give equal files.
            writer.write(log.SerializeToString(deterministic=True))
    except (OSError, tf.errors.OpError) as error:
        raise errors.PfrecError(f"{path}: cannot be written ({error}); free space or choose another path") from error


def read(directory: pathlib.Path) -> "list[predict_pb2.PredictRequest]":
    """The warm-up requests of a model directory.

    Raises:
      PfrecError: where the file is missing, damaged, empty, or holds anything but requests to `serving_default`.
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
    for log in logs:
        if not log.HasField("predict_log") or log.predict_log.request.model_spec.signature_name != signature.NAME:
            raise errors.PfrecError(f"{path}: holds something other than a request to {signature.NAME}; {remedy}")
    return [log.predict_log.request for log in logs]


def arrays(request: predict_pb2.PredictRequest) -> "dict[str, np.ndarray]":
    """The inputs of a request as arrays [rows], text as objects of bytes."""
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
