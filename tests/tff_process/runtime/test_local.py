"""A computation that runs in this process comes to what it comes to in TFF."""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_process.runtime import local, remote

OD = collections.OrderedDict


def test_structures_come_in_and_out():
    kind = OD(a=tff.TensorType(np.float32, [2]), b=OD(c=tff.TensorType(np.int32)))

    @tff.tensorflow.computation(kind, np.float32)
    def made(state, factor):
        changed = OD(b=state["b"], a=state["a"] * factor)
        return changed, state["b"]["c"] + 1

    call = local.LocalFunction(remote.Function.of("made", made).computation)
    for factor in (2.0, 3.0):
        # In any order, as the server's state may be after a run was continued.
        state = OD(b=OD(c=np.int32(7)), a=np.array([1.0, 2.0], np.float32))
        changed, number = call(state, factor)
        assert list(changed) == ["b", "a"]
        # What is passed through, what is computed.
        assert changed["b"]["c"] == 7
        assert number == 8
        np.testing.assert_array_equal(changed["a"], np.float32([factor, 2 * factor]))
        assert changed["a"].dtype == np.float32


def test_a_loop_of_the_graph_runs():
    @tff.tensorflow.computation(np.int32, np.int32)
    def made(limit, more):
        total = tf.while_loop(lambda i, s: i < limit, lambda i, s: (i + 1, s + i), (0, 0))[1]
        return OD(sum=total, more=more)

    call = local.LocalFunction(remote.Function.of("made", made).computation)
    assert call(5, 1) == {"sum": 10, "more": 1}
