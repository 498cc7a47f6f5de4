"""How much joined updates are lengthened while training begins."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_process.aggregation import gram as gram_lib
from tff_process.aggregation import lengths

few = hypothesis.settings(max_examples=20, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
ALL = tf.constant([True, True])


def of_two(one, other, power=1.0, rows=(1.0, 1.0), joined=((0.5, 0.5),), members=ALL):
    gram = gram_lib.gram([tf.constant([one, other])])
    found = lengths.lengthening(
        gram, tf.constant(joined, tf.float64), tf.constant(rows), members, tf.constant(power)
    )
    return found.numpy()


@pytest.mark.parametrize(
    ("rows", "expected"), [(0.0, 1.0), (0.5, 0.75), (1.0, 0.5), (2.0, 0.0), (9.0, 0.0)]
)
def test_it_lasts_for_so_many_rows(rows, expected):
    assert lengths.beginning(tf.constant(rows), 2.0).numpy() == np.float32(expected)


@pytest.mark.parametrize(
    ("one", "other", "power", "expected"),
    [
        ((3.0, 0.0), (3.0, 0.0), 1.0, 1.0),  # the same way
        ((1.0, 0.0), (0.0, 1.0), 1.0, 2**0.5),  # at right angles
        ((1.0, 0.0), (0.0, 1.0), 0.5, 2**0.25),
        ((1.0, 0.0), (0.0, 1.0), 0.0, 1.0),
        ((1.0, 0.0), (-0.9, 0.0), 1.0, 2**0.5),  # against each other: no more than that
        ((1.0, 0.0), (-1.0, 0.0), 1.0, 1.0),  # nothing is left to lengthen
        ((0.0, 0.0), (0.0, 0.0), 1.0, 1.0),
    ],
)
def test_two_updates_by_hand(one, other, power, expected):
    np.testing.assert_allclose(of_two(one, other, power), [expected], rtol=1e-6)


def test_rows_weigh_the_clients_own_lengths():
    """Lengths 2 and 1 of rows 1 and 3: a mean square of 7 / 4; the mean (1, 0.5) has 5 / 4."""
    found = of_two((2.0, 0.0), (0.0, 1.0), rows=(1.0, 3.0))
    np.testing.assert_allclose(found, [(7 / 5) ** 0.5], rtol=1e-6)


def test_each_joined_update_has_a_factor_of_its_own():
    found = of_two((1.0, 0.0), (0.0, 1.0), joined=((1.0, 0.0), (0.5, 0.5)))
    np.testing.assert_allclose(found, [1.0, 2**0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ((0.6, 0.8), (5 / 4) ** 0.5),  # a mean (0.8, 0.4) of two of length 1
        ((-0.9, 0.0), 2**0.5),  # against each other: as two, not three
    ],
)
def test_of_three_the_two_that_take_part_count(other, expected):
    gram = gram_lib.gram([tf.constant([(1.0, 0.0), other, (0.0, 1e6)])])
    found = lengths.lengthening(
        gram,
        tf.constant([[0.5, 0.5, 0.0]], tf.float64),
        tf.constant([4.0, 4.0, 7.0]),
        tf.constant([True, True, False]),
        tf.constant(1.0),
    )
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_who_takes_no_part_counts_for_nothing():
    found = of_two((1.0, 0.0), (0.0, 1e6), joined=((1.0, 0.0),), members=tf.constant([True, False]))
    np.testing.assert_array_equal(found, [1.0])


@few
@hypothesis.given(seed=SEEDS, clients=st.integers(1, 6))
def test_a_joined_update_is_as_long_as_the_clients_own_or_longer_by_the_root_of_their_number(
    seed, clients
):
    random = np.random.default_rng(seed)
    updates, rows = random.normal(size=(clients, 5)), random.integers(1, 9, clients)
    by = random.dirichlet(np.ones(clients), 3)
    factor = lengths.lengthening(
        gram_lib.gram([tf.constant(updates)]),
        tf.constant(by),
        tf.constant(rows, tf.float32),
        tf.ones([clients]),
        tf.constant(1.0),
    ).numpy()
    own = np.average((updates**2).sum(axis=1), weights=rows) ** 0.5
    before = np.linalg.norm(by @ updates, axis=1)
    expected = np.clip(own / before, 1.0, clients**0.5)
    np.testing.assert_allclose(factor, expected, rtol=1e-6)


def test_rows_of_tables_by_hand():
    """Met by one, by two alike, 3 times and once: 16 / 10 in effect, and by nobody."""
    seen = tf.constant([[5.0, 2.0, 3.0, 0.0], [0.0, 2.0, 1.0, 0.0]])
    whole = lengths.lengthening_of_rows(seen, tf.constant(1.0))
    np.testing.assert_allclose(whole, [1.0, 2**0.5, 1.6**0.5, 1.0], rtol=1e-6)
    none = lengths.lengthening_of_rows(seen, tf.constant(0.0))
    np.testing.assert_array_equal(none, np.ones(4))
