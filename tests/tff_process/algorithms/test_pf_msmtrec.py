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

from tff_process.aggregation import mix
from tff_process.algorithms import base, pf_msmtrec
from tff_process.client import variables

few = hypothesis.settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
EXPERT, TOWER = "expert/0/shared/kernel", "tower/ctr/kernel"
GATE, NUMERIC = "gate/ctr/kernel", "numeric/project/kernel"
LAYOUT = variables.ModelVariables(
    (
        variables.VariableSpec(
            EXPERT, "expert", "expert/0/shared", "0", (3, 2), True, variables.PERSONAL
        ),
        variables.VariableSpec(TOWER, "tower", "tower/ctr", "ctr", (2,), True, variables.PERSONAL),
        variables.VariableSpec(GATE, "gate", "gate/ctr", "ctr", (2, 2), True, variables.PERSONAL),
        variables.VariableSpec(
            NUMERIC, "numeric", "numeric", "numeric", (3,), True, variables.PERSONAL
        ),
    )
)


def round_of(seed, clients=4, present=None, serves=None, same=False):
    """A random state and updates of it."""
    random = np.random.default_rng(seed)
    shapes = {spec.name: spec.shape for spec in LAYOUT.specs}

    def draw(shape):
        one = random.normal(size=(1 if same else clients, *shape)).astype(np.float32)
        return np.repeat(one, clients // len(one), axis=0)

    personal = collections.OrderedDict(
        (name, tf.constant(draw(shape))) for name, shape in shapes.items()
    )
    trained = collections.OrderedDict(
        (name, tf.constant(draw(shape))) for name, shape in shapes.items()
    )
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0),
        empty,
        personal,
        collections.OrderedDict((n, v[0]) for n, v in personal.items()),
        empty,
    )
    counts = np.full(clients, 5.0) if same else random.integers(1, 50, clients)
    reports = base.ClientReports(
        trained,
        empty,
        tf.constant(counts, tf.float32),
        tf.constant(np.ones([clients, 1]) if serves is None else serves, tf.float32),
        tf.constant([True] * clients if present is None else present),
    )
    return state, reports


def aggregate(state, reports, **settings):
    # What the other settings do shows where all clients count alike and values are joined.
    plain = {"rows_prior": 0.0, "weigh_by_rows": False, "mu": 0.5, "attraction": 1.0}
    settings = pf_msmtrec.Settings(**{**plain, **settings})
    after, diagnostics = pf_msmtrec.aggregate(settings, LAYOUT, ("ctr",), state, reports)
    return {name: value.numpy() for name, value in after.personal.items()}, after, diagnostics


@few
@hypothesis.given(seed=SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_mu_zero_is_local_training(seed, coordination):
    state, reports = round_of(seed)
    personal, _, _ = aggregate(
        state, reports, coordination=coordination, mu=0.0, tower_mu=0.0, gate_mu=0.0, numeric_mu=0.0
    )
    for name, value in personal.items():
        np.testing.assert_array_equal(value, reports.values[name])


@few
@hypothesis.given(seed=SEEDS)
def test_even_attention_and_mu_one_is_plain_averaging(seed):
    """With the mean update and an infinite temperature every client gets the plain mean of all."""
    state, reports = round_of(seed)
    personal, _, _ = aggregate(
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


@few
@hypothesis.given(
    seed=SEEDS,
    coordination=st.sampled_from(["none", "mean", "conflict_averse"]),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_permuting_clients_permutes_results(seed, coordination, prior):
    state, reports = round_of(seed)
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
    one, after, _ = aggregate(state, reports, **settings)
    two, other_after, _ = aggregate(other_state, other, **settings)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value[order], atol=1e-5)
        np.testing.assert_allclose(after.consensus[name], other_after.consensus[name], atol=1e-5)


@few
@hypothesis.given(
    seed=SEEDS,
    coordination=st.sampled_from(pf_msmtrec.COORDINATIONS),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_identical_clients_get_identical_results(seed, coordination, prior):
    settings = {"coordination": coordination, "rows_prior": prior, "weigh_by_rows": prior > 0.0}
    personal, _, _ = aggregate(*round_of(seed, same=True), **settings)
    for value in personal.values():
        np.testing.assert_allclose(value, np.broadcast_to(value[:1], value.shape), atol=1e-6)


@few
@hypothesis.given(
    seed=SEEDS,
    coordination=st.sampled_from(["none", "mean", "pcgrad"]),
    prior=st.sampled_from([0.0, 20.0]),
)
def test_one_client_alone_is_local_training(seed, coordination, prior):
    """With the mean, or no conflict to project away,
    a client alone gets back what it trained, whatever mu and its rows.
    """
    state, reports = round_of(seed, clients=1)
    settings = {"coordination": coordination, "rows_prior": prior, "weigh_by_rows": prior > 0.0}
    personal, _, _ = aggregate(state, reports, **settings)
    for name, value in personal.items():
        np.testing.assert_allclose(value, reports.values[name], atol=1e-6)


@few
@hypothesis.given(seed=SEEDS)
def test_an_endless_prior_and_the_mean_by_rows_is_federated_averaging(seed):
    """A client with next to nothing of its own takes all: what an even attention makes of P, and
    the mean update weighted by rows.
    """
    state, reports = round_of(seed)
    shared = dataclasses.replace(
        state, personal={name: tf.stack([value[0]] * 4) for name, value in state.personal.items()}
    )
    personal, _, _ = aggregate(
        shared, reports, coordination="mean", weigh_by_rows=True, rows_prior=1e12
    )
    expected = np.average(reports.values[EXPERT], axis=0, weights=reports.examples)
    np.testing.assert_allclose(
        personal[EXPERT], np.broadcast_to(expected, personal[EXPERT].shape), atol=1e-5
    )


@few
@hypothesis.given(seed=SEEDS, parts=st.integers(1, 8))
def test_a_client_keeps_as_much_as_its_rows_of_an_epoch_bear(seed, parts):
    """By the formula, from what it gets with all of its own and with nothing of it;
    however often an epoch is aggregated.
    """
    state, reports = round_of(seed)
    part = dataclasses.replace(reports, examples=reports.examples / parts)
    settings = {"attraction": 1.0, "mu": 0.2}
    settings.update({"tower_mu": 0.2, "gate_mu": 0.2, "numeric_mu": 0.2})
    found, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(rows_prior=30.0, **settings),
        LAYOUT,
        ("ctr",),
        state,
        part,
        epochs=1.0 / parts,
    )
    offered, _, _ = aggregate(
        state, reports, weigh_by_rows=True, mu=1.0, tower_mu=1.0, gate_mu=1.0, numeric_mu=1.0
    )
    rows = reports.examples.numpy()
    own = 0.8 * rows / (rows + 30.0)
    for name, value in found.personal.items():
        weight = own.reshape([4] + [1] * (value.shape.rank - 1))
        expected = weight * reports.values[name].numpy() + (1.0 - weight) * offered[name]
        np.testing.assert_allclose(value, expected, atol=1e-4)


@few
@hypothesis.given(
    seed=SEEDS,
    attraction=st.floats(0.0, 1.0),
    coordination=st.sampled_from(pf_msmtrec.COORDINATIONS),
)
def test_attraction_as_the_formula_says(seed, attraction, coordination):
    """In NumPy, of the attention that the diagnostics show and of what mean coordination joins."""
    coordination = coordination if coordination == "none" else "mean"
    state, reports = round_of(seed)
    found, _, diagnostics = aggregate(
        state, reports, attraction=attraction, coordination=coordination, rows_prior=30.0
    )
    rows = reports.examples.numpy()
    for spec in LAYOUT.specs:
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


@few
@hypothesis.given(seed=SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_what_a_client_has_of_its_own_stays_where_updates_alone_are_joined(seed, coordination):
    """A client whose values stand elsewhere gets what it would have got, from there; and the others
    do not notice. Where values are joined, both feel it.
    """
    state, reports = round_of(seed)

    def moved(values):
        return collections.OrderedDict(
            (name, value + tf.reshape([8.0, 0.0, 0.0, 0.0], [4] + [1] * (len(value.shape) - 1)))
            for name, value in values.items()
        )

    other_state = dataclasses.replace(state, personal=moved(state.personal))
    other = dataclasses.replace(reports, values=moved(reports.values))
    for attraction in (0.0, 1.0):
        settings = {"attraction": attraction, "coordination": coordination}
        one, _, _ = aggregate(state, reports, **settings)
        two, _, _ = aggregate(other_state, other, **settings)
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
    layout = variables.ModelVariables((dataclasses.replace(LAYOUT.specs[0], shape=(1,)),))
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0),
        empty,
        {EXPERT: tf.constant([[1.0], [3.0]])},
        {EXPERT: tf.constant([2.0])},
        empty,
    )
    reports = base.ClientReports(
        {EXPERT: tf.constant([[2.0], [3.0]])},
        empty,
        tf.ones([2]),
        tf.ones([2, 1]),
        tf.constant([True, True]),
    )
    settings = pf_msmtrec.Settings(
        attraction=attraction, coordination="mean", temperature=1e12, mu=1.0
    )
    after, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    np.testing.assert_allclose(after.personal[EXPERT].numpy()[:, 0], expected, rtol=1e-6)


@few
@hypothesis.given(seed=SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_whole_attraction_is_joining_values_to_the_last_bit(seed, coordination):
    """As it was before there was an attraction, of which a run's record does not speak."""
    state, reports = round_of(seed)
    found, _, diagnostics = aggregate(state, reports, coordination=coordination)
    update = pf_msmtrec.coefficients(
        pf_msmtrec.Settings(coordination=coordination, weigh_by_rows=False),
        diagnostics["gram/expert/0/shared"],
        reports.examples,
        reports.present,
    )
    for spec in LAYOUT.specs:
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


@few
@hypothesis.given(seed=SEEDS, absent=st.integers(0, 3))
def test_an_absent_client_keeps_its_values_and_counts_for_nothing(seed, absent):
    present = [client != absent for client in range(4)]
    state, reports = round_of(seed, present=present)
    changed = dataclasses.replace(
        reports,
        values=collections.OrderedDict(
            (name, tf.tensor_scatter_nd_update(value, [[absent]], [value[absent] * 1e6]))
            for name, value in reports.values.items()
        ),
    )
    one, _, _ = aggregate(state, reports)
    two, _, _ = aggregate(state, changed)
    for name in one:
        np.testing.assert_array_equal(one[name][absent], state.personal[name][absent])
        np.testing.assert_array_equal(one[name], two[name])


@pytest.mark.parametrize(("name", "group"), [(TOWER, "tower/ctr"), (GATE, "gate/ctr")])
def test_a_client_without_a_task_takes_no_part_in_its_tower_and_gate(name, group):
    state, reports = round_of(0, serves=[[1], [1], [0], [1]])
    personal, _, diagnostics = aggregate(state, reports)
    np.testing.assert_array_equal(personal[name][2], reports.values[name][2])
    weights = diagnostics[f"attention/{group}"].numpy()
    np.testing.assert_allclose(weights[[0, 1, 3], 2], 0.0)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)


@pytest.mark.parametrize(
    ("name", "setting"),
    [(EXPERT, "mu"), (TOWER, "tower_mu"), (GATE, "gate_mu"), (NUMERIC, "numeric_mu")],
)
def test_each_kind_has_a_mu_of_its_own(name, setting):
    state, reports = round_of(1)
    one, _, _ = aggregate(state, reports)
    other, _, _ = aggregate(state, reports, **{setting: 0.75})
    assert [
        spec.name for spec in LAYOUT.specs if not np.array_equal(one[spec.name], other[spec.name])
    ] == [name]


@few
@hypothesis.given(seed=SEEDS, step=st.floats(0.01, 1.0))
def test_the_server_goes_part_of_the_way(seed, step):
    """Everything that it keeps, from where it was; the consensus is that of what was reached;
    an absent client stays.
    """
    state, reports = round_of(seed, present=[True, True, False, True])
    table = variables.VariableSpec(
        "t", "embedding", "embedding/t", "t", (2, 1), True, variables.COMMON
    )
    layout = variables.ModelVariables((*LAYOUT.specs, table))
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


def round_with_a_table(seed, clients=3, rows=4):
    """A layout of one personal table, its state and updates."""
    table = variables.VariableSpec(
        "t", "embedding", "embedding/t", "t", (rows, 2), True, variables.PERSONAL
    )
    random = np.random.default_rng(seed)
    first = tf.constant(random.normal(size=(rows, 2)), tf.float32)
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0), empty, {"t": tf.stack([first] * clients)}, {"t": first}, empty
    )
    trained = {"t": tf.constant(random.normal(size=(clients, rows, 2)), tf.float32)}
    seen = {"t": tf.constant(random.integers(0, 300, (clients, rows)), tf.float32)}
    reports = base.ClientReports(
        trained, seen, tf.ones([clients]), tf.ones([clients, 1]), tf.constant([True] * clients)
    )
    return variables.ModelVariables((table,)), state, reports


@few
@hypothesis.given(seed=SEEDS)
def test_a_table_of_every_client_with_an_endless_prior_is_the_one_that_all_share(seed):
    """The consensus is that table too, so a newcomer starts from it."""
    layout, state, reports = round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=1e12)
    after, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    common = variables.ModelVariables(
        (dataclasses.replace(layout.specs[0], join=variables.COMMON),)
    )
    shared = dataclasses.replace(state, common=state.consensus, personal={}, consensus={})
    expected, _ = pf_msmtrec.aggregate(settings, common, ("ctr",), shared, reports)
    for table in (*after.personal["t"], after.consensus["t"]):
        np.testing.assert_allclose(table, expected.common["t"], atol=1e-5)


def sharing(state, much):
    """The state with q of the formula."""
    return dataclasses.replace(
        state, extra=collections.OrderedDict({base.SHARING: tf.constant(much)})
    )


@few
@hypothesis.given(seed=SEEDS, coordination=st.sampled_from(pf_msmtrec.COORDINATIONS))
def test_a_sharing_of_0_is_local_training_and_one_of_1_is_all(seed, coordination):
    chosen = {"coordination": coordination, "rows_prior": 20.0, "attraction": 0.3}
    state, reports = round_of(seed)
    before, _, _ = aggregate(state, reports, **chosen)
    whole, _, _ = aggregate(sharing(state, 1.0), reports, **chosen)
    alone, _, told = aggregate(sharing(state, 0.0), reports, **chosen)
    for name, value in alone.items():
        np.testing.assert_array_equal(value, reports.values[name])
        np.testing.assert_array_equal(whole[name], before[name])
    np.testing.assert_array_equal(told["own_weight/expert/0/shared"], np.ones(4))


@few
@hypothesis.given(seed=SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_a_client_takes_as_much_of_all_as_the_sharing_says(seed, much):
    state, reports = round_of(seed)
    whole, _, _ = aggregate(state, reports)
    part, after, _ = aggregate(sharing(state, much), reports)
    for name, value in part.items():
        trained = reports.values[name].numpy()
        np.testing.assert_allclose(value, trained + much * (whole[name] - trained), atol=1e-5)
    assert after.extra[base.SHARING].numpy() == np.float32(much)


@few
@hypothesis.given(seed=SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_rows_of_tables_are_shared_as_much(seed, much):
    layout, state, reports = round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=10.0)
    found = [
        pf_msmtrec.aggregate(settings, layout, ("ctr",), given, reports)[0].personal["t"].numpy()
        for given in (state, sharing(state, much))
    ]
    trained, met = reports.values["t"].numpy(), reports.seen["t"].numpy()[:, :, np.newaxis]
    expected = trained + much * (found[0] - trained)
    np.testing.assert_allclose(
        np.where(met > 0, found[1], 0), np.where(met > 0, expected, 0), atol=1e-5
    )


@few
@hypothesis.given(seed=SEEDS, much=st.floats(0.0, 1.0, width=32))
def test_the_table_of_an_absent_client_goes_with_the_others_as_far_as_the_sharing_says(seed, much):
    layout, state, reports = round_with_a_table(seed)
    here = np.array([True, False, True])
    reports = dataclasses.replace(
        reports,
        values={"t": reports.values["t"] * here[:, np.newaxis, np.newaxis]},
        seen={"t": reports.seen["t"] * here[:, np.newaxis]},
        present=tf.constant(here),
    )
    after, _ = pf_msmtrec.aggregate(
        pf_msmtrec.Settings(table_prior=10.0), layout, ("ctr",), sharing(state, much), reports
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
        assert list(settings.initial_extra(LAYOUT, 4)) == kept


@few
@hypothesis.given(seed=SEEDS, parts=st.integers(1, 8))
def test_the_prior_counts_rows_of_an_epoch_however_often_it_is_aggregated(seed, parts):
    layout, state, reports = round_with_a_table(seed)
    settings = pf_msmtrec.Settings(table_prior=1000.0)
    one, said = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports)
    other, _ = pf_msmtrec.aggregate(settings, layout, ("ctr",), state, reports, epochs=1.0 / parts)
    np.testing.assert_allclose(other.personal["t"], one.personal["t"], atol=1e-5)
    weights = reports.seen["t"].numpy() / (reports.seen["t"].numpy() + 1000.0)
    mean = (weights * reports.seen["t"].numpy()).sum(axis=1) / reports.seen["t"].numpy().sum(axis=1)
    np.testing.assert_allclose(said["own_weight/embedding/t"], mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("prior", "joined"), [(0.0, variables.COMMON), (1000.0, variables.PERSONAL)]
)
def test_without_a_prior_shared_tables_are_one_for_all(schema, prior, joined):
    algorithm = pf_msmtrec.pf_msmtrec(schema, pf_msmtrec.Settings(table_prior=prior))
    assert ("embedding" in algorithm.personal_kinds) == (joined == variables.PERSONAL)


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
