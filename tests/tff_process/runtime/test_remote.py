"""Errors of workers as users read them."""

import pytest
from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.runtime import remote, stubs, wire


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
