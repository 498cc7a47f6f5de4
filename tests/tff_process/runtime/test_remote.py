"""Errors of workers as users read them."""

import pytest
from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.runtime import remote, stubs, wire


@pytest.mark.parametrize(
    ("details", "line"),
    [
        (
            "Failed to run computation: runs/a; No such file\n\t [[{{node SaveV2}}]]",
            "Failed to run computation: runs/a; No such file",
        ),
        (
            "{{function_node __inference_loop_7}} NaN in loss\n [[{{node loop/Check}}]]\nHint: If "
            "you want to see a list of tensors",
            "NaN in loss",
        ),
        (
            "OOM when allocating [2,3]\nHint: If you want to see a list of allocated tensors",
            "OOM when allocating [2,3]",
        ),
        (
            "2 root error(s) found.\n  (0) DATA_LOSS: corrupted record at 12\n\t [[{{node "
            "Next}}]]\n  (1) DATA_LOSS: the same",
            "DATA_LOSS: corrupted record at 12",
        ),
        ("plain", "plain"),
        ("x" * 401, "x" * 400 + "..."),
    ],
)
def test_nodes_and_hints_are_left_out(details, line):
    assert remote.readable(details) == line


def test_an_answer_that_cannot_be_read_is_a_failure_of_the_client():
    def call():
        raise wire.UnreadableError("3 elements where the type has 4")

    there = remote.Remote.__new__(remote.Remote)
    with pytest.raises(remote.WorkError, match="what it answered cannot be read: 3 elements") as e:
        there._called(call)
    assert not e.value.lost


class Channel(stubs.TimedChannel):
    """A channel whose every call has one answer."""

    def __init__(self, answer):
        super().__init__(None, None)
        self._answer = answer

    def unary_unary(self, method, *arguments, **options):
        return lambda request: self._answer


@pytest.mark.parametrize("answer", [b"", b"\xff", b"\xff" * 9])
def test_a_message_of_other_answers_than_were_asked_for_cannot_be_read(answer):
    stub = stubs.TogetherStub(Channel(answer))
    with pytest.raises(wire.UnreadableError):
        stub.compute(executor_pb2.ComputeRequest())
