"""How much a client of PF-MSMTrec takes of what the settings let it take, see `base.SHARING`."""

import dataclasses

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.algorithms import pf_rounds
from tff_process.algorithms import base, pf_msmtrec


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_a_sharing_of_0_is_local_training_and_one_of_1_is_all(seed, coordination):
    chosen = {"coordination": coordination, "rows_prior": 20.0, "attraction": 0.3}
    state, reports = pf_rounds.round_of(seed)
    before, _, _ = pf_rounds.aggregate(state, reports, **chosen)
    whole, _, _ = pf_rounds.aggregate(pf_rounds.sharing(state, 1.0), reports, **chosen)
    alone, _, told = pf_rounds.aggregate(pf_rounds.sharing(state, 0.0), reports, **chosen)
    for name, value in alone.items():
        np.testing.assert_array_equal(value, reports.values[name])
        np.testing.assert_array_equal(whole[name], before[name])
    np.testing.assert_array_equal(told["own_weight/expert/0/shared"], np.ones(4))


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_a_client_takes_as_much_of_all_as_the_sharing_says(seed, much):
    state, reports = pf_rounds.round_of(seed)
    whole, _, _ = pf_rounds.aggregate(state, reports)
    part, after, _ = pf_rounds.aggregate(pf_rounds.sharing(state, much), reports)
    for name, value in part.items():
        trained = reports.values[name].numpy()
        np.testing.assert_allclose(value, trained + much * (whole[name] - trained), atol=1e-5)
    assert after.extra[base.SHARING].numpy() == np.float32(much)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_rows_of_tables_are_shared_as_much(seed, much):
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=10.0)
    found = [
        pf_msmtrec.aggregate(settings, layout, ("ctr",), given, reports)[0].personal["t"].numpy()
        for given in (state, pf_rounds.sharing(state, much))
    ]
    trained, met = reports.values["t"].numpy(), reports.seen["t"].numpy()[:, :, np.newaxis]
    expected = trained + much * (found[0] - trained)
    np.testing.assert_allclose(
        np.where(met > 0, found[1], 0), np.where(met > 0, expected, 0), atol=1e-5
    )


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_the_table_of_an_absent_client_goes_with_the_others_as_far_as_the_sharing_says(seed, much):
    layout, state, reports = pf_rounds.round_with_a_table(seed)
    here = np.array([True, False, True])
    reports = dataclasses.replace(
        reports,
        values={"t": reports.values["t"] * here[:, np.newaxis, np.newaxis]},
        seen={"t": reports.seen["t"] * here[:, np.newaxis]},
        present=tf.constant(here),
    )
    after, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(table_prior=10.0),
        layout,
        ("ctr",),
        pf_rounds.sharing(state, much),
        reports,
    )
    before = state.personal["t"][1].numpy()
    change = (after.consensus["t"] - state.consensus["t"]).numpy()
    np.testing.assert_allclose(after.personal["t"][1], before + much * change, atol=1e-5)


def test_sharing_is_kept_where_it_is_followed():
    for settings, kept in (
        (pf_msmtrec.Settings(), [base.SHARING]),
        (pf_msmtrec.Settings(follow_spread=False), []),
        (pf_msmtrec.Settings(find_spread=False), []),
        (pf_msmtrec.Settings.from_json({"find_spread": True}), []),  # of before
    ):
        assert list(settings.initial_extra(pf_rounds.LAYOUT, 4)) == kept
