"""Adam equals Keras's, and its first step is one that can be computed by hand."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.models import adam


def test_first_step_by_hand():
    """m / sqrt(v) is the gradient's sign after the bias correction:
    the step is the learning rate.
    """
    variable = tf.Variable([1.0, 2.0])
    adam.Adam([variable], 0.1).apply([tf.constant([5.0, -0.01])])
    np.testing.assert_allclose(variable, [0.9, 2.1], rtol=1e-4)


def test_a_step_may_have_a_learning_rate_of_its_own():
    own, given = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])
    adam.Adam([own], 0.25).apply([tf.constant([5.0, -0.01])])
    adam.Adam([given], 1e-3).apply([tf.constant([5.0, -0.01])], learning_rate=0.25)
    np.testing.assert_array_equal(given, own)


def test_a_step_may_have_a_decay_of_its_own():
    """Of one of 0.1 by the rate a weight of 1 loses 0.01, where a gradient was met before."""
    for own, given, lost in (
        (None, 0.1, 0.01),
        (0.7, 0.1, 0.01),
        (0.7, None, 0.07),
        (0.7, 0.0, 0.0),
    ):
        variable = tf.Variable([[1.0]])
        optimizer = adam.Adam([variable], 0.1, decay=own, decays={0})
        optimizer.slots[1].assign([[1e9]])
        optimizer.apply([tf.constant([[0.0]])], decay=given)
        np.testing.assert_allclose(variable, [[1.0 - lost]], rtol=1e-6)


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


def test_small_variables_together_step_as_each_alone():
    rng = np.random.default_rng(1)
    shapes = [(5, 3), (7,), (1,), (300, 300)]
    starts = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    together, alone = [tf.Variable(s) for s in starts], [tf.Variable(s) for s in starts]
    joint, single = adam.Adam(together, 0.01), [adam.Adam([v], 0.01) for v in alone]
    # m and v of the large one, of the 23 small elements, and the steps.
    assert [tuple(slot.shape) for slot in joint.slots] == [(300, 300), (300, 300), (23,), (23,), ()]
    for _ in range(4):
        gradients = [tf.constant(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
        joint.apply(gradients)
        for optimizer, gradient in zip(single, gradients):
            optimizer.apply([gradient])
    for ours, theirs in zip(together, alone):
        np.testing.assert_array_equal(ours, theirs)


def test_lazy_adam_by_row():
    """Rows of a batch step as in Adam, with their gradients summed; other rows and their moments
    stay, and in Adam they move on.
    """
    eager, lazy = tf.Variable(tf.ones([4, 20_000])), tf.Variable(tf.ones([4, 20_000]))
    plain, sparse = adam.Adam([eager], 0.1), adam.Adam([lazy], 0.1, lazy=True)
    first = tf.IndexedSlices(tf.ones([3, 20_000]), tf.constant([1, 3, 1]), tf.constant([4, 20_000]))
    for optimizer in (plain, sparse):
        optimizer.apply([first])
    np.testing.assert_allclose(lazy[:, 0], [1.0, 0.9, 1.0, 0.9], rtol=1e-5)
    np.testing.assert_allclose(lazy, eager, rtol=1e-5)
    second = tf.IndexedSlices(tf.ones([1, 20_000]), tf.constant([3]), tf.constant([4, 20_000]))
    for optimizer in (plain, sparse):
        optimizer.apply([second])
    np.testing.assert_allclose(lazy[3], eager[3], rtol=1e-5)
    np.testing.assert_allclose(lazy[1, 0], 0.9, rtol=1e-5)
    assert eager[1, 0] < 0.85
    np.testing.assert_allclose(sparse.slots[0][1, 0], 0.2, rtol=1e-5)


def test_decay_by_hand():
    """Each step takes rate * lambda of w as it was, beside the move; 0.1 of it here. What had no
    gradient, as the third element, and what does not decay goes by Adam alone.
    """
    weight, bias = tf.Variable([[1.0], [-2.0], [3.0]]), tf.Variable([1.0])
    optimizer = adam.Adam([weight, bias], 0.01, decay=10.0, decays={0})
    gradients = [tf.constant([[1.0], [1.0], [0.0]]), tf.constant([1.0])]
    optimizer.apply(gradients)
    # Nothing had had a gradient before the first step.
    np.testing.assert_allclose(weight[:, 0], [0.99, -2.01, 3.0], rtol=1e-5)
    optimizer.apply(gradients)
    np.testing.assert_allclose(
        weight[:, 0], [0.9 * 0.99 - 0.01, -0.9 * 2.01 - 0.01, 3.0], rtol=1e-5
    )
    np.testing.assert_allclose(bias, [0.98], rtol=1e-5)


def test_decay_is_the_same_alone_together_large_and_lazy():
    rng = np.random.default_rng(2)
    start = rng.normal(size=(4, 20_000)).astype(np.float32)
    few = start[:, :5]
    large, lazy, small, alone = (tf.Variable(value) for value in (start, start, few, few))
    how = {"decay": 3.0, "decays": {0}}
    optimizers = [
        adam.Adam([large], 0.01, **how),
        adam.Adam([lazy], 0.01, lazy=True, **how),
        adam.Adam([small, tf.Variable([1.0])], 0.01, **how),
        adam.Adam([alone], 0.01, **how),
    ]
    for _ in range(3):
        slope = rng.normal(size=(3, 20_000)).astype(np.float32)

        def slices(value):
            return tf.IndexedSlices(
                tf.constant(value), tf.constant([0, 1, 3]), tf.constant([4, value.shape[1]])
            )

        optimizers[0].apply([slices(slope)])
        optimizers[1].apply([slices(slope)])
        optimizers[2].apply([slices(slope[:, :5]), tf.constant([1.0])])
        optimizers[3].apply([slices(slope[:, :5])])
    np.testing.assert_array_equal(large[2], start[2])
    np.testing.assert_allclose(small, large[:, :5], atol=1e-6)
    np.testing.assert_allclose(alone, small, atol=1e-6)
    np.testing.assert_allclose(lazy, large, atol=1e-6)


def test_decay_takes_at_most_all_of_a_weight():
    """Of one batch an epoch and a step size of 0.1, 30 would take it three times, and w would turn
    its sign and double with each step.
    """
    large = tf.Variable(tf.ones([300, 300]))
    lazy, small = tf.Variable(tf.ones([300, 300])), tf.Variable([[1.0]])
    optimizers = [
        adam.Adam([large], 0.1, decay=tf.constant(30.0), decays={0}),
        adam.Adam([lazy], 0.1, lazy=True, decay=30.0, decays={0}),
        adam.Adam([small, tf.Variable([1.0])], 0.1, decay=30.0, decays={0}),
    ]
    slope = tf.IndexedSlices(tf.ones([1, 300]), tf.constant([7]), tf.constant([300, 300]))
    for _ in range(4):
        optimizers[0].apply([slope])
        optimizers[1].apply([slope])
        optimizers[2].apply([tf.constant([[1.0]]), tf.constant([1.0])])
    for found in (large[7, 0], lazy[7, 0], small[0, 0]):
        # What the last step moved it by.
        assert float(found) == pytest.approx(-0.1, rel=1e-4)


def test_a_large_variable_decays_only_where_it_is_named():
    start = tf.ones([300, 300])
    plain, named, other = (tf.Variable(start) for _ in range(3))
    slope = tf.ones([300, 300])
    first, both = adam.Adam([plain], 0.1), adam.Adam([named, other], 0.1, decay=1.0, decays={0})
    for _ in range(2):
        first.apply([slope])
        both.apply([slope, slope])
    np.testing.assert_array_equal(other, plain)
    np.testing.assert_allclose(named, plain - 0.1 * 0.9, rtol=1e-5)


def test_decay_draws_a_weight_that_nothing_moves_to_zero():
    variable = tf.Variable([[4.0]])
    optimizer = adam.Adam([variable], 0.1, decay=1.0, decays={0})
    optimizer.apply([tf.constant([[1e-10]])])
    before = float(variable)
    for _ in range(5):
        optimizer.apply([tf.constant([[0.0]])])
    assert before == pytest.approx(4.0)
    assert float(variable) == pytest.approx(4.0 * 0.9**5, rel=1e-3)


@pytest.mark.parametrize("shapes", [{"a": (3, 2)}, {"a": (3, 2), "b": (2,), "c": (300, 300)}])
def test_slots_are_told_apart_by_variable_and_put_together_again(shapes):
    """A large variable has moments of its own, small ones share; in the order of the variables."""
    optimizer = adam.Adam([tf.Variable(tf.zeros(shape)) for shape in shapes.values()])
    rng = np.random.default_rng(0)
    slots = [rng.normal(size=slot.shape).astype(np.float32) for slot in optimizer.slots]
    moments, steps = adam.moments_of(shapes, slots)
    assert {name: m.shape for name, (m, _) in moments.items()} == shapes
    assert steps is slots[-1]
    if len(shapes) == 3:
        np.testing.assert_array_equal(moments["c"][1], slots[1])
        np.testing.assert_array_equal(moments["b"][0], slots[2][6:])
    for found, given in zip(adam.slots_of(moments, steps), slots):
        np.testing.assert_array_equal(found, given)
