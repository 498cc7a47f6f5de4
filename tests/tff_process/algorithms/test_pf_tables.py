"""PF-MSMTrec's tables, of which every client may have its own."""

import dataclasses

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.algorithms import pf_rounds
from tff_process.algorithms import pf_msmtrec
from tff_process.client import variables


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS)
def test_a_table_of_every_client_with_an_endless_prior_is_the_one_that_all_share(seed):
    """The consensus is that table too, so a newcomer starts from it."""
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=1e12)
    after, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    common = variables.ModelVariables(
        (dataclasses.replace(layout.specs[0], join=variables.COMMON),)
    )
    shared = dataclasses.replace(state, common=state.consensus, personal={}, consensus={})
    expected, _ = pf_msmtrec.aggregate(settings, common, ("ctr",), shared, reports)
    for table in (*after.personal["t"], after.consensus["t"]):
        np.testing.assert_allclose(table, expected.common["t"], atol=1e-5)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, parts=st.integers(1, 8))
def test_the_prior_counts_rows_of_an_epoch_however_often_it_is_aggregated(seed, parts):
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=1000.0)
    one, said = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    other, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports, epochs=1.0 / parts)
    np.testing.assert_allclose(other.personal["t"], one.personal["t"], atol=1e-5)
    weights = reports.seen["t"].numpy() / (reports.seen["t"].numpy() + 1000.0)
    mean = (weights * reports.seen["t"].numpy()).sum(axis=1) / reports.seen["t"].numpy().sum(axis=1)
    np.testing.assert_allclose(said["own_weight/embedding/t"], mean, rtol=1e-5)


def test_what_tables_have_in_common_goes_a_part_of_the_way():
    """A client that met nothing goes as far as what is common."""
    layout, state, reports = pf_rounds.round_with_a_table(0)
    reports.seen["t"] *= tf.constant([[1.0], [1.0], [0.0]])
    whole, part = (
        pf_msmtrec.aggregate(
            pf_msmtrec.Settings(table_prior=10.0, server_step=step),
            layout,
            ("ctr",),
            state,
            reports,
        )[0]
        for step in (1.0, 0.25)
    )
    before = state.consensus["t"]
    expected = before + 0.25 * (whole.consensus["t"] - before)
    np.testing.assert_allclose(part.consensus["t"], expected, atol=1e-6)
    np.testing.assert_allclose(part.personal["t"][2], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("prior", "joined"), [(0.0, variables.COMMON), (1000.0, variables.PERSONAL)]
)
def test_without_a_prior_shared_tables_are_one_for_all(schema, prior, joined):
    algorithm = pf_msmtrec.pf_msmtrec(schema, pf_msmtrec.Settings(table_prior=prior))
    assert ("embedding" in algorithm.personal_kinds) == (joined == variables.PERSONAL)
