"""Calls in one message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_process.runtime import together

CALLS = st.builds(
    together.Call,
    st.sampled_from(together.METHODS),
    st.text("~0123456789", max_size=20),
    st.binary(max_size=50),
)


@given(st.lists(CALLS))
def test_what_is_packed_is_unpacked(calls):
    assert together.unpack(together.pack(calls)) == calls


@given(st.lists(CALLS, min_size=1), st.data())
def test_a_message_that_is_cut_is_no_calls_but_those_before(calls, data):
    whole = together.pack(calls)
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        found = together.unpack(whole[:cut])
    except ValueError:
        return
    assert found == calls[: len(found)]
    assert together.pack(found) == whole[:cut]


@pytest.mark.parametrize(
    "message",
    [
        b"\x06\0\0\0\0\0",
        b"\0\0\xff\xff\xff\xff",
        b"\0\x05\0\0\0\0~",
        b"\0\x01\0\0\0\0\xff",
        b"\0",
    ],
)
def test_what_is_no_call(message):
    with pytest.raises(ValueError, match=r"call|ascii"):
        together.unpack(message)


@given(st.lists(st.binary(max_size=50)))
def test_answers_that_are_packed_are_unpacked(answers):
    whole = together.pack_answers(answers)
    assert together.unpack_answers(whole) == answers
    if whole:
        with pytest.raises(ValueError, match="cut off"):
            together.unpack_answers(whole[:-1] if answers[-1] else whole + b"\0")
