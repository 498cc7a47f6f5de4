"""Nothing of a private group reaches SERVER: by invariance and by planted values; by the
computations' structure see `test_every_algorithm.py`.
"""

import collections
import dataclasses
import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import strategies as st

from tests.small_model import TEMPLATED
from tests.tff_process.process import moved_values
from tff_process import plan
from tff_process.process import collecting, reference

PLANTED = 7_654_321.0


@pytest.fixture(scope="module")
def training(dataset, context):
    """Makes the training of an algorithm, or gives the one made before, as it was at its start:
    tracing takes far longer than a round.
    """
    made = {}

    def at_start(algorithm, learning_rate=1e-3):
        if algorithm not in made:
            fresh = reference.FederatedTraining(
                plan.Plan(algorithm, batch_size=50, model=TEMPLATED), dataset
            )
            made[algorithm] = fresh, fresh._state, list(fresh._private)
        found, state, private = made[algorithm]
        # Clients are told it with their work: no graph holds it.
        found.plan = dataclasses.replace(found.plan, learning_rate=learning_rate)
        found._state, found._private, found.turns.done = (
            state,
            list(private),
            [0] * len(private),
        )
        return found

    return at_start


def planted_round(made, change):
    """A round in which `change` altered every client's private state before it;
    returns what SERVER holds after it.
    """
    for client, private in enumerate(made._private):
        made._private[client] = collections.OrderedDict(
            (name, change(client, name, value)) for name, value in private.items()
        )
    report = made.train_aggregation_step(0)
    values = [
        value
        for name in ("common", "personal", "consensus")
        for value in made._state[name].values()
    ]
    return values, report


@hypothesis.settings(max_examples=4, deadline=None, derandomize=True)
@hypothesis.given(st.integers(0, 2**31), st.floats(-3, 3, width=32))
def test_server_values_do_not_depend_on_private_ones(training, seed, scale):
    """With a learning rate that is zero in float32,
    training reads private state but cannot carry it anywhere.

    SERVER's values are then bit for bit the same, whatever the private groups hold.
    """
    reference, _ = planted_round(training("pf_msmtrec", 1e-60), lambda client, name, value: value)
    rng = np.random.default_rng(seed)

    def change(client, name, value):
        if name.startswith("optimizer/"):
            return value
        return np.asarray(value + scale * rng.random(value.shape), value.dtype)

    changed, _ = planted_round(training("pf_msmtrec", 1e-60), change)
    for before, after in zip(reference, changed):
        np.testing.assert_array_equal(before, after)


def test_planted_statistics_never_reach_the_server(training):
    """Moving statistics play no part in training: with real steps too, SERVER's values stay bit for
    bit the same, and no planted one is there.
    """
    reference, _ = planted_round(training("pf_msmtrec"), lambda client, name, value: value)

    def change(client, name, value):
        return (
            np.full_like(value, PLANTED)
            if name.endswith(("moving_mean", "moving_variance"))
            else value
        )

    changed, report = planted_round(training("pf_msmtrec"), change)
    for before, after in zip(reference, changed):
        np.testing.assert_array_equal(before, after)
    for value in [*changed, *report.diagnostics.values()]:
        assert not np.any(np.abs(np.asarray(value, np.float64)) > PLANTED / 100)


def test_a_client_receives_its_own_personal_values_only(training):
    """`federated_select` is what hands out personal values; no broadcast carries a client axis."""
    made = training("pf_msmtrec")
    personal = {spec.name: spec.shape for spec in made.process.layout.joined("personal")}
    broadcast = []

    def visit(block):
        if (
            isinstance(block, tff.framework.Intrinsic)
            and block.uri == tff.framework.FEDERATED_BROADCAST.uri
        ):
            broadcast.append(block.type_signature.result.member)
        return block, False

    tff.framework.transform_postorder(made.process.iterative.next.to_building_block(), visit)
    assert broadcast
    for kind in broadcast:
        for path, tensor in moved_values.leaves(kind):
            assert path[0] in ("common", "consensus")
            if path[-1] in personal:
                assert tuple(tensor.shape) == personal[path[-1]]


def test_the_collector_knows_no_order(context):
    """Clients that come in any order give the same stack, by their numbers;
    one that is absent holds zeros.
    """
    kind = tff.to_type(collections.OrderedDict(a=tff.TensorType(np.float32, [2])))
    collector = collecting.collector(kind, 4)
    pair = tff.to_type(collections.OrderedDict(number=np.int32, value=kind))

    @tff.tensorflow.computation(pair)
    def number_of(item):
        return item["number"]

    @tff.tensorflow.computation(pair)
    def value_of(item):
        return item["value"]

    @tff.federated_computation(tff.FederatedType(pair, tff.CLIENTS))
    def collect(items):
        return collector(tff.federated_map(number_of, items), tff.federated_map(value_of, items))

    items = [
        collections.OrderedDict(
            number=np.int32(n), value=collections.OrderedDict(a=np.float32([n, 10 * n]))
        )
        for n in (3, 0, 1)
    ]
    for order in itertools.permutations(items):
        found = collect(list(order))
        np.testing.assert_array_equal(found["value"]["a"], [[0, 0], [1, 10], [0, 0], [3, 30]])
        np.testing.assert_array_equal(found["present"], [True, True, False, True])


@pytest.mark.parametrize("algorithm", ["apfl", "ditto"])
def test_a_personal_model_has_no_influence_on_what_is_sent(training, algorithm):
    """With real steps, whatever the personal model, its mixture weight and its optimizer hold,
    SERVER's values stay bit for bit the same.
    """
    reference, _ = planted_round(training(algorithm), lambda client, name, value: value)
    changed = 0

    def change(client, name, value):
        nonlocal changed
        if name.startswith(("global/", "optimizer/0")):
            return value
        changed += 1
        return np.asarray(value + 0.25, value.dtype)

    found, _ = planted_round(training(algorithm), change)
    assert changed > 3 * len(training(algorithm).process.layout.uploaded)
    for before, after in zip(reference, found):
        np.testing.assert_array_equal(before, after)
