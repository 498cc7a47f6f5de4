"""What passes as bytes are the bytes of protobuf's own writer, and read as its reader reads."""

import collections

import numpy as np
import pytest
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.runtime import exchange, wire

OD = collections.OrderedDict
REPORT = tff.to_type(
    OD(
        values=OD(
            table=tff.TensorType(np.float32, [40, 3]),
            codes=tff.TensorType(np.int8, [5]),
            none=tff.TensorType(np.float32, [0, 3]),
        ),
        empty=OD(),
        examples=tff.TensorType(np.float32),
        precise=tff.TensorType(np.float64),
    )
)
WORK = tff.to_type(
    OD(
        shards=tff.TensorType(np.str_, [None]),
        seed=tff.TensorType(np.int64),
        client_id=tff.TensorType(np.int32),
        report=REPORT,
    )
)
EXECUTOR = executor_pb2.ExecutorId(id="17")


def _report(seed=0, examples=256.0):
    rng = np.random.default_rng(seed)
    return OD(
        values=OD(
            table=rng.normal(size=[40, 3]).astype(np.float32),
            codes=rng.integers(-9, 9, 5).astype(np.int8),
            none=np.zeros([0, 3], np.float32),
        ),
        empty=OD(),
        examples=np.float32(examples),
        precise=np.float64(0.1 + seed),
    )


def _work():
    return OD(
        shards=np.array([b"a/b", "é".encode()], object),
        seed=np.int64(2**40),
        client_id=np.int32(3),
        report=_report(),
    )


def _answer(value, kind):
    """As a worker sends it: without the names of structures."""
    if isinstance(kind, tff.StructType):
        made = executor_pb2.Value(struct=executor_pb2.Value.Struct())
        for (_, of), inner in zip(tff.structure.to_elements(kind), value.values()):
            made.struct.element.add(value=_answer(inner, of))
        return made
    return exchange.to_value(value, tff.TensorType(kind.dtype, np.shape(value)))


def _message(value, kind=REPORT):
    return executor_pb2.ComputeResponse(value=_answer(value, kind)).SerializeToString()


def _assert_equal(found, value):
    assert list(found) == list(value)
    assert list(found["values"]) == list(value["values"])
    assert found["empty"] == OD()
    for name, array in value["values"].items():
        np.testing.assert_array_equal(found["values"][name], array)
        assert found["values"][name].dtype == array.dtype
        assert found["values"][name].shape == array.shape
    for name in ("examples", "precise"):
        assert type(found[name]) is type(value[name])
        assert found[name] == value[name]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (_report(), REPORT),
        (_work(), WORK),
        (OD(reversed(list(_work().items()))), WORK),
        (_report()["values"]["table"].T.copy().T, tff.TensorType(np.float32, [40, 3])),
        (b"text", tff.TensorType(np.str_)),
        (np.zeros([300], np.float64), tff.TensorType(np.float64, [None])),
    ],
)
def test_a_request_has_the_bytes_of_protobuf(value, kind):
    whole = executor_pb2.CreateValueRequest(
        value=exchange.to_value(value, kind), executor=EXECUTOR
    ).SerializeToString(deterministic=True)
    assert wire.request(value, kind, EXECUTOR) == whole


def test_a_value_of_another_shape_or_name_is_not_sent():
    bad = _report()
    bad["values"]["table"] = np.zeros([3, 40], np.float32)
    with pytest.raises(TypeError, match=r"\[3, 40\]"):
        wire.request(bad, REPORT, EXECUTOR)
    renamed = _report()
    renamed["other"] = renamed.pop("examples")
    with pytest.raises(TypeError, match="other"):
        wire.request(renamed, REPORT, EXECUTOR)


def test_answers_are_read_by_the_layout_of_the_first(monkeypatch):
    answers = wire.Answers()
    _assert_equal(answers.value(_message(_report()), REPORT), _report())
    monkeypatch.setattr(exchange, "from_value", None)
    for seed in (1, 2):
        value = _report(seed, examples=0.0)
        _assert_equal(answers.value(_message(value), REPORT), value)


def test_an_answer_of_another_shape_is_read_as_it_is():
    answers = wire.Answers()
    answers.value(_message(_report()), REPORT)
    other = _report()
    # As many bytes in another shape.
    other["values"]["table"] = other["values"]["table"].reshape(3, 40)
    for _ in range(2):
        found = answers.value(_message(other), REPORT)
        assert found["values"]["table"].shape == (3, 40)
    _assert_equal(answers.value(_message(_report(5)), REPORT), _report(5))


def test_an_answer_that_is_cut_off_is_no_answer():
    answers = wire.Answers()
    whole = _message(_report())
    answers.value(whole, REPORT)
    with pytest.raises(wire.UnreadableError, match="parsing"):
        answers.value(whole[:-1], REPORT)


def _altered(alter):
    answer = executor_pb2.ComputeResponse.FromString(_message(_report()))
    alter(answer.value.struct.element)
    return answer.SerializeToString()


@pytest.mark.parametrize(
    "alter",
    [
        lambda parts: parts.pop(),
        lambda parts: parts.add().CopyFrom(parts[2]),
        lambda parts: parts[0].value.array.SetInParent(),
        lambda parts: parts[2].value.struct.SetInParent(),
        lambda parts: setattr(parts[0].value.struct.element[0].value.array, "content", b"12"),
        lambda parts: parts[0].value.struct.element[0].value.array.shape.dim.append(2),
    ],
)
def test_an_answer_of_another_form_is_no_answer(alter):
    """As one sends who would end the training of all."""
    with pytest.raises(wire.UnreadableError):
        wire.Answers().value(_altered(alter), REPORT)


def test_what_has_no_fixed_length_has_no_layout():
    message = _message(_work(), WORK)
    value = exchange.from_value(executor_pb2.ComputeResponse.FromString(message).value, WORK)
    assert wire.Layout.of(message, value, WORK) is None
    assert wire.Answers().value(message, WORK)["seed"] == 2**40


def test_elements_without_names_come_as_a_list():
    kind = tff.to_type((np.float32, tff.TensorType(np.float64, [2])))
    answers = wire.Answers()
    for first in (3.0, 4.0):
        sent, _ = tff.framework.serialize_value((np.float32(first), np.array([1.0, 2.0])), kind)
        message = executor_pb2.ComputeResponse(value=sent).SerializeToString()
        number, pair = answers.value(message, kind)
        assert number == first
        assert pair.tolist() == [1.0, 2.0]
