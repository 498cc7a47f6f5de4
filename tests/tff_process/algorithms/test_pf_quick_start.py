"""PF-MSMTrec's first rows, on which joined updates are lengthened."""

import collections
import dataclasses

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.algorithms import pf_rounds
from tff_process.algorithms import base, pf_msmtrec
from tff_process.client import variables

LATE = 2.0


def at(state, rows):
    """The state after so many rows of the mean client."""
    extra = collections.OrderedDict({base.ROWS_GONE: tf.constant(rows)})
    return dataclasses.replace(state, extra=extra)


@pytest.mark.parametrize(
    ("rows", "expected"), [(0.0, 0.5 * 2**0.5), (1.0, 0.5 * 2**0.25), (2.0, 0.5), (3.0, 0.5)]
)
def test_two_clients_by_hand(rows, expected):
    """Updates (1, 0) and (0, 1) from P = 0, mu = 1, even attention: their mean is (0.5, 0.5), which
    is made as long as either at first, and half as much so, in exponents, on the way.
    """
    spec = dataclasses.replace(pf_rounds.LAYOUT.specs[0], shape=(2,))
    empty = collections.OrderedDict()
    zeros = {spec.name: tf.zeros([2, 2])}
    state = base.ServerState(tf.constant(0), empty, zeros, {spec.name: tf.zeros([2])}, empty)
    reports = base.ClientReports(
        {spec.name: tf.eye(2)},
        empty,
        tf.constant([2.0, 4.0]),
        tf.ones([2, 1]),
        tf.constant([True, True]),
    )
    for coordination in ("mean", "none"):
        settings = pf_msmtrec.Settings(
            coordination=coordination,
            temperature=1e12,
            mu=1.0,
            weigh_by_rows=False,
            quick_start=LATE,
        )
        after, _ = pf_msmtrec.aggregate(
            settings,
            variables.ModelVariables((spec,)),
            ("ctr",),
            at(state, rows),
            reports,
        )
        np.testing.assert_allclose(after.personal[spec.name], np.full([2, 2], expected), rtol=1e-6)
        assert after.extra[base.ROWS_GONE].numpy() == np.float32(rows + 3.0)


def test_who_has_no_labels_of_a_task_does_not_shorten_what_is_joined_of_its_tower():
    """Updates (1, 0) and (0, 1) of the clients that serve it and 0 of the third: as of two."""
    spec = dataclasses.replace(pf_rounds.LAYOUT.specs[1], shape=(2,))
    empty = collections.OrderedDict()
    zeros = {spec.name: tf.zeros([3, 2])}
    state = base.ServerState(tf.constant(0), empty, zeros, {spec.name: tf.zeros([2])}, empty)
    reports = base.ClientReports(
        {spec.name: tf.eye(3)[:, :2]},
        empty,
        tf.constant([5.0, 5.0, 5.0]),
        tf.constant([[1.0], [1.0], [0.0]]),
        tf.constant([True, True, True]),
    )
    settings = pf_msmtrec.Settings(temperature=1e12, tower_mu=1.0, attraction=0.0, quick_start=LATE)
    layout = variables.ModelVariables((spec,))
    after, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), at(state, 0.0), reports)
    expected = [[0.5**0.5] * 2] * 2 + [[0.0, 0.0]]
    np.testing.assert_allclose(after.personal[spec.name], expected, rtol=1e-6)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_once_it_is_over_it_is_as_if_it_had_never_been(seed, coordination):
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    settings = pf_msmtrec.Settings(coordination=coordination, table_prior=10.0, quick_start=LATE)
    never, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    over, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), at(state, LATE), reports)
    early, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), at(state, 0.0), reports)
    for name, value in never.personal.items():
        np.testing.assert_array_equal(over.personal[name], value)
        np.testing.assert_array_equal(over.consensus[name], never.consensus[name])
        assert np.any(early.personal[name] != value)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS)
def test_the_common_change_of_a_row_grows_with_those_that_met_it(seed):
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=10.0, quick_start=LATE)
    before = state.consensus["t"].numpy()
    never, early = (
        pf_msmtrec.aggregate(settings, layout, ("ctr",), given, reports)[0].consensus["t"].numpy()
        for given in (state, at(state, 0.0))
    )
    seen = reports.seen["t"].numpy()
    many = seen.sum(axis=0) ** 2 / np.maximum((seen**2).sum(axis=0), 1e-9)
    factor = np.sqrt(np.maximum(many, 1.0))[:, np.newaxis]
    np.testing.assert_allclose(early - before, factor * (never - before), atol=1e-5)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS)
def test_clients_that_learn_the_same_are_not_hurried(seed):
    state, reports = pf_rounds.round_of(seed, same=True)
    never, _, _ = pf_rounds.aggregate(state, reports)
    early, _, _ = pf_rounds.aggregate(at(state, 0.0), reports, quick_start=LATE)
    for name, value in never.items():
        np.testing.assert_allclose(early[name], value, atol=1e-4)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, absent=st.integers(0, 3))
def test_an_absent_client_counts_for_nothing(seed, absent):
    present = [client != absent for client in range(4)]
    state, reports = pf_rounds.round_of(seed, present=present)
    changed = pf_rounds.with_one_far_away(reports, absent, 1e3)
    one, _, _ = pf_rounds.aggregate(at(state, 0.0), reports, quick_start=LATE)
    two, _, _ = pf_rounds.aggregate(at(state, 0.0), changed, quick_start=LATE)
    for name in one:
        np.testing.assert_array_equal(one[name][absent], state.personal[name][absent])
        np.testing.assert_array_equal(one[name], two[name])


def test_rows_gone_are_kept_where_they_matter():
    for settings, kept in (
        (pf_msmtrec.Settings(), False),
        (pf_msmtrec.Settings.from_json({}), False),
        (pf_msmtrec.Settings(quick_start=LATE), True),
    ):
        assert (base.ROWS_GONE in settings.initial_extra(pf_rounds.LAYOUT, 4)) == kept
