"""The one way from CLIENTS to SERVER: values stacked along a client axis, in any order."""

import collections
import dataclasses
from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

OD = collections.OrderedDict


def collected_type(value_type: tff.StructType, client_count: int) -> tff.StructType:
    """What `collector` brings to the server: a client axis before every tensor,
    and who is present.
    """

    def stacked(value: tff.Type) -> Any:
        if isinstance(value, tff.StructType):
            return OD((name, stacked(inner)) for name, inner in tff.structure.to_elements(value))
        return tff.TensorType(value.dtype.type, [client_count, *value.shape])

    return tff.to_type(
        OD(value=stacked(value_type), present=tff.TensorType(np.bool_, [client_count]))
    )


def client_id_of(client_type: tff.StructType) -> tff.Computation:
    @tff.tensorflow.computation(client_type)
    def client_id(client: Any) -> tf.Tensor:
        return client["client_id"]

    return client_id


@dataclasses.dataclass(frozen=True)
class Collector:
    """Brings a value of each client present to the server, stacked along a client axis,
    whatever the order they come in.
    """

    aggregate: Callable[[Any], Any]
    result_type: tff.Type

    def __call__(self, client_ids: Any, values: Any) -> Any:
        return self.aggregate(tff.federated_zip((client_ids, values)))


def collector(value_type: tff.StructType, client_count: int) -> Collector:
    def zeros(value: tff.Type) -> Any:
        if isinstance(value, tff.StructType):
            return OD((name, zeros(inner)) for name, inner in tff.structure.to_elements(value))
        return tf.zeros([client_count, *value.shape], value.dtype)

    @tff.tensorflow.computation
    def zero() -> Any:
        return OD(value=zeros(value_type), present=tf.zeros([client_count], tf.bool))

    result_type = collected_type(value_type, client_count)

    @tff.tensorflow.computation(result_type, (np.int32, value_type))
    def accumulate(total: Any, item: Any) -> Any:
        client_id, value = item
        index = client_id[tf.newaxis, tf.newaxis]
        return tf.nest.map_structure(
            lambda stacked, own: tf.tensor_scatter_nd_update(stacked, index, own[tf.newaxis]),
            total,
            OD(value=value, present=tf.constant(True)),
        )

    @tff.tensorflow.computation(result_type, result_type)
    def merge(first: Any, second: Any) -> Any:
        def choose(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            chosen = tf.reshape(second["present"], [client_count] + [1] * (len(a.shape) - 1))
            return tf.where(chosen, b, a)

        return tf.nest.map_structure(choose, first, second)

    @tff.tensorflow.computation(result_type)
    def report(total: Any) -> Any:
        return total

    def aggregate(values: Any) -> Any:
        return tff.federated_aggregate(values, zero(), accumulate, merge, report)

    return Collector(aggregate, result_type)
