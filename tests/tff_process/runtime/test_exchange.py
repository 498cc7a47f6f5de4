"""Values pass in the very bytes that TFF's own functions make of them."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.runtime import exchange

OD = collections.OrderedDict
KIND = tff.to_type(
    OD(
        table=tff.TensorType(np.float32, [2, 3]),
        number=tff.TensorType(np.float32),
        steps=tff.TensorType(np.int64, [None]),
        inner=OD(
            texts=tff.TensorType(np.str_, [None]),
            none=tff.TensorType(np.float32, [0, 3]),
            empty=OD(),
        ),
    )
)


def _value():
    return OD(
        table=np.arange(6, dtype=np.float32).reshape(2, 3),
        number=np.float32(0.5),
        steps=np.array([1, 2**40]),
        inner=OD(
            texts=np.array([b"a\0", "é".encode()], object),
            none=np.zeros([0, 3], np.float32),
            empty=OD(),
        ),
    )


def test_the_bytes_are_tffs():
    theirs, _ = tff.framework.serialize_value(_value(), KIND)
    mine = exchange.to_value(_value(), KIND)
    assert mine.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize(
    "number",
    [np.float32(-0.1), np.float64(0.1), np.int32(-3), np.int64(2**40), np.float32("nan")],
)
def test_the_bytes_of_a_single_number_are_tffs(number):
    kind = tff.TensorType(number.dtype.type)
    theirs, _ = tff.framework.serialize_value(number, kind)
    mine = exchange.to_value(number, kind)
    assert mine.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


def test_what_was_sent_comes_back():
    sent = exchange.to_value(_value(), KIND)
    found = exchange.from_value(executor_pb2.Value.FromString(sent.SerializeToString()), KIND)
    assert list(found) == list(_value())
    assert list(found["inner"]) == ["texts", "none", "empty"]
    for name in ("table", "number", "steps"):
        np.testing.assert_array_equal(found[name], _value()[name])
        assert found[name].dtype == _value()[name].dtype
    assert found["inner"]["texts"].tolist() == [b"a\0", "é".encode()]
    assert found["inner"]["none"].shape == (0, 3)
    assert found["inner"]["empty"] == OD()


def test_elements_without_names_come_as_a_list():
    kind = tff.to_type((np.int32, tff.TensorType(np.float64, [2])))
    sent, _ = tff.framework.serialize_value((np.int32(3), np.array([1.0, 2.0])), kind)
    number, pair = exchange.from_value(sent, kind)
    assert number == 3
    assert pair.tolist() == [1.0, 2.0]


def test_a_mapping_is_taken_by_its_names():
    turned = OD(reversed(list(_value().items())))
    assert exchange.to_value(turned, KIND) == exchange.to_value(_value(), KIND)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("table", np.zeros([3, 2], np.float32)),
        ("table", np.zeros([6], np.float32)),
        ("table", np.zeros([2, 3], np.float64)),
        ("steps", np.zeros([2], np.float32)),
    ],
)
def test_what_is_not_of_the_type_is_not_sent(name, value):
    with pytest.raises((TypeError, ValueError)):
        exchange.to_value(OD(_value(), **{name: value}), KIND)


def test_other_names_are_not_sent():
    value = _value()
    value["other"] = value.pop("number")
    with pytest.raises(TypeError, match="other"):
        exchange.to_value(value, KIND)
