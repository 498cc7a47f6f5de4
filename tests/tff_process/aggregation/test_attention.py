import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.aggregation import reference
from tff_process.aggregation import attention

SEEDS = st.integers(0, 2**32 - 1)
few = hypothesis.settings(max_examples=20, deadline=None)


def attend(
    gram: np.ndarray,
    counts: np.ndarray,
    present: np.ndarray,
    tau: float = 0.5,
    log_counts: bool = True,
) -> np.ndarray:
    return attention.attention(
        tf.constant(gram), tf.constant(counts), tf.constant(present), tau, log_counts
    ).numpy()


def instance(seed: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    delta = reference.updates("random", seed)
    random = np.random.default_rng(seed)
    return (
        delta @ delta.T,
        random.integers(1, 1000, len(delta)).astype(np.float32),
        random.random(len(delta)) < 0.6,
    )


def test_two_clients_by_hand() -> None:
    # Opposite updates, cosines 1 and -1, tau 2: weights e^(1/2) : e^(-1/2), or with 3 times the
    # rows e^(1/2) : 3 e^(-1/2).
    gram, everyone = np.array([[4.0, -2.0], [-2.0, 1.0]]), np.array([True, True])
    counts = np.array([10.0, 30.0])
    even = attend(gram, counts, everyone, tau=2.0, log_counts=False)
    np.testing.assert_allclose(even[0], [np.e / (np.e + 1), 1 / (np.e + 1)])
    np.testing.assert_allclose(even[1], [1 / (np.e + 1), np.e / (np.e + 1)])
    np.testing.assert_allclose(
        attend(gram, counts, everyone, tau=2.0)[0], [np.e / (np.e + 3), 3 / (np.e + 3)]
    )


@few
@hypothesis.given(seed=SEEDS, tau=st.sampled_from([1e-3, 0.5, 5.0]), log_counts=st.booleans())
def test_agrees_with_the_formula_and_rows_sum_to_one(
    seed: int, tau: float, log_counts: bool
) -> None:
    gram, counts, present = instance(seed)
    found = attend(gram, counts, present, tau, log_counts)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(found[~present], np.eye(len(gram))[~present])
    assert (found[np.ix_(present, ~present)] == 0.0).all()
    share = counts[present].astype(np.float64) / counts[present].sum(dtype=np.float64)
    for k in np.flatnonzero(present):
        logits = np.array(
            [gram[k, j] / np.sqrt(gram[k, k] * gram[j, j]) / tau for j in np.flatnonzero(present)]
        )
        logits += np.log(share) if log_counts else 0.0
        expected = np.exp(logits - logits.max())
        np.testing.assert_allclose(
            found[k, present], expected / expected.sum(), rtol=1e-9, atol=1e-15
        )


@few
@hypothesis.given(seed=SEEDS)
def test_permuting_clients_permutes_both_axes(seed: int) -> None:
    gram, counts, present = instance(seed)
    order = np.random.default_rng(seed).permutation(len(gram))
    found = attend(gram[np.ix_(order, order)], counts[order], present[order])
    np.testing.assert_allclose(
        found, attend(gram, counts, present)[np.ix_(order, order)], rtol=1e-12
    )


@few
@hypothesis.given(seed=SEEDS)
def test_absent_clients_are_ignored_exactly(seed: int) -> None:
    gram, counts, present = instance(seed)
    present[0] = True
    alone = attend(gram[np.ix_(present, present)], counts[present], np.ones(present.sum(), bool))
    gram[~present] = gram[:, ~present] = np.nan
    counts[~present] = np.nan
    np.testing.assert_array_equal(attend(gram, counts, present)[np.ix_(present, present)], alone)


def test_identical_clients_get_identical_rows() -> None:
    delta = np.array([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]])
    found = attend(delta @ delta.T, np.array([5.0, 7.0, 9.0]), np.ones(3, bool))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_a_client_alone_and_nobody() -> None:
    np.testing.assert_array_equal(attend(np.eye(2), np.ones(2), np.array([False, True])), np.eye(2))
    np.testing.assert_array_equal(
        attend(np.eye(2), np.ones(2), np.array([False, False])), np.eye(2)
    )


def test_zero_updates_and_zero_counts() -> None:
    everyone = np.ones(2, bool)
    np.testing.assert_allclose(attend(np.zeros((2, 2)), np.ones(2), everyone), 0.5)
    np.testing.assert_allclose(
        attend(np.eye(2), np.array([0.0, 4.0]), everyone), [[0.0, 1.0], [0.0, 1.0]], atol=1e-200
    )
    np.testing.assert_allclose(attend(np.zeros((2, 2)), np.zeros(2), everyone), 0.5)


@pytest.mark.parametrize("size", [2, None])
def test_static_shape(size: "int | None") -> None:
    matrix, vector = tf.TensorSpec([size, size], tf.float64), tf.TensorSpec([size], tf.float32)
    function = tf.function(
        lambda gram, counts, present: attention.attention(gram, counts, present, 0.5, True),
        input_signature=[matrix, vector, tf.TensorSpec([size], tf.bool)],
    )
    assert function.get_concrete_function().output_shapes.as_list() == [size, size]
    np.testing.assert_allclose(
        function(tf.eye(2, dtype=tf.float64), tf.ones([2]), tf.constant([True, False])), np.eye(2)
    )
