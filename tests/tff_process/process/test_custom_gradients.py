"""Graphs that are traced for TFF are let go of."""

import gc
import weakref

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_process.process import computations


@tf.custom_gradient
def _square(value):
    return value * value, lambda upstream: 2.0 * value * upstream


def test_what_is_traced_is_differentiated_and_then_gone():
    graphs = []

    def slope(value):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        with tf.GradientTape() as tape:
            tape.watch(value)
            squared = _square(value)
        return tape.gradient(squared, value)

    traced = computations.Body(slope, (tff.TensorType(np.float32),)).trace()
    gc.collect()
    assert traced.type_signature.result == tff.TensorType(np.float32)
    assert [graph() for graph in graphs] == [None]


def test_gradients_that_were_registered_before_stay():
    with tf.Graph().as_default() as graph:
        value = tf.compat.v1.placeholder(tf.float32, [])
        squared = _square(value)
        computations.Body(lambda: _square(tf.constant(1.0)), ()).trace()
        (slope,) = tf.gradients(squared, value)
        with tf.compat.v1.Session(graph=graph) as session:
            assert session.run(slope, {value: 3.0}) == 6.0
