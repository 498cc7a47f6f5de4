"""How far PF-MSMTrec draws clients' values towards one another, beside joining their updates."""

import collections
import dataclasses

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.algorithms import pf_rounds
from tff_process.aggregation import mix
from tff_process.algorithms import base, pf_msmtrec
from tff_process.client import variables


@pf_rounds.few
@hypothesis.given(
    seed=pf_rounds.SEEDS,
    attraction=st.floats(0.0, 1.0),
    coordination=st.sampled_from(pf_msmtrec.COORDINATIONS),
)
def test_attraction_as_the_formula_says(seed, attraction, coordination):
    """In NumPy, of the attention that the diagnostics show and of what mean coordination joins."""
    coordination = coordination if coordination == "none" else "mean"
    state, reports = pf_rounds.round_of(seed)
    found, _, diagnostics = pf_rounds.aggregate(
        state, reports, attraction=attraction, coordination=coordination, rows_prior=30.0
    )
    rows = reports.examples.numpy()
    for spec in pf_rounds.LAYOUT.specs:
        mu = 0.5 if spec.kind == "expert" else 0.25
        before = state.personal[spec.name].numpy().reshape(4, -1)
        trained = reports.values[spec.name].numpy().reshape(4, -1)
        attention = diagnostics[f"attention/{spec.group}"].numpy()
        joined = attention @ (trained - before)
        if spec.kind == "expert" and coordination == "mean":
            joined = (trained - before).mean(axis=0)
        offered = before + attraction * (attention @ before - before) + joined
        own = ((1.0 - mu) * rows / (rows + 30.0))[:, np.newaxis]
        expected = own * trained + (1.0 - own) * offered
        np.testing.assert_allclose(found[spec.name].reshape(4, -1), expected, atol=1e-5)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_what_a_client_has_of_its_own_stays_where_updates_alone_are_joined(seed, coordination):
    """A client whose values stand elsewhere gets what it would have got, from there; and the others
    do not notice. Where values are joined, both feel it.
    """
    state, reports = pf_rounds.round_of(seed)

    def moved(values):
        return collections.OrderedDict(
            (name, value + tf.reshape([8.0, 0.0, 0.0, 0.0], [4] + [1] * (len(value.shape) - 1)))
            for name, value in values.items()
        )

    other_state = dataclasses.replace(state, personal=moved(state.personal))
    other = dataclasses.replace(reports, values=moved(reports.values))
    for attraction in (0.0, 1.0):
        settings = {"attraction": attraction, "coordination": coordination}
        one, _, _ = pf_rounds.aggregate(state, reports, **settings)
        two, _, _ = pf_rounds.aggregate(other_state, other, **settings)
        for name, value in moved(one).items():
            if attraction:
                assert np.all(np.abs(two[name] - value) > 0.02)
            else:
                np.testing.assert_allclose(two[name], value, atol=1e-4)


@pytest.mark.parametrize(
    ("attraction", "expected"), [(0.0, (1.5, 3.5)), (0.1, (1.6, 3.4)), (1.0, (2.5, 2.5))]
)
def test_attraction_of_two_clients_by_hand(attraction, expected):
    """P = 1 and 3, updates 1 and 0, mu = 1, even attention: U = 0.5 and the others' mean 2, so 1.5
    and 3.5 where updates are joined, 2.5 where values are, and a tenth of the way between.
    """
    layout = variables.ModelVariables((dataclasses.replace(pf_rounds.LAYOUT.specs[0], shape=(1,)),))
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0),
        empty,
        {pf_rounds.EXPERT: tf.constant([[1.0], [3.0]])},
        {pf_rounds.EXPERT: tf.constant([2.0])},
        empty,
    )
    reports = base.ClientReports(
        {pf_rounds.EXPERT: tf.constant([[2.0], [3.0]])},
        empty,
        tf.ones([2]),
        tf.ones([2, 1]),
        tf.constant([True, True]),
    )
    settings = pf_msmtrec.Settings(
        attraction=attraction, coordination="mean", temperature=1e12, mu=1.0
    )
    after, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    np.testing.assert_allclose(after.personal[pf_rounds.EXPERT].numpy()[:, 0], expected, rtol=1e-6)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_whole_attraction_is_joining_values_to_the_last_bit(seed, coordination):
    """As it was before there was an attraction, of which a run's record does not speak."""
    state, reports = pf_rounds.round_of(seed)
    found, _, diagnostics = pf_rounds.aggregate(state, reports, coordination=coordination)
    update = pf_msmtrec.coefficients(
        pf_msmtrec.Settings(coordination=coordination, weigh_by_rows=False),
        diagnostics["gram/expert/0/shared"],
        reports.examples,
        reports.present,
    )
    for spec in pf_rounds.LAYOUT.specs:
        before, trained = state.personal[spec.name], reports.values[spec.name]
        weights = diagnostics[f"attention/{spec.group}"]
        if spec.kind == "expert" and coordination != "none":
            offered = mix.combine(weights, before)
            offered += mix.combine(update[tf.newaxis], trained - before)
        else:
            offered = mix.combine(weights, trained)
        mu = 0.5 if spec.kind == "expert" else 0.25
        expected = mix.personalise(trained, offered, mu, reports.present)
        np.testing.assert_array_equal(found[spec.name], expected)
