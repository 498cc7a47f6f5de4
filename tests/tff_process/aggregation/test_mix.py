import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_process.aggregation import mix

SEEDS = st.integers(0, 2**32 - 1)
few = hypothesis.settings(max_examples=20, deadline=None)
SHAPES = [(), (3,), (2, 3)]


def test_weighted_mean_by_hand() -> None:
    values = tf.constant([[1.0, 2.0], [5.0, 10.0]])
    np.testing.assert_allclose(mix.weighted_mean(values, tf.constant([3.0, 1.0])), [2.0, 4.0])


def test_weighted_mean_of_one_client_is_its_value_exactly() -> None:
    values = tf.constant([[0.1, 1e-30], [np.nan, np.inf]])
    np.testing.assert_array_equal(mix.weighted_mean(values, tf.constant([7.0, 0.0])), values[0])


@few
@hypothesis.given(seed=SEEDS, shape=st.sampled_from(SHAPES))
def test_weighted_mean_and_combine_agree_with_numpy(seed: int, shape: "tuple[int, ...]") -> None:
    random = np.random.default_rng(seed)
    values, weights = random.normal(size=(4, *shape)), random.random(4) + 0.1
    matrix = random.normal(size=(random.integers(1, 6), 4))
    np.testing.assert_allclose(
        mix.weighted_mean(tf.constant(values), tf.constant(weights)), np.average(values, 0, weights)
    )
    np.testing.assert_allclose(
        mix.combine(tf.constant(matrix), tf.constant(values)),
        np.tensordot(matrix, values, 1),
        atol=1e-12,
    )
    order = random.permutation(4)
    permuted = mix.weighted_mean(tf.constant(values[order]), tf.constant(weights[order]))
    np.testing.assert_allclose(permuted, np.average(values, 0, weights), atol=1e-12)


def test_part_way_by_hand() -> None:
    previous, target = {"w": tf.constant([1.0, 2.0])}, {"w": tf.constant([3.0, -2.0])}
    np.testing.assert_allclose(mix.interpolate(previous, target, 0.25)["w"], [1.5, 1.0])
    assert mix.interpolate(previous, target, 1.0)["w"] is target["w"]


def test_results_keep_the_type_of_the_values() -> None:
    values, matrix = tf.ones([2, 3], tf.float32), tf.eye(2, dtype=tf.float64)
    assert mix.combine(matrix, values).dtype == tf.float32
    assert mix.weighted_mean(values, tf.ones([2], tf.float64)).dtype == tf.float32
    assert (
        mix.personalise(values, values, tf.constant(0.5, tf.float64), tf.ones([2])).dtype
        == tf.float32
    )


def test_combine_broadcasts_one_row() -> None:
    np.testing.assert_allclose(
        mix.combine(tf.constant([[2.0, -1.0]]), tf.constant([[1.0, 1.0], [3.0, 0.0]])),
        [[-1.0, 2.0]],
    )


def test_personalise_by_hand() -> None:
    local, attended = (
        tf.constant([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]),
        tf.constant([[5.0, 10.0], [5.0, 10.0], [np.nan, 0.0]]),
    )
    present = tf.constant([True, True, False])
    np.testing.assert_allclose(
        mix.personalise(local, attended, 0.25, present), [[2.0, 4.0], [2.0, 4.0], [1.0, 2.0]]
    )
    per_client = mix.personalise(local, attended, tf.constant([0.0, 1.0, 1.0]), present)
    np.testing.assert_allclose(per_client, [[1.0, 2.0], [5.0, 10.0], [1.0, 2.0]])


def test_a_number_for_mu_keeps_its_precision() -> None:
    one = tf.ones([1], tf.float64)
    assert mix.personalise(0.0 * one, one, 0.1, tf.ones([1])).numpy() == 0.1


def test_mean_by_rows_seen_by_hand() -> None:
    values = tf.constant([[[1.0], [2.0], [3.0], [np.nan]], [[5.0], [np.nan], [7.0], [np.nan]]])
    seen = tf.constant([[3.0, 2.0, 0.25, 0.0], [1.0, 0.0, 0.25, 0.0]])
    previous = tf.constant([[0.0], [0.0], [0.0], [9.0]])
    np.testing.assert_allclose(
        mix.mean_by_rows_seen(values, seen, previous), [[2.0], [2.0], [5.0], [9.0]]
    )


def test_a_row_of_one_client_is_its_value_exactly() -> None:
    values, seen = tf.constant([[[0.1]], [[0.7]]]), tf.constant([[3.0], [0.0]])
    np.testing.assert_array_equal(
        mix.mean_by_rows_seen(values, seen, tf.zeros([1, 1])), [[np.float32(0.1)]]
    )


@few
@hypothesis.given(seed=SEEDS)
def test_mean_by_rows_seen_agrees_with_a_loop(seed: int) -> None:
    random = np.random.default_rng(seed)
    values, seen, previous = (
        random.normal(size=(3, 5, 2)),
        random.integers(0, 3, (3, 5)),
        random.normal(size=(5, 2)),
    )
    expected = [
        np.average(values[:, v], axis=0, weights=seen[:, v]) if seen[:, v].any() else previous[v]
        for v in range(len(previous))
    ]
    found = mix.mean_by_rows_seen(
        tf.constant(values), tf.constant(seen, tf.float32), tf.constant(previous)
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_along_broadcasts_over_any_rank(shape: "tuple[int, ...]") -> None:
    assert mix.broadcast_like(tf.ones([4]), tf.ones([4, *shape])).shape == (4, *([1] * len(shape)))


def test_static_shapes_survive_a_graph() -> None:
    value = tf.TensorSpec([2, 3, 4], tf.float32)
    function = tf.function(
        lambda v, m, w: (
            mix.combine(m, v),
            mix.weighted_mean(v, w),
            mix.personalise(v, mix.combine(m, v), 0.5, w),
        ),
        input_signature=[value, tf.TensorSpec([2, 2], tf.float64), tf.TensorSpec([2], tf.float32)],
    )
    concrete = function.get_concrete_function()
    assert [shape.as_list() for shape in concrete.output_shapes] == [[2, 3, 4], [3, 4], [2, 3, 4]]
    # Nor is any of them computed.
    kinds = {operation.type for operation in concrete.graph.get_operations()}
    assert not kinds & {"Shape", "Rank", "Pack", "StridedSlice"}


@pytest.mark.parametrize(("count", "expected"), [(0.0, 0.0), (1000.0, 0.5), (3000.0, 0.75)])
def test_as_many_rows_as_the_prior_is_worth_weigh_half(count: float, expected: float) -> None:
    assert float(mix.own_weight(tf.constant([count]), 1000.0)[0]) == expected


def test_weights_of_others_than_members_are_spread_over_these():
    weights = tf.constant([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]])
    members = tf.constant([True, False, True])
    found = mix.among(weights, members)
    np.testing.assert_allclose(found, [[2 / 3, 0.0, 1 / 3], [0.0, 1.0, 0.0]], rtol=1e-6)
    np.testing.assert_array_equal(mix.among(weights, tf.constant([True] * 3)), weights)
    # To the last bit, whatever rounding has them add up to.
    halved = 0.5 * weights
    np.testing.assert_array_equal(mix.among(halved, tf.constant([True] * 3)), halved)
