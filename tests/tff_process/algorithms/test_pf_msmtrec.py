"""PF-MSMTrec's aggregation as a pure function: degenerate settings,
and properties that hold for any updates.
"""

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


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_mu_zero_is_local_training(seed, coordination):
    state, reports = pf_rounds.round_of(seed)
    personal, _, _ = pf_rounds.aggregate(
        state, reports, coordination=coordination, mu=0.0, tower_mu=0.0, gate_mu=0.0, numeric_mu=0.0
    )
    for name, value in personal.items():
        np.testing.assert_array_equal(value, reports.values[name])


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS)
def test_even_attention_and_mu_one_is_plain_averaging(seed):
    """With the mean update and an infinite temperature every client gets the plain mean of all."""
    state, reports = pf_rounds.round_of(seed)
    personal, _, _ = pf_rounds.aggregate(
        state,
        reports,
        coordination="mean",
        temperature=1e12,
        mu=1.0,
        tower_mu=1.0,
        gate_mu=1.0,
        numeric_mu=1.0,
    )
    for name, value in personal.items():
        mean = reports.values[name].numpy().mean(axis=0)
        np.testing.assert_allclose(value, np.broadcast_to(mean, value.shape), atol=1e-6)


@pf_rounds.few
@hypothesis.given(
    seed=pf_rounds.SEEDS,
    coordination=st.sampled_from(["none", "mean", "conflict_averse"]),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_permuting_clients_permutes_results(seed, coordination, prior):
    state, reports = pf_rounds.round_of(seed)
    order = np.random.default_rng(seed).permutation(4)

    def permuted(values):
        return collections.OrderedDict(
            (name, tf.gather(value, order)) for name, value in values.items()
        )

    other_state = dataclasses.replace(state, personal=permuted(state.personal))
    other = base.ClientReports(
        permuted(reports.values),
        reports.seen,
        tf.gather(reports.examples, order),
        reports.serves,
        reports.present,
    )
    settings = {"coordination": coordination, "rows_prior": prior, "weigh_by_rows": prior > 0.0}
    one, after, _ = pf_rounds.aggregate(state, reports, **settings)
    two, other_after, _ = pf_rounds.aggregate(other_state, other, **settings)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value[order], atol=1e-5)
        np.testing.assert_allclose(after.consensus[name], other_after.consensus[name], atol=1e-5)


@pf_rounds.few
@hypothesis.given(
    seed=pf_rounds.SEEDS,
    coordination=st.sampled_from(pf_msmtrec.COORDINATIONS),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_identical_clients_get_identical_results(seed, coordination, prior):
    settings = {"coordination": coordination, "rows_prior": prior, "weigh_by_rows": prior > 0.0}
    personal, _, _ = pf_rounds.aggregate(*pf_rounds.round_of(seed, same=True), **settings)
    for value in personal.values():
        np.testing.assert_allclose(value, np.broadcast_to(value[:1], value.shape), atol=1e-6)


@pf_rounds.few
@hypothesis.given(
    seed=pf_rounds.SEEDS,
    coordination=st.sampled_from(["none", "mean", "pcgrad"]),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_one_client_alone_is_local_training(seed, coordination, prior):
    """With the mean, or no conflict to project away,
    a client alone gets back what it trained, whatever mu and its rows.
    """
    state, reports = pf_rounds.round_of(seed, clients=1)
    settings = {"coordination": coordination, "rows_prior": prior, "weigh_by_rows": prior > 0.0}
    personal, _, _ = pf_rounds.aggregate(state, reports, **settings)
    for name, value in personal.items():
        np.testing.assert_allclose(value, reports.values[name], atol=1e-6)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS)
def test_an_endless_prior_and_the_mean_by_rows_is_federated_averaging(seed):
    """A client with next to nothing of its own takes all: what an even attention makes of P, and
    the mean update weighted by rows.
    """
    state, reports = pf_rounds.round_of(seed)
    shared = dataclasses.replace(
        state, personal={name: tf.stack([value[0]] * 4) for name, value in state.personal.items()}
    )
    personal, _, _ = pf_rounds.aggregate(
        shared, reports, coordination="mean", weigh_by_rows=True, rows_prior=1e12
    )
    expected = np.average(reports.values[pf_rounds.EXPERT], axis=0, weights=reports.examples)
    np.testing.assert_allclose(
        personal[pf_rounds.EXPERT],
        np.broadcast_to(expected, personal[pf_rounds.EXPERT].shape),
        atol=1e-5,
    )


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, parts=st.integers(1, 8))
def test_a_client_keeps_as_much_as_its_rows_of_an_epoch_bear(seed, parts):
    """By the formula, from what it gets with all of its own and with nothing of it;
    however often an epoch is aggregated.
    """
    state, reports = pf_rounds.round_of(seed)
    part = dataclasses.replace(reports, examples=reports.examples / parts)
    settings = {"attraction": 1.0, "mu": 0.2}
    settings.update({"tower_mu": 0.2, "gate_mu": 0.2, "numeric_mu": 0.2})
    found, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(rows_prior=30.0, **settings),
        pf_rounds.LAYOUT,
        ("ctr",),
        state,
        part,
        epochs=1.0 / parts,
    )
    offered, _, _ = pf_rounds.aggregate(
        state, reports, weigh_by_rows=True, mu=1.0, tower_mu=1.0, gate_mu=1.0, numeric_mu=1.0
    )
    rows = reports.examples.numpy()
    own = 0.8 * rows / (rows + 30.0)
    for name, value in found.personal.items():
        weight = own.reshape([4] + [1] * (value.shape.rank - 1))
        expected = weight * reports.values[name].numpy() + (1.0 - weight) * offered[name]
        np.testing.assert_allclose(value, expected, atol=1e-4)


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, absent=st.integers(0, 3))
def test_an_absent_client_keeps_its_values_and_counts_for_nothing(seed, absent):
    present = [client != absent for client in range(4)]
    state, reports = pf_rounds.round_of(seed, present=present)
    changed = pf_rounds.with_one_far_away(reports, absent, 1e6)
    one, _, _ = pf_rounds.aggregate(state, reports)
    two, _, _ = pf_rounds.aggregate(state, changed)
    for name in one:
        np.testing.assert_array_equal(one[name][absent], state.personal[name][absent])
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize(
    ("name", "group"), [(pf_rounds.TOWER, "tower/ctr"), (pf_rounds.GATE, "gate/ctr")]
)
def test_a_client_without_a_task_takes_no_part_in_its_tower_and_gate(name, group):
    state, reports = pf_rounds.round_of(0, serves=[[1], [1], [0], [1]])
    personal, _, diagnostics = pf_rounds.aggregate(state, reports)
    np.testing.assert_array_equal(personal[name][2], reports.values[name][2])
    weights = diagnostics[f"attention/{group}"].numpy()
    np.testing.assert_allclose(weights[[0, 1, 3], 2], 0.0)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        (pf_rounds.EXPERT, "mu"),
        (pf_rounds.TOWER, "tower_mu"),
        (pf_rounds.GATE, "gate_mu"),
        (pf_rounds.NUMERIC, "numeric_mu"),
    ],
)
def test_each_kind_has_a_mu_of_its_own(name, setting):
    state, reports = pf_rounds.round_of(1)
    one, _, _ = pf_rounds.aggregate(state, reports)
    other, _, _ = pf_rounds.aggregate(state, reports, **{setting: 0.75})
    assert [
        spec.name
        for spec in pf_rounds.LAYOUT.specs
        if not np.array_equal(one[spec.name], other[spec.name])
    ] == [name]


@pf_rounds.few
@hypothesis.given(seed=pf_rounds.SEEDS, step=st.floats(0.01, 1.0))
def test_the_server_goes_part_of_the_way(seed, step):
    """Everything that it keeps, from where it was; the consensus is that of what was reached;
    an absent client stays.
    """
    state, reports = pf_rounds.round_of(seed, present=[True, True, False, True])
    table = variables.VariableSpec(
        "t", "embedding", "embedding/t", "t", (2, 1), True, variables.COMMON
    )
    layout = variables.ModelVariables((*pf_rounds.LAYOUT.specs, table))
    state = dataclasses.replace(state, common={"t": tf.constant([[1.0], [2.0]])})
    uploads = {**reports.values, "t": tf.constant([[[5.0], [5.0]]] * 4)}
    reports = dataclasses.replace(
        reports,
        values=uploads,
        seen={"t": tf.ones([4, 2])},
        examples=reports.examples * [1.0, 1.0, 0.0, 1.0],
    )
    whole, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(server_step=1.0), layout, ("ctr",), state, reports
    )
    part, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(server_step=step), layout, ("ctr",), state, reports
    )
    np.testing.assert_allclose(
        part.common["t"], [[1.0 + 4.0 * step], [2.0 + 3.0 * step]], rtol=1e-5
    )
    for name, target in whole.personal.items():
        before = state.personal[name].numpy()
        np.testing.assert_allclose(
            part.personal[name], before + step * (target.numpy() - before), atol=1e-5
        )
        np.testing.assert_array_equal(part.personal[name][2], before[2])
        np.testing.assert_allclose(
            part.consensus[name],
            np.average(part.personal[name], axis=0, weights=reports.examples),
            atol=1e-5,
        )


@pytest.mark.parametrize(("setting", "group"), [("gate_mu", "gate/ctr"), ("numeric_mu", "numeric")])
def test_gates_and_numbers_stay_where_their_mu_is_zero(schema, setting, group):
    assert pf_msmtrec.pf_msmtrec(schema).policy.shares(group)
    assert not pf_msmtrec.pf_msmtrec(schema, pf_msmtrec.Settings(**{setting: 0.0})).policy.shares(
        group
    )


@pytest.mark.parametrize("coordination", pf_msmtrec.COORDINATIONS)
def test_two_clients_by_hand(coordination):
    """Updates (1, 0) and (-1, 2) of one expert from P = 0, mu = 1, even attention: U alone is left.

    mean: (0, 1). PCGrad: the cosine is negative, <a, b> = -1; a' = (1, 0) + (-1, 2) / 5 = (0.8,
      0.4), b' = (-1, 2) + (1, 0) = (0, 2);
    mean (0.4, 1.2). None: the mean of the trained values, (0, 1). Conflict-averse (c = 0.4): within
    0.4 * |mean| of the mean, scaled.
    """
    layout = variables.ModelVariables(
        (
            variables.VariableSpec(
                "e", "expert", "expert/0/shared", "0", (2,), True, variables.PERSONAL
            ),
        )
    )
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0), empty, {"e": tf.zeros([2, 2])}, {"e": tf.zeros([2])}, empty
    )
    reports = base.ClientReports(
        {"e": tf.constant([[1.0, 0.0], [-1.0, 2.0]])},
        empty,
        tf.ones([2]),
        tf.ones([2, 1]),
        tf.constant([True, True]),
    )
    settings = pf_msmtrec.Settings(
        coordination=coordination, temperature=1e12, mu=1.0, server_step=1.0
    )  # as many rows each
    after, diagnostics = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    found = after.personal["e"].numpy()
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
    if coordination == "conflict_averse":
        assert np.linalg.norm(1.16 * found[0] - [0.0, 1.0]) <= 0.4 + 1e-5
        # It serves the worst-served client better than the mean does.
        assert min(1.16 * found[0] @ [1.0, 0.0], 1.16 * found[0] @ [-1.0, 2.0]) > 0.0
    else:
        np.testing.assert_allclose(
            found[0], [0.4, 1.2] if coordination == "pcgrad" else [0.0, 1.0], atol=1e-6
        )
    assert float(diagnostics["conflict_share/expert/0/shared"]) == 1.0


@pytest.mark.parametrize("coordination", ["mean", "pcgrad", "conflict_averse"])
@pytest.mark.parametrize(("weigh_by_rows", "expected"), [(True, [0.25, 0.75]), (False, [0.5, 0.5])])
def test_updates_count_by_their_rows_or_alike(coordination, weigh_by_rows, expected):
    """Two updates at right angles, which hold nothing against each other; a radius of 0 is the mean
    of conflict-averse coordination too.
    """
    settings = pf_msmtrec.Settings(
        coordination=coordination, conflict_radius=0.0, weigh_by_rows=weigh_by_rows
    )
    rows, present = tf.constant([10.0, 30.0]), tf.constant([True, True])
    found = pf_msmtrec.coefficients(settings, tf.eye(2, dtype=tf.float64), rows, present)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_attention_weighs_clients_by_their_rows_where_that_is_asked_for():
    """At an endless temperature by them alone: in the part that each has of all rows."""
    state, reports = pf_rounds.round_of(2)
    rows = reports.examples.numpy()
    for log_counts, expected in ((True, rows / rows.sum()), (False, np.full(4, 0.25))):
        _, after, told = pf_rounds.aggregate(state, reports, log_counts=log_counts, temperature=1e9)
        for spec in pf_rounds.LAYOUT.specs:
            found = told[f"attention/{spec.group}"]
            np.testing.assert_allclose(found, np.tile(expected, (4, 1)), rtol=1e-6)
        assert int(after.round) == 1


def test_who_takes_no_part_is_said_to_keep_all_of_its_own():
    members = tf.constant([True, False])
    for taken in (0.25, tf.constant([0.25, 0.5])):
        np.testing.assert_allclose(pf_msmtrec.own_weight(taken, members), [0.75, 1.0])


@pytest.mark.parametrize("found", [True, False])
def test_the_algorithm_is_of_its_settings_and_its_epochs(schema, found):
    settings = pf_msmtrec.Settings(find_spread=found, proximal=0.5, rows_prior=30.0)
    made = pf_msmtrec.pf_msmtrec(schema, settings, epochs=0.25)
    assert (made.finds_spread, made.proximal) == (found, 0.5)
    assert (base.SHARING in made.initial_extra(pf_rounds.LAYOUT, 4)) == found
    assert settings.to_json()["follow_spread"] == found
    state, reports = pf_rounds.round_of(3)
    one, _ = made.aggregate(pf_rounds.LAYOUT, ("ctr",), state, reports)
    other, _ = pf_msmtrec.aggregate(settings, pf_rounds.LAYOUT, ("ctr",), state, reports, 0.25)
    for name, value in other.personal.items():
        np.testing.assert_array_equal(one.personal[name], value)


def test_a_record_of_before_is_of_joined_values_that_stay_where_they_were():
    found = pf_msmtrec.Settings.from_json({})
    assert (found.attraction, found.find_spread, found.follow_spread) == (1.0, False, False)
