"""Reports along a client axis, by numbers that can be computed by hand."""

import collections
import os
import pathlib
import weakref

import numpy as np
import pytest
import tensorflow_federated as tff

from tff_process.runtime import stacking

OD = collections.OrderedDict
KIND = tff.to_type(
    OD(
        values=OD(w=tff.TensorType(np.float32, [2]), v=tff.TensorType(np.float32, [1, 1])),
        examples=tff.TensorType(np.float32),
    )
)


def report(w, v=1.0, examples=10.0):
    values = OD(w=np.array(w, np.float32), v=np.full([1, 1], v, np.float32))
    return OD(values=values, examples=np.float32(examples))


def test_reports_are_stacked_with_zeros_for_the_absent():
    whole = stacking.Stack(KIND, 3).whole({0: report([1, 2]), 2: report([3, 4], examples=5)})
    np.testing.assert_array_equal(whole["value"]["values"]["w"], [[1, 2], [0, 0], [3, 4]])
    np.testing.assert_array_equal(whole["value"]["values"]["v"], [[[1]], [[0]], [[1]]])
    np.testing.assert_array_equal(whole["value"]["examples"], [10, 0, 5])
    np.testing.assert_array_equal(whole["present"], [True, False, True])
    assert not whole["value"]["values"]["w"].ctypes.data % 64


def test_a_held_report_is_in_its_place_and_what_it_came_in_goes():
    stack, came = stacking.Stack(KIND, 2), report([1, 2])
    message = weakref.ref(came["values"]["w"])
    held = stack.hold(1, came)
    del came
    assert message() is None
    np.testing.assert_array_equal(held["values"]["w"], [1, 2])
    whole = stack.whole({1: held})
    for name in ("w", "v"):
        assert np.shares_memory(whole["value"]["values"][name], held["values"][name])
    np.testing.assert_array_equal(whole["value"]["values"]["w"], [[0, 0], [1, 2]])
    np.testing.assert_array_equal(whole["value"]["examples"], [0, 10])


def test_what_was_held_counts_as_it_was_changed_or_not_at_all():
    stack = stacking.Stack(KIND, 3)
    held = {client: stack.hold(client, report([client, client])) for client in range(3)}
    clipped = OD(held[1], values=OD(held[1]["values"], w=np.array([8, 9], np.float32)))
    whole = stack.whole({1: clipped, 2: held[2]})
    np.testing.assert_array_equal(whole["value"]["values"]["w"], [[0, 0], [8, 9], [2, 2]])
    np.testing.assert_array_equal(whole["present"], [False, True, True])


def test_who_sends_nothing_takes_no_memory(monkeypatch):
    filled = []
    fill = stacking._fill
    monkeypatch.setattr(stacking, "_fill", lambda *args: [filled.append(args[2]), fill(*args)])
    stack = stacking.Stack(tff.to_type(OD(w=tff.TensorType(np.float32, [1 << 20]))), 50)
    one = OD(w=np.ones(1 << 20, np.float32))
    stack.hold(3, one)  # And is refused.
    before = _resident()
    whole = stack.whole({7: stack.hold(7, one)})
    assert _resident() - before < 20e6
    assert set(filled) == {3, 7}
    assert [row[-1] for row in whole["value"]["w"]] == [float(row == 7) for row in range(50)]


def _resident():
    pages = int(pathlib.Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_of_two_reports_of_a_client_the_second_counts():
    """As of one that was asked again."""
    stack = stacking.Stack(KIND, 1)
    stack.hold(0, report([1, 2]))
    whole = stack.whole({0: stack.hold(0, report([3, 4]))})
    np.testing.assert_array_equal(whole["value"]["values"]["w"], [[3, 4]])


@pytest.mark.parametrize(
    "other", [np.ones(3, np.float32), np.ones([1, 2], np.float32), np.ones(2), np.float32(1), None]
)
def test_what_is_not_of_the_type_stays_as_it_came(other):
    came = report([1, 2])
    came["values"]["w"] = other
    assert stacking.Stack(KIND, 1).hold(0, came)["values"]["w"] is other
