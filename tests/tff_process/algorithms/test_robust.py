"""Limited updates, by numbers that can be computed by hand, and their properties."""

import collections
import dataclasses

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec import errors
from tff_process.algorithms import base, fedavg, robust
from tff_process.client import variables as variables_lib

OD = collections.OrderedDict


def specs(kind="expert", join="personal", width=2):
    return variables_lib.ModelVariables(
        (variables_lib.VariableSpec("w", kind, f"{kind}/0", "0", (width,), True, join),)
    )


def limited(how, deltas, present=None, kind="expert", join="personal"):
    """The updates after limiting, of clients that all start from 1."""
    deltas = np.asarray(deltas, np.float32)
    clients, width = deltas.shape[0], deltas.shape[-1]
    start = tf.ones_like(deltas) if join == "personal" else tf.ones(deltas.shape[1:])
    empty = OD()
    state = base.ServerState(
        tf.constant(0),
        OD(w=start) if join == "common" else empty,
        OD(w=start) if join == "personal" else empty,
        empty,
        empty,
    )
    attends = tf.constant([True] * clients if present is None else present)
    reports = base.ClientReports(
        OD(w=1.0 + deltas), empty, tf.ones([clients]), tf.ones([clients, 1]), attends
    )
    shape = dataclasses.replace(specs(kind, join).specs[0], shape=deltas.shape[1:])
    made = variables_lib.ModelVariables((shape,))
    assert width == shape.shape[-1]
    return robust.limited(how, made, ("ctr",), state, reports)["w"].numpy() - 1.0


@pytest.mark.parametrize("join", ["personal", "common"])
def test_norms_are_bounded_by_their_median(join):
    """Norms 1, 5, 2, 10: the median is 3.5; 5 and 10 are scaled down to it."""
    found = limited("norm", [[1, 0], [3, 4], [0, 2], [-10, 0]], join=join)
    np.testing.assert_allclose(found, [[1, 0], [2.1, 2.8], [0, 2], [-3.5, 0]], atol=1e-5)


def test_coordinates_lie_within_those_of_the_middle_clients():
    """Four clients: the smallest and the largest of each coordinate are limited to the next."""
    found = limited("winsorize", [[1, 0], [2, 9], [3, 1], [100, 2]])
    np.testing.assert_allclose(found, [[2, 1], [2, 2], [3, 1], [3, 2]], atol=1e-5)


def test_of_eight_two_are_limited_at_each_end():
    found = limited("winsorize", np.arange(8.0)[:, np.newaxis] * [[1.0, -1.0]])
    np.testing.assert_allclose(found[:, 0], [2, 2, 2, 3, 4, 5, 5, 5], atol=1e-5)
    np.testing.assert_allclose(found[:, 1], -found[:, 0], atol=1e-5)


def test_the_median_is_everybodys():
    found = limited("median", [[1, 0], [2, 9], [3, 1], [100, 2]])
    np.testing.assert_allclose(found, [[2.5, 1.5]] * 4, atol=1e-5)


@pytest.mark.parametrize("how", ["norm", "winsorize", "median"])
def test_of_two_neither_is_limited(how):
    deltas = [[1, 0], [100, 0], [7, 7]]
    np.testing.assert_allclose(limited(how, deltas, [True, True, False]), deltas, rtol=1e-5)


@pytest.mark.parametrize("how", ["norm", "winsorize", "median"])
def test_the_absent_take_no_part(how):
    """Whatever an absent client's row holds, the others are limited as if it were not there."""
    deltas = np.array([[1, 0], [2, 9], [3, 1], [50, 2]])
    among = limited(how, deltas)
    with_absent = np.concatenate([deltas[:2], [[1e6, -1e6]], deltas[2:]])
    found = limited(how, with_absent, [True, True, False, True, True])
    np.testing.assert_allclose(found[[0, 1, 3, 4]], among, atol=1e-4)


@pytest.mark.parametrize("how", ["winsorize", "median"])
def test_rows_that_one_client_met_are_kept(how):
    """A table's rows move at who met them: it is bounded as a whole, by the median of 1, 1, 5."""
    deltas = [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [3, 4]]]
    found = limited(how, deltas, kind="embedding")
    np.testing.assert_allclose(found[2], [[0, 0], [0.6, 0.8]], atol=1e-5)
    np.testing.assert_allclose(found[:2], np.asarray(deltas[:2]), atol=1e-5)


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.integers(3, 9), st.integers(0, 10**6), st.sampled_from(["norm", "winsorize"]))
def test_one_bad_client_moves_the_mean_no_further_than_the_honest_reach(clients, seed, how):
    """However large what it sends: the mean stays within the norm of the honest updates."""
    rng = np.random.default_rng(seed)
    deltas = rng.normal(size=(clients, 3))
    deltas[0] *= 10.0 ** rng.integers(2, 5)
    found = limited(how, deltas)
    honest = np.linalg.norm(deltas[1:], axis=1).max()
    bound = honest if how == "norm" else np.sqrt(3) * np.abs(deltas[1:]).max()
    assert np.linalg.norm(found.mean(axis=0)) <= bound * 1.001


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(st.integers(0, 10**6), st.sampled_from(["norm", "winsorize", "median"]))
def test_the_order_of_clients_does_not_matter(seed, how):
    rng = np.random.default_rng(seed)
    deltas = rng.normal(size=(5, 3)) * rng.lognormal(size=(5, 1))
    order = rng.permutation(5)
    np.testing.assert_allclose(limited(how, deltas[order]), limited(how, deltas)[order], atol=1e-4)


def test_equal_updates_pass_as_they_are():
    for how in ("norm", "winsorize", "median"):
        np.testing.assert_allclose(limited(how, [[1, 2]] * 4), [[1, 2]] * 4, atol=1e-5)


def test_none_is_the_algorithm_itself_and_an_unknown_choice_is_named(schema):
    algorithm = fedavg.fedavg(schema)
    assert robust.applied(algorithm, "none") is algorithm
    with pytest.raises(errors.PfrecError, match="--robust=krum"):
        robust.applied(algorithm, "krum")


def test_an_algorithm_is_given_limited_values(schema):
    """FedAvg's mean of 1 + (2, 2, 3, 3) instead of 1 + (1, 2, 3, 100)."""
    algorithm = robust.applied(fedavg.fedavg(schema), "winsorize")
    made = specs(join="common", width=1)
    empty = OD()
    state = base.ServerState(tf.constant(0), OD(w=tf.ones([1])), empty, empty, empty)
    reports = base.ClientReports(
        OD(w=tf.constant([[2.0], [3.0], [4.0], [101.0]])),
        empty,
        tf.ones([4]),
        tf.ones([4, 1]),
        tf.constant([True] * 4),
    )
    after, _ = algorithm.aggregate(made, ("ctr",), state, reports)
    np.testing.assert_allclose(after.common["w"], [3.5], rtol=1e-6)


def test_who_does_not_serve_a_task_says_nothing_of_its_tower():
    """Of updates 1, 3, 2 and an untouched 0 the median is 2, not 1.5."""
    made = variables_lib.ModelVariables(
        (variables_lib.VariableSpec("w", "tower", "tower/ctr", "ctr", (1,), True, "common"),)
    )
    state = base.ServerState(tf.constant(0), OD(w=tf.ones([1])), OD(), OD(), OD())
    reports = base.ClientReports(
        OD(w=tf.constant([[2.0], [4.0], [3.0], [1.0]])),
        OD(),
        tf.ones([4]),
        tf.constant([[1.0], [1.0], [1.0], [0.0]]),
        tf.constant([True] * 4),
    )
    found = robust.limited("median", made, ("ctr",), state, reports)["w"]
    np.testing.assert_allclose(found[:, 0], [3.0, 3.0, 3.0, 1.0], rtol=1e-6)
