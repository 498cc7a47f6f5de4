"""The clients' differences from the consensus, scaled: by hand, and that their mean stays."""

import collections

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_process.algorithms import base
from tff_process.process import spread

OD = collections.OrderedDict


def _state(personal, consensus, trained=None, trained_consensus=None):
    extra = OD(moments=np.array([5.0]))
    if trained is not None:
        extra["trained/personal/w"] = trained
        extra["trained/consensus/w"] = trained_consensus
    return OD(
        round=np.int32(3),
        common=OD(c=np.array([7.0])),
        personal=OD(w=personal),
        consensus=OD(w=consensus),
        extra=extra,
        row_counts=OD(),
    )


def test_differences_are_scaled_and_all_else_stays():
    served, trained = np.array([[1.0], [4.0]], np.float32), np.array([[2.0], [10.0]], np.float32)
    before = _state(served, np.array([2.0], np.float32), trained, np.array([4.0], np.float32))
    after = spread.scaled(before, 1.5, {})
    np.testing.assert_array_equal(after["personal"]["w"], [[0.5], [5.0]])
    # What training goes on from has a consensus of its own.
    np.testing.assert_array_equal(after["extra"]["trained/personal/w"], [[1.0], [13.0]])
    assert after["personal"]["w"].dtype == np.float32
    assert list(after) == list(before)
    assert list(after["extra"]) == list(before["extra"])
    for part in ("round", "common", "consensus", "row_counts"):
        assert after[part] is before[part]
    assert after["extra"]["moments"] is before["extra"]["moments"]
    assert after["extra"]["trained/consensus/w"] is before["extra"]["trained/consensus/w"]
    np.testing.assert_array_equal(before["personal"]["w"], [[1.0], [4.0]])


def test_to_evaluate_it_what_is_served_is_moved_alone():
    served, trained = np.array([[1.0], [4.0]]), np.array([[2.0], [10.0]])
    before = _state(served, np.array([2.0]), trained, np.array([4.0]))
    whole = spread.scaled(before, 1.5, {})
    after = spread.scaled(before, 1.5, {}, trained=False)
    np.testing.assert_array_equal(after["personal"]["w"], whole["personal"]["w"])
    assert after["extra"] is before["extra"]
    assert list(after) == list(before)


def test_a_factor_of_0_gives_everybody_the_consensus():
    served, mean = np.array([[1.0, 2.0], [4.0, 6.0]]), np.array([2.0, 3.0])
    np.testing.assert_array_equal(
        spread.scaled(_state(served, mean), 0.0, {})["personal"]["w"], [mean, mean]
    )


def test_who_takes_no_part_stays():
    served, mean = np.array([[1.0, 2.0], [4.0, 6.0]]), np.array([2.0, 3.0])
    members = {"w": np.array([True, False])}
    after = spread.scaled(_state(served, mean), 0.5, members)["personal"]["w"]
    np.testing.assert_array_equal(after, [[1.5, 2.5], [4.0, 6.0]])


@given(st.integers(0, 1_000), st.sampled_from(spread.FACTORS))
@settings(max_examples=25, deadline=None)
def test_a_client_comes_to_the_same_bits_as_the_server(seed, factor):
    rng = np.random.default_rng(seed)
    served, mean = (rng.normal(0, 1, shape).astype(np.float32) for shape in ([2, 50], [50]))
    own = tf.function(lambda p, g, s: spread.moved(g, p - g, s))
    after = spread.scaled(_state(served, mean), factor, {})["personal"]["w"]
    np.testing.assert_array_equal(own(served[1], mean, np.float32(factor)), after[1])


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=6),
    st.lists(st.integers(1, 50), min_size=6, max_size=6),
    st.sampled_from(spread.FACTORS),
)
def test_the_mean_by_rows_stays(values, rows, factor):
    served, weights = np.array(values)[:, np.newaxis], np.array(rows[: len(values)], float)
    weights /= weights.sum()
    after = spread.scaled(_state(served, weights @ served), factor, {})["personal"]["w"]
    assert weights @ after == pytest.approx(weights @ served, abs=1e-12)


@pytest.mark.parametrize(
    ("factor", "before", "after"),
    [
        (1.25, 1.0, 0.8),
        (1.5, 0.75, 0.5),
        (0.75, 0.6, 0.8),
        (0.5, 0.25, 0.5),
        (0.0, 0.25, 0.5),  # as the least that q follows
        (0.5, 0.75, 1.0),  # never more than the settings say
        (1.5, 1 / 64, 1 / 64),
        (1.0, 0.3, 0.3),
    ],
)
def test_sharing_follows_the_factor(factor, before, after):
    served, mean = np.array([[1.0], [4.0]]), np.array([2.0])
    state = _state(served, mean)
    state["extra"][base.SHARING] = np.float32(before)
    found = spread.followed(state, factor)
    assert found["extra"][base.SHARING] == pytest.approx(after, rel=1e-6)
    assert found["extra"][base.SHARING].dtype == np.float32
    assert list(found["extra"]) == list(state["extra"])
    assert found["personal"] is state["personal"]
    assert state["extra"][base.SHARING] == np.float32(before)


def test_an_algorithm_without_a_sharing_follows_nothing():
    state = _state(np.array([[1.0], [4.0]]), np.array([2.0]))
    assert spread.followed(state, 1.5) is state
