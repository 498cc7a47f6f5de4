"""Nothing of a private group reaches SERVER: by the computation's structure, by invariance,
and by planted values.
"""

import collections
import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow_federated as tff
from hypothesis import strategies as st

from tests.small_model import TEMPLATED
from tff_process import plan
from tff_process.algorithms import registry
from tff_process.process import collecting, reference

PLANTED = 7_654_321.0


@pytest.fixture(scope="module")
def training(dataset, context):
    """Makes the training of an algorithm, or gives the one made before, as it was at its start:
    tracing takes far longer than a round.
    """
    made = {}

    def at_start(algorithm, learning_rate=1e-3):
        key = (algorithm, learning_rate)
        if key not in made:
            fresh = reference.FederatedTraining(
                plan.Plan(algorithm, batch_size=50, model=TEMPLATED, learning_rate=learning_rate),
                dataset,
            )
            made[key] = fresh, fresh._state, list(fresh._private)
        found, state, private = made[key]
        found._state, found._private, found.turns.done = (
            state,
            list(private),
            [0] * len(private),
        )
        return found

    return at_start


def to_server(computation):
    """The types of all values that a computation moves from CLIENTS to SERVER."""
    moved = []

    def visit(block):
        if isinstance(block, tff.framework.Intrinsic):
            kind = block.type_signature
            parameter, result = kind.parameter, kind.result
            arguments = list(parameter) if isinstance(parameter, tff.StructType) else [parameter]
            from_clients = [
                a.member
                for a in arguments
                if isinstance(a, tff.FederatedType) and a.placement is tff.CLIENTS
            ]
            if (
                isinstance(result, tff.FederatedType)
                and result.placement is tff.SERVER
                and from_clients
            ):
                moved.extend(from_clients)
        return block, False

    tff.framework.transform_postorder(computation.to_building_block(), visit)
    return moved


def leaves(kind, path=()):
    """(path, tensor type) of every tensor in a type."""
    if isinstance(kind, tff.StructType):
        for name, inner in tff.structure.to_elements(kind):
            yield from leaves(inner, (*path, name))
    else:
        yield path, kind


@pytest.mark.parametrize("algorithm", sorted(registry.FEDERATED))
def test_only_declared_fields_move_from_clients_to_server(training, algorithm):
    """Walks the built computations: every operation that brings a CLIENTS value to SERVER,
    and every tensor it brings.
    """
    made = training(algorithm)
    policy, layout = made.algorithm.policy, made.process.layout
    shared = {spec.name for spec in layout.specs if policy.shares(spec.group)}
    allowed = {("values", name) for name in shared} | {
        (spec.name,) for spec in layout.specs if spec.counts_rows
    }
    allowed |= {("examples",), ("serves",), ("loss",), ("metrics",)}
    found = set()
    for computation in (
        made.process.iterative.initialize,
        made.process.iterative.next,
        made.process.count,
        made.process.evaluate,
    ):
        for kind in to_server(computation):
            for path, _ in leaves(kind):
                found.add(
                    tuple(
                        name
                        for name in path
                        if name is not None and not str(name).isdigit() and name != "client_id"
                    )
                )
    # What is moved travels with its client's number, the key of the scatter.
    assert {path for path in found if path} == allowed
    private = {spec.name for spec in layout.specs} - shared
    state_names = {
        name for path, _ in leaves(made.process.iterative.state_type.member) for name in path
    }
    assert not state_names & private
    assert not any(str(name).startswith("optimizer/") or name == "secret" for name in state_names)


@pytest.mark.parametrize("algorithm", ["pf_msmtrec", "fedavg"])
def test_what_a_client_may_never_share(training, algorithm):
    made = training(algorithm)
    joined = {spec.name: spec.join for spec in made.process.layout.specs}
    for spec in made.process.layout.specs:
        if spec.group == "embedding/user" or (
            algorithm == "pf_msmtrec" and spec.kind in ("batch_norm", "expert_task")
        ):
            assert joined[spec.name] == "private", spec.name


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
        for path, tensor in leaves(kind):
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
