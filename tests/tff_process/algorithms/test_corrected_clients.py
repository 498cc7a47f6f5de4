"""Baselines that correct a client's steps or add to its model: one step by hand, and degenerate
hyperparameters against FedAvg.
"""

import collections

import numpy as np
import pytest
import tensorflow as tf

from pfrec import groups
from pfrec.models import roles
from pfrec.models.mmoe import mmoe
from tests.tff_process import one_weight
from tests.tff_process.algorithms import eager
from tests.tff_process.algorithms import test_server_baselines as servers
from tff_process.algorithms import clustered, fedavg, feddyn, fedrod, per_fedavg, scaffold
from tff_process.client import variables

ONE, NAME, sigmoid = one_weight.ONE, one_weight.NAME, eager.sigmoid


@pytest.mark.parametrize(
    "make",
    [
        lambda s: scaffold.scaffold(s, scaffold.Settings(0.0)),
        lambda s: feddyn.feddyn(s, feddyn.Settings(0.0)),
        lambda s: per_fedavg.per_fedavg(s, per_fedavg.Settings(0.0)),
        # A step that moves nothing, but goes over rows and has statistics of them.
        lambda s: per_fedavg.per_fedavg(s, per_fedavg.Settings(1e-30)),
        lambda s: fedrod.fedrod(s, fedrod.Settings(0)),
        lambda s: fedrod.fedrod(s, fedrod.Settings(2)),
    ],
    ids=["scaffold", "feddyn", "per_fedavg", "per_fedavg_still", "fedrod_without_heads", "fedrod"],
)
def test_what_is_uploaded_is_fedavgs_without_the_correction(make, dataset, fedavg_rounds):
    client, rounds = eager.trajectory(make(dataset.schema), dataset, eager.shifted)
    for own, expected in zip(rounds, fedavg_rounds):
        eager.assert_equal(own.upload, expected.upload, "upload")
        np.testing.assert_array_equal(own.loss, expected.loss)
    kept = {item.name for item in client.algorithm.client.kept(client.layout)}
    if NAME.split("/")[0] in {name.split("/")[0] for name in kept}:
        # Personal copies are what was trained, but for a head of the client's own.
        own_heads = {spec.name for spec in fedrod.head(client.layout)}
        steps = getattr(client.algorithm.client, "_steps", 0)
        for name, value in rounds[-1].upload.items():
            same = np.array_equal(rounds[-1].private[name], value)
            assert same == (not steps or name not in own_heads), name


def test_scaffold_by_hand(one_batch):
    """All moved by 1 - 0.9, the client by 0.3: its one step is Adam's 0.1 and 0.1 - 0.3."""
    client = eager.one_weight(scaffold.scaffold(ONE), one_batch)
    private = {f"own_move/{NAME}": 0.3, f"received_before/{NAME}": 0.9, "steps_done": 0.0}
    upload, kept = client.one(1.0, **private)
    assert upload == pytest.approx(0.9, rel=1e-5)
    assert kept[f"own_move/{NAME}"] == pytest.approx(0.1, rel=1e-4)
    assert kept[f"received_before/{NAME}"] == 1.0
    assert kept["steps_done"] == 1.0
    # A client that was away for a step shares the move among two.
    away = eager.one_weight(scaffold.scaffold(ONE), one_batch)
    upload, _ = away.one(1.0, **{**private, "steps_done": -1.0})
    assert upload == pytest.approx(1.0 + 0.1 + 0.05 - 0.3, rel=1e-5)


def test_scaffolds_mean_move_is_what_clients_see_of_the_server(one_batch):
    """Own moves of 0.3 and -0.1 have the mean that all moved by, and so have the next ones."""
    found = []
    for move in (0.3, -0.1):
        client = eager.one_weight(scaffold.scaffold(ONE), one_batch)
        private = {f"own_move/{NAME}": move, f"received_before/{NAME}": 0.9, "steps_done": 0.0}
        upload, kept = client.one(1.0, **private)
        found.append((upload - 1.0, kept[f"own_move/{NAME}"]))
    moved, own = np.mean(found, axis=0)
    assert moved == pytest.approx(own, rel=1e-4)


def test_feddyn_by_hand(one_batch):
    """The gradient is less 0.2; w goes by Adam's 0.1, of which alpha takes a half from it."""
    client = eager.one_weight(feddyn.feddyn(ONE, feddyn.Settings(0.5)), one_batch)
    upload, kept = client.one(1.0, **{f"linear/{NAME}": 0.2})
    assert upload == pytest.approx(1.1, rel=1e-5)
    assert kept["optimizer/0000"] == pytest.approx(0.1 * (sigmoid(1) - 1 - 0.2), rel=1e-5)
    assert kept[f"linear/{NAME}"] == pytest.approx(0.2 - 0.5 * 0.1, rel=1e-4)


def test_feddyns_server_by_hand():
    """From 1, clients at 1.2 and 1.6 make the drift -0.4; a second time, one of two that goes from
    1.8 to 2.0 adds a half of 0.2.
    """
    algorithm, layout = feddyn.feddyn(servers.SCHEMA, feddyn.Settings(0.5, 1.0)), servers.common()
    state = servers.state_of(algorithm, layout, 2, {"w": [1.0]})
    reports = servers.updates_of({"w": [[1.2], [1.6]]})
    state, _ = algorithm.aggregate(layout, ("ctr",), state, reports)
    np.testing.assert_allclose(state.extra["drift/w"], [-0.4], rtol=1e-5)
    np.testing.assert_allclose(state.common["w"], [1.8], rtol=1e-5)
    one = servers.updates_of({"w": [[2.0], [0.0]]}, (1.0, 0.0), (True, False))
    state, _ = algorithm.aggregate(layout, ("ctr",), state, one)
    np.testing.assert_allclose(state.extra["drift/w"], [-0.5], rtol=1e-5)
    np.testing.assert_allclose(state.common["w"], [2.5], rtol=1e-5)


def test_feddyns_server_without_a_pull_is_fedavgs():
    layout, sent = servers.common(), servers.updates_of({"w": [[1.2], [1.6]]}, (3.0, 1.0))
    found = []
    for algorithm in (
        fedavg.fedavg(servers.SCHEMA),
        feddyn.feddyn(servers.SCHEMA, feddyn.Settings(0.0)),
    ):
        state = servers.state_of(algorithm, layout, 2, {"w": [1.0]})
        for _ in range(2):
            state, _ = algorithm.aggregate(layout, ("ctr",), state, sent)
        found.append(state.common["w"].numpy())
    np.testing.assert_array_equal(*found)


@pytest.fixture(scope="module")
def two_batches(tmp_path_factory):
    """As `one_batch`, with twice the rows."""
    return one_weight.log(tmp_path_factory.mktemp("data") / "two", {"a": (6, 1)})


def test_per_fedavg_by_hand(two_batches):
    """The first batch takes w to 1.1; the second's gradient is that where the first would take a
    step of 2 from there.
    """
    algorithm = per_fedavg.per_fedavg(ONE, per_fedavg.Settings(2.0))
    client = eager.Client(algorithm, two_batches, "a", one_weight.make, 2, 0.1, 3)
    upload, kept = client.one(1.0, **{NAME: 7.0})
    there = 1.1 - 2.0 * (sigmoid(1.1) - 1)
    moment = 0.9 * 0.1 * (sigmoid(1) - 1) + 0.1 * (sigmoid(there) - 1)
    assert kept["optimizer/0000"] == pytest.approx(moment, rel=1e-4)
    # The client's own is a step of 2 from what it sends, on the last batch.
    assert 1.1 < upload < 1.2
    assert kept[NAME] == pytest.approx(upload - 2.0 * (sigmoid(upload) - 1), rel=1e-5)


def test_fedrod_by_hand(one_batch):
    """The own head goes by 0.1 from nothing beside a common head of 1, which goes by 0.1 itself; in
    the second round it is met by the heads' sum.
    """

    def make():
        return one_weight.built(one_weight.HeadOnBody(roles.tower("click")))

    head, body = "tower/click/head/kernel", "expert/0/shared/body/kernel"
    client = eager.Client(fedrod.fedrod(ONE), one_batch, "a", make, 1, 0.1, 3)
    incoming = collections.OrderedDict({body: tf.constant([[1.0]]), head: tf.constant([[1.0]])})
    done = client.round(incoming)
    assert [float(done.upload[name]) for name in (body, head)] == pytest.approx([1.1, 1.1], 1e-5)
    assert float(done.private[f"own_head/{head}"]) == pytest.approx(0.1, rel=1e-4)
    assert float(done.private[head]) == pytest.approx(1.2, rel=1e-5)
    assert float(done.private[body]) == float(done.upload[body])
    done = client.round(incoming)
    moment = 0.9 * 0.1 * (sigmoid(1) - 1) + 0.1 * (sigmoid(1.1) - 1)
    assert float(done.private["optimizer/own_head/0000"]) == pytest.approx(moment, rel=1e-4)


def of_updates(updates, groups=None, weights=None, threshold=0.4):
    """The groups after updates, float64 [N, d]."""
    updates = np.asarray(updates, np.float64)
    count = len(updates)
    found = clustered.split(
        tf.constant(groups or [0] * count, tf.int32),
        tf.constant(updates @ updates.T),
        tf.constant(weights or [1.0] * count, tf.float32),
        threshold,
    )
    return found.numpy().tolist()


def test_a_group_splits_where_its_updates_point_apart():
    apart = [[1.0, 0.0], [-1.0, 0.1], [1.0, 0.1], [-1.0, 0.0]]
    assert of_updates(apart) == [0, 1, 0, 1]
    assert of_updates(apart, threshold=0.01) == [0, 0, 0, 0], "the mean is 0.05 of the largest"
    assert of_updates([[1.0, 0.0], [0.9, 0.1], [1.0, 0.3]]) == [0, 0, 0]
    # The largest is that of one client, however many there are.
    turned = [[np.cos(angle), np.sin(angle)] for angle in np.linspace(-0.5, 0.5, 9)]
    assert of_updates(turned) == [0] * 9
    # A chain is cut at its weakest link, 0 between 2 and 3, not by who is near the first.
    chain = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0], [-0.8, -0.6], [0.0, -1.0]]
    assert of_updates(chain) == [0, 0, 0, 3, 3, 3]


def test_groups_split_one_by_one_and_never_join():
    updates = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    assert of_updates(updates, [0, 0, 2, 2]) == [0, 0, 2, 3]
    assert of_updates([[1.0, 0.0]] * 4, [0, 0, 2, 3]) == [0, 0, 2, 3]
    # Names from elsewhere are given anew.
    assert of_updates([[1.0, 0.0]] * 3, [7, 1, 7]) == [0, 1, 0]
    # Who is absent stays and says nothing.
    assert of_updates([[-9.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], weights=[0.0, 1.0, 1.0]) == [0, 0, 2]


def clustered_rounds(settings, sent, rounds):
    algorithm = clustered.clustered(servers.SCHEMA, settings)
    state = servers.state_of(algorithm, servers.PERSONAL, len(sent), {"w": [0.0]})
    for _ in range(rounds):
        values = [[before + move] for (before,), move in zip(state.personal["w"].numpy(), sent)]
        reports = servers.updates_of({"w": values}, (1.0, 1.0, 2.0), (True,) * 3)
        state, said = algorithm.aggregate(servers.PERSONAL, ("ctr",), state, reports)
    return state, said


def test_clients_of_a_group_get_its_mean_by_rows():
    """Moves of 1, 1 and twice -0.9 are together 0.05; after a split each side has its own."""
    state, said = clustered_rounds(clustered.Settings(0.4, wait=1), (1.0, 1.0, -0.9), 1)
    np.testing.assert_allclose(state.personal["w"], [[0.05]] * 3, atol=1e-6)
    np.testing.assert_allclose(said["attention/all"], [[0.25, 0.25, 0.5]] * 3)
    state, said = clustered_rounds(clustered.Settings(0.4, wait=1), (1.0, 1.0, -0.9), 2)
    np.testing.assert_array_equal(state.extra["groups"], [0, 0, 2])
    np.testing.assert_allclose(state.personal["w"], [[1.05], [1.05], [-0.85]], rtol=1e-5)
    np.testing.assert_allclose(said["attention/all"], [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])


def test_who_was_away_moves_with_its_group():
    """And says nothing of where it goes: the third client, whose own values are not read."""
    algorithm = clustered.clustered(servers.SCHEMA, clustered.Settings(0.4, wait=99))
    state = servers.state_of(algorithm, servers.PERSONAL, 3, {"w": [5.0]})
    reports = servers.updates_of({"w": [[1.0], [4.0], [0.0]]}, (2.0, 1.0, 7.0), (True, True, False))
    state, said = algorithm.aggregate(servers.PERSONAL, ("ctr",), state, reports)
    np.testing.assert_allclose(state.personal["w"], [[2.0]] * 3, rtol=1e-6)
    np.testing.assert_allclose(said["attention/all"], [[2 / 3, 1 / 3, 0.0]] * 3, rtol=1e-6)


def test_a_groups_mean_of_a_task_is_of_those_that_serve_it():
    """The second has no labels of it, and gets what the first has; where nobody does all stay."""
    algorithm = clustered.clustered(servers.SCHEMA, clustered.Settings(0.4, wait=99))
    values = {"e": [[0.0, 0.0]] * 2, servers.T: [[1.0], [3.0]]}
    for serves, expected in (([1.0, 0.0], 1.0), ([1.0, 1.0], 2.0), ([0.0, 0.0], 9.0)):
        state = servers.state_of(algorithm, servers.BOTH, 2, {"e": [0.0, 0.0], servers.T: [9.0]})
        sent = servers.updates_of(values, serves=[[one] for one in serves])
        state, _ = algorithm.aggregate(servers.BOTH, ("ctr",), state, sent)
        np.testing.assert_allclose(state.personal[servers.T], [[expected]] * 2, rtol=1e-6)


def test_what_each_corrects_of_a_network(dataset):
    """No table, whose rows few batches meet; per-FedAvg's inner step also of what stays at home."""
    network = mmoe.build(dataset.schema, eager.SMALL, 0)
    algorithm = fedavg.fedavg(dataset.schema)
    layout = variables.of(groups.tag(network), algorithm.policy, algorithm.personal_kinds)
    trained = {spec.name for spec in layout.specs if spec.trainable}
    tables = {name for name in trained if name.startswith("embedding/")}
    assert len(tables) == 2
    for found in (
        scaffold.corrected(layout),
        feddyn.regularised(layout),
        per_fedavg.adapted(layout),
    ):
        assert {spec.name for spec in found} == trained - tables
    towers = {name for name in trained if name.startswith("tower/")}
    logits = {name for name in towers if "/logit/" in name}
    assert {spec.name for spec in fedrod.head(layout)} == logits
    assert len(logits) == 2 * len(dataset.schema.tasks)
    assert towers - logits


def test_clustered_without_a_threshold_is_fedavg():
    state, _ = clustered_rounds(clustered.Settings(0.0, wait=0), (1.0, 1.0, -0.9), 3)
    np.testing.assert_allclose(state.personal["w"], [[0.15]] * 3, rtol=1e-5)
    np.testing.assert_array_equal(state.extra["groups"], [0, 0, 0])
