"""Fields that the protocol does not know are found wherever they hide."""

import pytest
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tff_process.silos import values

# Field 1,000 with the number 1, in the protocol's bytes.
UNKNOWN = bytes([0xC0, 0x3E, 0x01])


def hiding(kind, value):
    """The same value with a field that nobody knows."""
    return kind.FromString(value.SerializeToString() + UNKNOWN)


def array():
    made = array_pb2.Array(dtype=3, shape=array_pb2.ArrayShape(dim=[2]))
    made.int32_list.value.extend([1, 2])
    return made


def struct(of):
    value = executor_pb2.Value(struct=executor_pb2.Value.Struct())
    value.struct.element.add(name="first", value=executor_pb2.Value(array=array()))
    value.struct.element.add(name="second", value=of)
    return value


def in_shape():
    made = array()
    made.shape.MergeFrom(hiding(array_pb2.ArrayShape, made.shape))
    return made


def in_list():
    made = array()
    made.int32_list.MergeFrom(hiding(array_pb2.Array.IntList, made.int32_list))
    return made


def test_a_message_of_the_protocol_is_known():
    assert values.known(struct(struct(executor_pb2.Value(array=array()))))


@pytest.mark.parametrize(
    "value",
    [
        hiding(executor_pb2.Value, executor_pb2.Value(array=array())),
        executor_pb2.Value(array=hiding(array_pb2.Array, array())),
        executor_pb2.Value(array=in_shape()),
        executor_pb2.Value(array=in_list()),
        executor_pb2.Value(struct=hiding(executor_pb2.Value.Struct, executor_pb2.Value.Struct())),
    ],
)
def test_an_unknown_field_at_any_depth_is_found(value):
    assert not values.known(value)
    assert not values.known(struct(value))
    assert not values.known(struct(struct(value)))
