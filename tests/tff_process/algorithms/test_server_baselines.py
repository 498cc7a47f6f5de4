"""The baselines' server work, by hand on one weight a client."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedamp, fedavg, fedhca2, pfedme, server_optimizer
from tff_process.client import variables

OD = collections.OrderedDict
SCHEMA = schema_lib.Schema((), (schema_lib.Numerical("x"),), (schema_lib.Task("ctr", "click"),))


def spec(name, kind, group, member, shape, join, trainable=True):
    return variables.VariableSpec(name, kind, group, member, shape, trainable, join)


def common(*extra):
    return variables.ModelVariables(
        (spec("w", "expert", "expert/0/shared", "0", (1,), variables.COMMON), *extra)
    )


def updates_of(values, examples=(1.0, 1.0), present=(True, True), serves=None):
    clients = len(present)
    return base.ClientReports(
        OD((name, tf.constant(value, tf.float32)) for name, value in values.items()),
        OD(),
        tf.constant(examples),
        tf.ones([clients, 1]) if serves is None else tf.constant(serves),
        tf.constant(present),
    )


def state_of(algorithm, layout, clients, values):
    return base.initial_state(
        algorithm, layout, clients, {name: tf.constant(v, tf.float32) for name, v in values.items()}
    )


@pytest.mark.parametrize("kind", [server_optimizer.ADAM, server_optimizer.YOGI])
def test_a_server_step_by_hand(kind):
    """w = 1 and clients at 1.2 and 1.6: d = 0.4, m = 0.1 * 0.4,
    v from tau^2 = 0.01 by d^2 = 0.16.
    """
    algorithm = server_optimizer.server_optimizer(
        SCHEMA, kind, server_optimizer.Settings(0.5, 0.9, 0.99, 0.1)
    )
    state, _ = algorithm.aggregate(
        common(),
        ("ctr",),
        state_of(algorithm, common(), 2, {"w": [1.0]}),
        updates_of({"w": [[1.2], [1.6]]}),
    )
    v = 0.99 * 0.01 + 0.01 * 0.16 if kind == server_optimizer.ADAM else 0.01 + 0.01 * 0.16
    np.testing.assert_allclose(state.extra["v/w"], [v], rtol=1e-5)
    np.testing.assert_allclose(state.extra["m/w"], [0.04], rtol=1e-5)
    np.testing.assert_allclose(
        state.common["w"], [1.0 + 0.5 * 0.04 / (np.sqrt(v) + 0.1)], rtol=1e-5
    )


def test_a_server_step_without_moments_is_a_scaled_fedavg_step():
    statistics = spec(
        "moving", "batch_norm", "batch_norm/a", "a", (1,), variables.COMMON, trainable=False
    )
    layout = common(statistics)
    received, sent = (
        {"w": [1.0], "moving": [0.0]},
        updates_of({"w": [[1.2], [1.6]], "moving": [[1.0], [5.0]]}, (3.0, 1.0)),
    )
    plain = fedavg.fedavg(SCHEMA)
    expected, _ = plain.aggregate(layout, ("ctr",), state_of(plain, layout, 2, received), sent)
    for kind in (server_optimizer.ADAM, server_optimizer.YOGI):
        # rate = 2 * tau: the factor is one.
        algorithm = server_optimizer.server_optimizer(
            SCHEMA, kind, server_optimizer.Settings(2e-3, 0.0, 1.0, 1e-3)
        )
        state, _ = algorithm.aggregate(
            layout, ("ctr",), state_of(algorithm, layout, 2, received), sent
        )
        np.testing.assert_allclose(state.common["w"], expected.common["w"], rtol=1e-5)
        np.testing.assert_array_equal(state.common["moving"], [2.0])
        assert set(state.extra) == {"m/w", "v/w"}


def test_pfedme_approaches_the_mean_by_beta():
    algorithm = pfedme.pfedme(SCHEMA, pfedme.Settings(beta=0.25))
    state, _ = algorithm.aggregate(
        common(),
        ("ctr",),
        state_of(algorithm, common(), 2, {"w": [1.0]}),
        updates_of({"w": [[2.0], [4.0]]}),
    )
    np.testing.assert_allclose(state.common["w"], [0.75 * 1.0 + 0.25 * 3.0])


PERSONAL = variables.ModelVariables(
    (spec("w", "expert", "expert/0/shared", "0", (1,), variables.PERSONAL),)
)


def fedamp_round(settings, values, present=(True, True, True)):
    algorithm = fedamp.fedamp(SCHEMA, settings)
    state = state_of(algorithm, PERSONAL, 3, {"w": [9.0]})
    new, _ = algorithm.aggregate(
        PERSONAL, ("ctr",), state, updates_of({"w": values}, (1.0, 1.0, 1.0), present)
    )
    return np.asarray(new.personal["w"])[:, 0]


def test_fedamp_by_hand():
    """Clients at 0, 0 and 3: squared distances 0, 9, 9, of mean 6 over the pairs; near = 1,
    exp(-1.5), exp(-1.5); alpha / (N - 1) = 0.25.
    """
    far = 0.25 * np.exp(-1.5)
    np.testing.assert_allclose(
        fedamp_round(fedamp.Settings(0.5, 1.0), [[0.0], [0.0], [3.0]]),
        [3 * far, 3 * far, 3 * (1 - 2 * far)],
        rtol=1e-5,
    )


def test_fedamp_limits():
    values = [[1.0], [2.0], [6.0]]
    np.testing.assert_allclose(fedamp_round(fedamp.Settings(0.0), values), [1.0, 2.0, 6.0])
    np.testing.assert_allclose(
        fedamp_round(fedamp.Settings(2 / 3, 1e12), values), [3.0, 3.0, 3.0], rtol=1e-5
    )
    # An absent client keeps what it had, and the two present see nothing of it.
    np.testing.assert_allclose(
        fedamp_round(fedamp.Settings(0.5, 1e12), values, (True, True, False)),
        [1.5, 1.5, 9.0],
        rtol=1e-5,
    )
    # One client alone is local training.
    np.testing.assert_allclose(
        fedamp_round(fedamp.Settings(0.5), values, (False, True, False)), [9.0, 2.0, 9.0]
    )


def test_fedamps_distances_are_of_trained_values_of_those_present():
    """Clients at 0 and 2 are 4 apart, which is what is typical; neither the third, which is absent,
    nor statistics count.
    """
    statistics = spec(
        "moving", "batch_norm", "batch_norm/a", "a", (1,), variables.PERSONAL, trainable=False
    )
    layout = variables.ModelVariables((*PERSONAL.specs, statistics))
    algorithm = fedamp.fedamp(SCHEMA, fedamp.Settings(0.5, 1.0))
    state = state_of(algorithm, layout, 3, {"w": [9.0], "moving": [9.0]})
    sent = {"w": [[0.0], [2.0], [50.0]], "moving": [[0.0], [100.0], [7.0]]}
    state, said = algorithm.aggregate(
        layout, ("ctr",), state, updates_of(sent, (1.0,) * 3, (True, True, False))
    )
    far = 0.5 * np.exp(-1.0)
    np.testing.assert_allclose(
        said["attention/all"], [[1 - far, far, 0], [far, 1 - far, 0], [0, 0, 1]], rtol=1e-6
    )
    np.testing.assert_allclose(state.personal["w"], [[2 * far], [2 * (1 - far)], [9.0]], rtol=1e-6)
    np.testing.assert_allclose(
        state.personal["moving"], [[100 * far], [100 * (1 - far)], [9.0]], rtol=1e-6
    )


def test_fedamps_statistics_make_no_client_another():
    """As by hand above, with statistics of the first two far apart."""
    statistics = spec(
        "moving", "batch_norm", "batch_norm/a", "a", (1,), variables.PERSONAL, trainable=False
    )
    layout = variables.ModelVariables((*PERSONAL.specs, statistics))
    algorithm = fedamp.fedamp(SCHEMA, fedamp.Settings(0.5, 1.0, 0.3))
    assert (algorithm.proximal, algorithm.anchor) == (0.3, base.RECEIVED)
    state = state_of(algorithm, layout, 3, {"w": [9.0], "moving": [9.0]})
    sent = {"w": [[0.0], [0.0], [3.0]], "moving": [[0.0], [100.0], [7.0]]}
    _, said = algorithm.aggregate(
        layout, ("ctr",), state, updates_of(sent, (1.0,) * 3, (True,) * 3)
    )
    np.testing.assert_allclose(said["attention/all"][0, 1], 0.25, rtol=1e-6)


T = "tower/ctr/logit/kernel"
BOTH = variables.ModelVariables(
    (
        spec("e", "expert", "expert/0/shared", "0", (2,), variables.PERSONAL),
        spec(T, "tower", "tower/ctr", "ctr", (1,), variables.PERSONAL),
    )
)


def test_fedamp_mixes_a_task_among_those_that_serve_it():
    """Of three alike the second has no labels: the others share its third, and it keeps its own."""
    algorithm = fedamp.fedamp(SCHEMA, fedamp.Settings(2 / 3, 1e12))
    state = state_of(algorithm, BOTH, 3, {"e": [0.0, 0.0], T: [9.0]})
    sent = {"e": [[0.0, 0.0]] * 3, T: [[1.0], [100.0], [3.0]]}
    served = updates_of(sent, (1.0,) * 3, (True,) * 3, serves=[[1.0], [0.0], [1.0]])
    state, _ = algorithm.aggregate(BOTH, ("ctr",), state, served)
    np.testing.assert_allclose(state.personal[T], [[2.0], [9.0], [2.0]], rtol=1e-5)


def fedhca2_round(settings, state, values, serves=((1.0,), (1.0,)), present=(True, True)):
    algorithm = fedhca2.fedhca2(SCHEMA, settings)
    if state is None:
        state = state_of(algorithm, BOTH, 2, {"e": [0.0, 0.0], T: [0.0]})
    return algorithm.aggregate(
        BOTH, ("ctr",), state, updates_of(values, present=present, serves=serves)
    )


def test_fedhca2_by_hand():
    """c = 0 makes U the mean (0.5, 0.5); the towers' updates 1 and 2 attend by softmax of (1,
    2) and (2, 4).
    """
    state, diagnostics = fedhca2_round(
        fedhca2.Settings(0.0, 0.1, 0.0), None, {"e": [[1, 0], [0, 1]], T: [[1.0], [2.0]]}
    )
    np.testing.assert_allclose(state.personal["e"], [[1.05, 0.05], [0.05, 1.05]], rtol=1e-6)
    attended = [1 + 1 / (1 + np.exp(-1.0)), 1 + 1 / (1 + np.exp(-2.0))]
    np.testing.assert_allclose(
        np.asarray(state.personal[T])[:, 0],
        [1 + 0.1 * attended[0], 2 + 0.1 * attended[1]],
        rtol=1e-6,
    )
    np.testing.assert_allclose(state.extra["weight/encoder"], [0.1, 0.1])
    assert float(diagnostics["conflict_share/encoder"]) == 0.0


def test_fedhca2_raises_the_weight_of_a_client_that_goes_on_in_the_direction_it_was_moved_in():
    settings = fedhca2.Settings(0.0, 0.1, 0.05)
    first, _ = fedhca2_round(settings, None, {"e": [[1, 0], [0, 1]], T: [[1.0], [1.0]]})
    np.testing.assert_allclose(first.extra["weight/encoder"], [0.1, 0.1])
    start = np.asarray(first.personal["e"])
    # Client 0 goes on along U = (0.5, 0.5), client 1 straight back.
    second, _ = fedhca2_round(
        settings, first, {"e": start + np.array([[1, 1], [-1, -1]]), T: first.personal[T]}
    )
    np.testing.assert_allclose(second.extra["weight/encoder"], [0.15, 0.05], rtol=1e-5)


def test_fedhca2s_weights_go_by_the_direction_of_an_update_and_not_by_its_length():
    """(3, 4), of length 5, against U = (0.5, 0.5): a cosine of 3.5 / (5 sqrt(0.5)) = 0.98995; and
    (-2, -2) straight back.
    """
    settings = fedhca2.Settings(0.0, 0.1, 0.05)
    first, _ = fedhca2_round(settings, None, {"e": [[1, 0], [0, 1]], T: [[1.0], [1.0]]})
    start = np.asarray(first.personal["e"])
    second, _ = fedhca2_round(
        settings, first, {"e": start + np.array([[3, 4], [-2, -2]]), T: first.personal[T]}
    )
    np.testing.assert_allclose(second.extra["weight/encoder"], [0.1494975, 0.05], rtol=1e-5)


def test_fedhca2s_weights_lie_within_0_and_1_and_those_that_are_away_keep_theirs():
    """Client 0 goes on, client 1 back; then client 1 is away and 0 alone goes where it went."""
    settings = fedhca2.Settings(0.0, 0.1, 5.0)
    first, _ = fedhca2_round(settings, None, {"e": [[1, 0], [0, 1]], T: [[1.0], [1.0]]})
    onward = tf.constant([[1.0, 1.0], [-1.0, -1.0]])
    values = {"e": first.personal["e"] + onward, T: first.personal[T] + 1.0}
    second, _ = fedhca2_round(settings, first, values, serves=((1.0,), (0.0,)))
    np.testing.assert_array_equal(second.extra["weight/encoder"], [1.0, 0.0])
    # The tower of the second has no labels now: it is as trained, and so is its weight.
    np.testing.assert_allclose(second.extra["weight/logit"], [1.0, 0.1])
    np.testing.assert_array_equal(second.personal[T][1], values[T][1])
    moved = np.asarray(second.extra["moved/e"])
    values = {"e": second.personal["e"] + 50.0 * onward, T: [[9.0], [0.0]]}
    third, _ = fedhca2_round(settings, second, values, present=(True, False))
    for name in ("e", T):
        np.testing.assert_array_equal(third.personal[name][1], second.personal[name][1])
        np.testing.assert_array_equal(
            third.extra[f"moved/{name}"][1], second.extra[f"moved/{name}"][1]
        )
    np.testing.assert_array_equal(third.extra["weight/encoder"][1], 0.0)
    assert not np.array_equal(third.extra["moved/e"][0], moved[0])


def test_fedhca2_attends_by_inner_products_over_the_root_of_the_size():
    """A tower of four: updates of ones and of twos have inner products 4, 8 and 16, over 2."""
    tower = spec(T, "tower", "tower/ctr", "ctr", (2, 2), variables.PERSONAL)
    layout = variables.ModelVariables((tower,))
    algorithm = fedhca2.fedhca2(SCHEMA, fedhca2.Settings(0.4, 0.1, 0.0))
    state = state_of(algorithm, layout, 2, {T: np.zeros([2, 2])})
    sent = updates_of({T: [np.ones([2, 2]), np.full([2, 2], 2.0)]})
    state, _ = algorithm.aggregate(layout, ("ctr",), state, sent)
    attended = [1 + 1 / (1 + np.exp(-2.0)), 1 + 1 / (1 + np.exp(-4.0))]
    np.testing.assert_allclose(
        np.asarray(state.personal[T])[:, 0, 0],
        [1 + 0.1 * attended[0], 2 + 0.1 * attended[1]],
        rtol=1e-6,
    )


def test_fedhca2_of_no_weight_is_local_and_a_client_without_the_task_keeps_its_tower():
    values = {"e": [[1, 0], [0, 1]], T: [[1.0], [2.0]]}
    local, _ = fedhca2_round(fedhca2.Settings(0.4, 0.0, 0.0), None, values)
    np.testing.assert_array_equal(local.personal["e"], values["e"])
    np.testing.assert_array_equal(local.personal[T], values[T])
    one_serves, _ = fedhca2_round(fedhca2.Settings(0.0, 0.5, 0.0), None, values, ((1.0,), (0.0,)))
    # Alone in its task, a client attends to its own update; the other's stays as trained.
    np.testing.assert_allclose(np.asarray(one_serves.personal[T])[:, 0], [1.5, 2.0])


def test_fedhca2_decoders_attend_over_the_decoders_of_all_tasks():
    """Two clients, two tasks, updates of size one: each of the four attends over all four; the one
    that is not served takes no part.
    """
    other = spec("tower/cvr/logit/kernel", "tower", "tower/cvr", "cvr", (1,), variables.PERSONAL)
    layout = variables.ModelVariables((*BOTH.specs, other))
    algorithm = fedhca2.fedhca2(SCHEMA, fedhca2.Settings(0.4, 0.5, 0.0))
    start = state_of(algorithm, layout, 2, {"e": [0.0, 0.0], T: [0.0], other.name: [0.0]})
    sent = {"e": [[1, 0], [0, 1]], T: [[1.0], [2.0]], other.name: [[-1.0], [7.0]]}
    state, _ = algorithm.aggregate(
        layout, ("ctr", "cvr"), start, updates_of(sent, serves=((1.0, 1.0), (1.0, 0.0)))
    )
    updates = np.array([1.0, 2.0, -1.0])

    def expected(own):
        weights = np.exp(own * updates)
        return own + 0.5 * np.sum(weights * updates) / np.sum(weights)

    np.testing.assert_allclose(
        np.asarray(state.personal[T])[:, 0], [expected(1.0), expected(2.0)], rtol=1e-5
    )
    np.testing.assert_allclose(
        np.asarray(state.personal[other.name])[:, 0], [expected(-1.0), 7.0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("kind", "serves", "wanted"),
    [
        ("tower", [[1.0], [1.0]], 1.75),  # (1 * 1 + 3 * 2) / 4
        ("tower", [[1.0], [0.0]], 1.0),  # the second never had a label
        ("gate", [[0.0], [1.0]], 2.0),
        ("tower", [[0.0], [0.0]], 9.0),  # as it was
        ("expert", [[1.0], [0.0]], 1.75),  # of no task
    ],
)
def test_the_mean_of_a_task_is_over_those_that_serve_it(kind, serves, wanted):
    layout = variables.ModelVariables((spec("w", kind, "g", "ctr", (1,), variables.COMMON),))
    algorithm = fedavg.fedavg(SCHEMA)
    state, _ = algorithm.aggregate(
        layout,
        ("ctr",),
        state_of(algorithm, layout, 2, {"w": [9.0]}),
        updates_of({"w": [[1.0], [2.0]]}, (1.0, 3.0), serves=serves),
    )
    np.testing.assert_allclose(state.common["w"], [wanted], rtol=1e-6)
