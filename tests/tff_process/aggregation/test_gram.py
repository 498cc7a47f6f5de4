import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_process.aggregation import gram as gram_lib


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), clients=st.integers(1, 6))
def test_gram_is_that_of_the_concatenation(seed: int, clients: int) -> None:
    random = np.random.default_rng(seed)
    parts = [
        random.normal(size=(clients, *shape)).astype(np.float32)
        for shape in [(3, 2), (4,), (), (1, 2, 2)]
    ]
    flat = np.concatenate([part.reshape(clients, -1) for part in parts], axis=1).astype(np.float64)
    found = gram_lib.gram([tf.constant(part) for part in parts])
    assert found.dtype == tf.float64
    np.testing.assert_allclose(found, flat @ flat.T, atol=1e-12)
    np.testing.assert_array_equal(found, tf.transpose(found))
    np.testing.assert_allclose(gram_lib.norms(found), np.linalg.norm(flat, axis=1), rtol=1e-12)


def test_large_updates_keep_double_precision() -> None:
    # In float32 the sum of squares would round 2^24 + 1 to 2^24.
    assert gram_lib.gram([tf.constant([[4096.0, 1.0]])]).numpy() == 2.0**24 + 1.0


def test_cosine_by_hand() -> None:
    delta = tf.constant([[3.0, 4.0], [0.0, -2.0], [0.0, 0.0]])
    expected = [[1.0, -0.8, 0.0], [-0.8, 1.0, 0.0], [0.0, 0.0, 0.0]]
    np.testing.assert_allclose(gram_lib.cosine(gram_lib.gram([delta])), expected, atol=1e-15)


def test_cosine_of_tiny_updates() -> None:
    np.testing.assert_allclose(
        gram_lib.cosine(tf.constant([[1e-200, -1e-200], [-1e-200, 1e-200]], tf.float64)),
        [[1, -1], [-1, 1]],
    )


def test_no_variables() -> None:
    with pytest.raises(ValueError, match="at least one"):
        gram_lib.gram([])


def test_a_cosine_is_none_beyond_one() -> None:
    """Of copies it would be 1.0000000000000002 now and then."""
    deltas = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    gram = gram_lib.gram([tf.constant(np.concatenate([deltas, 2.0 * deltas, -deltas]))])
    lengths = np.sqrt(np.diag(gram))
    assert np.abs(gram / lengths / lengths[:, np.newaxis]).max() > 1.0
    assert np.abs(gram_lib.cosine(gram)).max() == 1.0
