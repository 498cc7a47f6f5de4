"""Messages that send values: whoever reads them finds what protobuf itself would have written."""

import numpy as np
import pytest
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tff_process.silos import forwarding

LARGE = np.arange(5_000, dtype=np.float32).reshape(50, 100)


def array(values):
    return executor_pb2.Value(
        array=array_pb2.Array(
            dtype=1, shape=array_pb2.ArrayShape(dim=values.shape), content=values.tobytes()
        )
    )


def struct(**parts):
    value = executor_pb2.Value(struct=executor_pb2.Value.Struct())
    for name, part in parts.items():
        value.struct.element.add(name=name, value=part)
    return value


def number(value):
    made = array_pb2.Array(dtype=3, shape=array_pb2.ArrayShape())
    made.int32_list.value.append(value)
    return executor_pb2.Value(array=made)


@pytest.mark.parametrize(
    "value",
    [
        array(LARGE),
        array(LARGE[:1]),
        array(np.zeros([0, 3], np.float32)),
        number(7),
        struct(),
        struct(common=struct(table=array(LARGE), bias=array(LARGE[:1])), count=number(-1)),
        struct(**{"": array(LARGE)}),
        executor_pb2.Value(),
        executor_pb2.Value(struct={"element": [{"name": "nothing"}, {"value": {}}]}),
    ],
)
def test_what_is_written_reads_as_the_same_message(value):
    request = executor_pb2.CreateValueRequest(
        executor=executor_pb2.ExecutorId(id="one"), value=value
    )
    written = forwarding.create_value(request)
    assert executor_pb2.CreateValueRequest.FromString(written) == request
    assert len(written) == request.ByteSize()


def test_an_array_that_says_nothing_of_its_shape_and_a_value_of_a_computation_pass_too():
    for value in (
        executor_pb2.Value(array=array_pb2.Array(content=bytes(5_000))),
        executor_pb2.Value(
            array={"content": bytes(5_000), "int32_list": {"value": [1]}, "shape": {"dim": [2]}}
        ),
        executor_pb2.Value(computation={"reference": {"name": "train"}}),
    ):
        request = executor_pb2.CreateValueRequest(value=value)
        read = executor_pb2.CreateValueRequest.FromString(forwarding.create_value(request))
        assert read == request


def test_a_message_without_a_value_stays_one():
    request = executor_pb2.CreateValueRequest(executor=executor_pb2.ExecutorId(id="one"))
    read = executor_pb2.CreateValueRequest.FromString(forwarding.create_value(request))
    assert read == request
    assert not read.HasField("value")
