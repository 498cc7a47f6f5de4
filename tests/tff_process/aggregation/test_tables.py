"""Tables that clients have of their own: the formula by hand, its two ends,
and properties that hold for any updates.
"""

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tff_process.aggregation import mix, tables

few = hypothesis.settings(max_examples=20, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed, clients=3, rows=5, width=2):
    """P, Delta and how often each client met each row; some rows are met by nobody,
    some by one client alone.
    """
    random = np.random.default_rng(seed)
    previous = tf.constant(random.normal(size=(clients, rows, width)), tf.float32)
    changes = tf.constant(random.normal(size=(clients, rows, width)), tf.float32)
    seen = tf.constant(
        random.integers(0, 400, (clients, rows)) * random.integers(0, 2, (clients, rows)),
        tf.float32,
    )
    return previous, changes, seen


def after(previous, changes, seen, prior, step=0.5):
    common = tables.common_change(changes, seen, step)
    return tables.blend_rows(
        previous, previous + changes, common, mix.own_weight(seen, prior)
    ).numpy(), common.numpy()


def test_two_clients_by_hand():
    """Row 0: changes 1 and 3, met 100 and 300 times, mean 2.5, half of it 1.25; weights 1/2 and
    3/4. Row 1: client 0 did not meet it.
    """
    previous = tf.constant([[[0.0], [1.0]], [[0.0], [3.0]]])
    changes = tf.constant([[[1.0], [9.0]], [[3.0], [2.0]]])
    seen = tf.constant([[100.0, 0.0], [300.0, 50.0]])
    found, common = after(previous, changes, seen, prior=100.0)
    np.testing.assert_allclose(common, [[1.25], [1.0]])
    np.testing.assert_allclose(found[0], [[0.5 + 0.625], [1.0 + 1.0]])
    np.testing.assert_allclose(
        found[1], [[2.25 + 0.3125], [3.0 + 2.0 / 3.0 + 2.0 / 3.0]], rtol=1e-6
    )


@few
@hypothesis.given(seed=SEEDS, step=st.floats(0.1, 1.0))
def test_an_endless_prior_is_one_table_for_all_averaged_by_rows_seen(seed, step):
    previous, changes, seen = drawn(seed)
    shared = tf.repeat(previous[:1], 3, axis=0)
    found, _ = after(shared, changes, seen, prior=1e12, step=step)
    mean = mix.mean_by_rows_seen(shared + changes, seen, shared[0]).numpy()
    expected = shared[0].numpy() + step * (mean - shared[0].numpy())
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


@few
@hypothesis.given(seed=SEEDS)
def test_hardly_any_prior_is_what_was_trained_where_a_row_was_met(seed):
    previous, changes, seen = drawn(seed)
    found, common = after(previous, changes, seen, prior=1e-6)
    met = seen.numpy()[:, :, np.newaxis] > 0
    np.testing.assert_allclose(
        found, previous.numpy() + np.where(met, changes.numpy(), common), atol=1e-5
    )


@few
@hypothesis.given(seed=SEEDS, absent=st.integers(0, 2))
def test_an_absent_client_goes_with_the_others_and_counts_for_nothing(seed, absent):
    """Also where what stands in its place is no number."""
    previous, changes, seen = drawn(seed)
    seen = tf.tensor_scatter_nd_update(seen, [[absent]], tf.zeros([1, 5]))
    changes = tf.tensor_scatter_nd_update(changes, [[absent]], tf.fill([1, 5, 2], np.nan))
    found, common = after(previous, changes, seen, prior=100.0)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[absent], previous[absent].numpy() + common, atol=1e-6)


@few
@hypothesis.given(seed=SEEDS)
def test_permuting_clients_permutes_results(seed):
    values = drawn(seed)
    order = np.random.default_rng(seed).permutation(3)
    found, common = after(*values, prior=100.0)
    other, other_common = after(*(tf.gather(value, order) for value in values), prior=100.0)
    np.testing.assert_allclose(other, found[order], atol=1e-5)
    np.testing.assert_allclose(other_common, common, atol=1e-5)


@few
@hypothesis.given(seed=SEEDS, prior=st.floats(1.0, 1e6))
def test_one_client_alone_gets_what_it_trained(seed, prior):
    previous, changes, seen = drawn(seed, clients=1)
    found, _ = after(previous, changes, seen, prior, step=1.0)
    met = seen.numpy()[:, :, np.newaxis] > 0
    np.testing.assert_allclose(
        found, previous.numpy() + np.where(met, changes.numpy(), 0.0), atol=1e-5
    )
