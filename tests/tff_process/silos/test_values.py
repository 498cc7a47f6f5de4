"""Fields that the protocol does not know are found wherever they hide."""

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tests.tff_process.silos import stand_in_worker as stand_in
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


def test_numbers_that_are_written_twice_are_none():
    """A second list would pass beside those that are checked."""
    twice = stand_in.tensor(np.zeros([2]))
    assert twice.array.HasField("content")
    twice.array.float32_list.value.extend([1.0, 2.0])
    with stand_in.refused("its numbers do not make up"):
        values.check(twice, values.Tensor(values.FLOAT, (2,)), "x")


def test_numbers_of_both_precisions_are_finite():
    for kind, dtype in ((values.FLOAT, np.float32), (values.DOUBLE, np.float64)):
        spec = values.Tensor(kind, (2,))
        values.check(stand_in.tensor([1.0, 2.0], dtype), spec, "x")
        for bad in (np.nan, np.inf):
            with stand_in.refused("x: holds values that are not finite"):
                values.check(stand_in.tensor([1.0, bad], dtype), spec, "x")


def test_a_shape_is_known_and_a_text_bounded():
    unknown = stand_in.tensor(1.0)
    unknown.array.shape.unknown_rank = True
    with stand_in.refused("where float32"):
        values.check(unknown, values.Tensor(values.FLOAT, ()), "x")
    text = values.Tensor(values.STRING, ())
    values.check(values.string("x" * values.MOST_TEXT), text, "x")
    with stand_in.refused("a text longer than 1048576 bytes"):
        values.check(values.string("x" * (values.MOST_TEXT + 1)), text, "x")


def test_a_digest_is_of_types_shapes_and_numbers_however_they_are_written():
    numbers = np.arange(6)
    told = {
        values.digest(stand_in.tensor(numbers.reshape(shape), kind))
        for shape in ([6], [2, 3], [3, 2])
        for kind in (np.float32, np.float64, np.int32)
    }
    told.add(values.digest(stand_in.tensor(numbers[::-1].copy())))
    assert len(told) == 10
    listed = array_pb2.Array(dtype=values.FLOAT, shape=array_pb2.ArrayShape(dim=[6]))
    listed.float32_list.value.extend(numbers)
    assert values.digest(executor_pb2.Value(array=listed)) == values.digest(
        stand_in.tensor(numbers)
    )
