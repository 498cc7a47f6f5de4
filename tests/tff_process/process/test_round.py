"""A federated round: by hand, and against the same arithmetic in plain TensorFlow."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import groups
from pfrec.data.dataset import pipeline
from pfrec.models.mmoe import mmoe
from tests.small_model import TEMPLATED
from tests.tff_process import one_weight
from tff_process import plan
from tff_process.algorithms import base, fedavg, pf_msmtrec
from tff_process.client import counting, variables
from tff_process.client import work as work_lib
from tff_process.process import computations, iterative, reference, server_step
from tff_process.process.spec import ProcessSpec

OD = collections.OrderedDict
ONE, NAME = one_weight.ONE, one_weight.NAME


@pytest.fixture(scope="module")
def two_clients(tmp_path_factory):
    """Client a: 3 rows of x = 1 with label 1. Client b: 1 row of x = 1 with label 0."""
    path = tmp_path_factory.mktemp("data") / "two"
    return one_weight.log(path, {"a": (3, 1), "b": (1, 0)})


def one_weight_process(algorithm):
    tagged = groups.tag(one_weight.make())
    layout = variables.of(tagged, algorithm.policy, algorithm.personal_kinds)
    settings = work_lib.TrainingSettings(batch_size=3)
    initial = OD((item.name, item.variable.numpy()) for item in tagged)
    spec = ProcessSpec(algorithm, layout, ONE, one_weight.make, settings, initial, 2)
    return iterative.build(computations.trace(spec))


def client(dataset, number, private):
    work = OD(
        shards=np.array(dataset.shards(dataset.scenarios[number], "train"), dtype=object),
        seed=np.int64(1),
        first_step=np.int64(0),
        steps=np.int64(1),
        epoch_steps=np.int64(1),
        learning_rate=np.float32(0.1),
        task_weights=np.ones([1], np.float32),
        positive_weights=np.ones([1], np.float32),
    )
    secret = pipeline.simulated_secret(0, number)
    return OD(
        client_id=np.int32(number),
        private=private,
        secret=secret,
        work=work,
        serves=np.ones([1], np.float32),
    )


def zero_private(made):
    kind = made.iterative.next.type_signature.parameter[1].member["private"]
    return OD(
        (name, np.zeros(inner.shape, inner.dtype))
        for name, inner in tff.structure.to_elements(kind)
    )


def test_fedavg_of_two_clients_by_hand(context, two_clients):
    """Adam's first step is the learning rate: a goes from 1.0 to 1.1, b to 0.9;
    with 3 rows and 1 row the mean is 1.05.
    """
    made = one_weight_process(fedavg.fedavg(ONE))
    private = zero_private(made)
    state, returned, report = made.iterative.next(
        made.iterative.initialize(), [client(two_clients, i, private) for i in (0, 1)]
    )
    np.testing.assert_allclose(state["common"][NAME], [[1.05]], rtol=1e-6)
    np.testing.assert_array_equal(report["examples"], [3.0, 1.0])
    # The mean cross-entropy before the step: -log sigmoid(1) and -log sigmoid(-1), 0.31326 and
    # 1.31326, to three decimals.
    np.testing.assert_allclose(report["loss"], [0.313, 1.313], rtol=1e-6)
    assert state["round"] == 1
    # Adam's slots stay with the client: m = 0.1 * gradient, gradient = sigmoid(1) - label.
    np.testing.assert_allclose(
        [r["optimizer/0000"][0, 0] for r in returned], [-0.02689414, 0.07310586], rtol=1e-6
    )
    assert [float(r["optimizer/0002"]) for r in returned] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("by_rows", "prior", "expected"), [(False, 0.0, (1.05, 0.95)), (True, 3.0, (1.0625, 1.03125))]
)
def test_pf_msmtrec_of_two_clients_by_hand(context, two_clients, by_rows, prior, expected):
    """Mean coordination, even attention (tau large), mu 0.5; Delta = +0.1 and -0.1,
    attention over P = (1, 1) gives 1.

    All alike: U = 0, P'[a] = 0.5 * 1.1 + 0.5 * 1 = 1.05, P'[b] = 0.95. By rows, 3 and 1: U = 0.75 *
    0.1 - 0.25 * 0.1 = 0.05; of its own a keeps 0.5 * 3 / (3 + 3) = 0.25 and b 0.5 * 1 / (1 + 3) =
    0.125, so P'[a] = 0.25 * 1.1 + 0.75 * 1.05 = 1.0625, P'[b] = 0.125 * 0.9 + 0.875 * 1.05 =
    1.03125. G = 0.75 * P'[a] + 0.25 * P'[b].
    """
    settings = pf_msmtrec.Settings(
        coordination="mean",
        temperature=1e9,
        weigh_by_rows=by_rows,
        mu=0.5,
        rows_prior=prior,
        server_step=1.0,
    )
    made = one_weight_process(pf_msmtrec.pf_msmtrec(ONE, settings))
    private = zero_private(made)
    state, _, report = made.iterative.next(
        made.iterative.initialize(), [client(two_clients, i, private) for i in (0, 1)]
    )
    np.testing.assert_allclose(state["personal"][NAME], np.reshape(expected, [2, 1, 1]), rtol=1e-6)
    np.testing.assert_allclose(
        state["consensus"][NAME], [[0.75 * expected[0] + 0.25 * expected[1]]], rtol=1e-6
    )
    np.testing.assert_allclose(
        report["diagnostics"]["gram/expert/0/shared"], [[0.01, -0.01], [-0.01, 0.01]], rtol=1e-4
    )
    np.testing.assert_allclose(
        report["diagnostics"]["attention/expert/0/shared"], [[0.5, 0.5], [0.5, 0.5]], atol=1e-6
    )


def test_an_absent_client_keeps_its_values(context, two_clients):
    """Only b takes part: b's update is its own, a's personal value stays, and weights are
    renormalised over those present.
    """
    settings = pf_msmtrec.Settings(coordination="mean", mu=0.5, server_step=1.0)
    made = one_weight_process(pf_msmtrec.pf_msmtrec(ONE, settings))
    state, returned, report = made.iterative.next(
        made.iterative.initialize(), [client(two_clients, 1, zero_private(made))]
    )
    assert len(returned) == 1
    np.testing.assert_array_equal(report["present"], [False, True])
    # Alone, U is the whole update, and it does not matter what b keeps of its own: 0.9 either way.
    np.testing.assert_allclose(state["personal"][NAME], [[[1.0]], [[0.9]]], rtol=1e-6)
    np.testing.assert_allclose(state["consensus"][NAME], [[0.9]], rtol=1e-6)


@pytest.mark.parametrize("algorithm", ["pf_msmtrec", "fedavg", "local"])
def test_a_round_equals_the_same_arithmetic_in_plain_tensorflow(context, dataset, algorithm):
    """Three rounds, one with an absent client: client work, traced once, and aggregation called
    eagerly, without TFF, give the same to 1e-6.
    """
    shape = dataclasses.replace(TEMPLATED, dropout=0.1)
    made = reference.FederatedTraining(
        plan.Plan(
            algorithm,
            batch_size=40,
            learning_rate=1e-3,
            participation=0.67,
            weight_decay=0.0,
            model=shape,
            settings=pf_msmtrec.Settings(proximal=0.1) if algorithm == "pf_msmtrec" else None,
        ),
        dataset,
    )
    layout, tasks = made.process.layout, tuple(t.name for t in dataset.schema.tasks)
    settings = work_lib.TrainingSettings(40, made.algorithm.proximal, made.algorithm.anchor)
    model = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, shape, 0), dataset.schema, made.plan.learning_rate
    )

    @tf.function
    def train(*received):
        done = made.algorithm.client.train(
            model, work_lib.ClientInputs(layout, settings, *received)
        )
        return done.private, done.upload, done.examples, done.loss

    counts = [
        counting.count_ids(layout, dataset.schema, tf.constant(dataset.shards(s, "train")))
        for s in dataset.scenarios
    ]
    counts = {name: tf.stack([own[name] for own in counts]) for name in counts[0]}
    state = base.initial_state(
        made.algorithm, layout, 3, {k: tf.constant(v) for k, v in made._initial.items()}
    )
    private = [dict(p) for p in made._private]
    absent = 0
    for number in range(3):
        present = made.turns.working(number)
        absent += 3 - len(present)
        done = {}
        for i in present:
            start = base.training_state(state)
            incoming = {
                **start.common,
                **{name: value[i] for name, value in start.personal.items()},
            }
            consensus = {
                spec.name: start.consensus[spec.name] for spec in made.algorithm.anchors(layout)
            }
            work = made._work(i, 0)
            work["seed"] = pipeline.order_seed(pipeline.simulated_secret(0, i), work["seed"])
            received = tf.nest.map_structure(
                tf.convert_to_tensor, (incoming, consensus, private[i], dict(work))
            )
            done[i] = work_lib.ClientRound(*train(*received))
            private[i] = done[i].private

        def stack(pick, done=done):
            zero = tf.nest.map_structure(tf.zeros_like, pick(next(iter(done.values()))))
            return tf.nest.map_structure(
                lambda *v: tf.stack(v), *[pick(done[i]) if i in done else zero for i in range(3)]
            )

        serves = np.stack([made._serves(i) * (i in done) for i in range(3)])
        values, attends = stack(lambda d: d.upload), tf.constant([i in done for i in range(3)])
        before = {**start.common, **start.personal}
        seen = {
            name: server_step.rows_met(counts[name], values[name], before[name], attends)
            for name in counts
        }
        reports = base.ClientReports(
            values, seen, stack(lambda d: d.examples), tf.constant(serves), attends
        )
        state, _ = made.algorithm.aggregate(layout, tasks, state, reports)
        made.train_aggregation_step(number)
    assert absent
    for part in ("common", "personal", "consensus", "extra"):
        for name, value in getattr(state, part).items():
            np.testing.assert_allclose(made._state[part][name], value, atol=1e-6, err_msg=name)
    for i in range(3):
        for name, value in private[i].items():
            np.testing.assert_allclose(made._private[i][name], value, atol=1e-6, err_msg=name)
