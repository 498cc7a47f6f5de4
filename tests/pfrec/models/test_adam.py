"""Adam equals Keras's, and its first step is one that can be computed by hand."""

import numpy as np
import tensorflow as tf

from pfrec.models import adam


def test_first_step_by_hand():
    """m / sqrt(v) is the gradient's sign after the bias correction: the step is the learning rate."""
    variable = tf.Variable([1.0, 2.0])
    adam.Adam([variable], 0.1).apply([tf.constant([5.0, -0.01])])
    np.testing.assert_allclose(variable, [0.9, 2.1], rtol=1e-4)


def test_equals_keras_bit_for_bit_and_continues_from_its_slots():
    rng = np.random.default_rng(0)
    start = rng.normal(size=(5, 3)).astype(np.float32)
    gradients = [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(6)]
    ours, theirs = tf.Variable(start), tf.Variable(start)
    optimizer, keras = adam.Adam([ours], 0.01), tf.keras.optimizers.legacy.Adam(0.01)
    for gradient in gradients[:3]:
        optimizer.apply([tf.constant(gradient)])
    moved = adam.Adam([ours], 0.01)
    for slot, saved in zip(moved.slots, optimizer.slots):
        slot.assign(saved)
    for gradient in gradients[3:]:
        moved.apply([tf.constant(gradient)])
    for gradient in gradients:
        keras.apply_gradients([(tf.constant(gradient), theirs)])
    np.testing.assert_array_equal(ours, theirs)


def test_a_sparse_gradient_counts_as_the_dense_one_it_stands_for():
    dense, sparse = tf.Variable(tf.ones([4, 2])), tf.Variable(tf.ones([4, 2]))
    slices = tf.IndexedSlices(tf.ones([3, 2]), tf.constant([1, 1, 3]), tf.constant([4, 2]))
    adam.Adam([dense], 0.1).apply([tf.convert_to_tensor(slices)])
    adam.Adam([sparse], 0.1).apply([slices])
    np.testing.assert_array_equal(dense, sparse)
    np.testing.assert_allclose(dense[:, 0], [1.0, 0.9, 1.0, 0.9], rtol=1e-4)


def test_slots_start_at_zero():
    assert all(not np.any(slot.numpy()) for slot in adam.Adam([tf.Variable([3.0])]).slots)
