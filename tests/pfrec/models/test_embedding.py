"""Lookup of single values and of lists, by hand: values, and gradients row by row."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec.data.schema import Categorical, Schema, Task
from pfrec.models import embedding

TABLE = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [0.0, 0.0]], np.float32)


def test_a_list_is_the_mean_of_its_values():
    found = embedding.look_up(
        TABLE, tf.constant([[0, 2, -1], [-1, -1, -1], [-1, 1, -1], [2, 2, 0]])
    )
    np.testing.assert_allclose(
        found, [[2.5, 25.0], [0.0, 0.0], [2.0, 20.0], [3.0, 30.0]], rtol=1e-6
    )


def test_single_values():
    np.testing.assert_array_equal(embedding.look_up(TABLE, tf.constant([2, 0])), TABLE[[2, 0]])


def test_gradient_goes_to_the_values_that_stand_there_and_no_other_row():
    table = tf.Variable(TABLE)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(
            embedding.look_up(table, tf.constant([[2, 1, -1], [1, -1, -1], [-1, -1, -1]]))
        )
    gradient = tape.gradient(total, table)
    assert sorted(gradient.indices.numpy().tolist()) == [1, 1, 2]
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient)[:, 0], [0.0, 1.5, 0.5, 0.0])


@pytest.mark.parametrize("wrong", [4, -2])
def test_an_id_outside_the_table_is_an_error(wrong):
    with pytest.raises(tf.errors.InvalidArgumentError):
        embedding.look_up(TABLE, tf.constant([[0, wrong]]))


@hypothesis.given(
    st.lists(st.lists(st.integers(-1, 3), min_size=3, max_size=3), min_size=1, max_size=6)
)
@hypothesis.settings(deadline=None, max_examples=50)
def test_as_numpy_means(ids):
    expected = [np.mean([TABLE[i] for i in row if i >= 0] or [[0.0, 0.0]], axis=0) for row in ids]
    np.testing.assert_allclose(embedding.look_up(TABLE, tf.constant(ids)), expected, rtol=1e-6)


def test_ids_of_each_feature():
    schema = Schema(
        (Categorical("a", 3), Categorical("b", 3, values=2, separator="|"), Categorical("c", 3)),
        (),
        (Task("t", "t"),),
    )
    first, second, third = embedding.ids_by_feature(
        tf.constant([[0, 1, -1, 2], [3, 2, 1, 0]]), schema
    )
    assert (first.numpy().tolist(), third.numpy().tolist()) == ([0, 3], [2, 0])
    assert second.numpy().tolist() == [[1, -1], [2, 1]]
