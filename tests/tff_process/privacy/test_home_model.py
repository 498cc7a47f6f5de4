"""What a client under differential privacy makes, at home, of what it received."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation
from pfrec.data.dataset import pipeline
from pfrec.models import ranker
from tests.tff_process.privacy.one_client import ITEM, USER, Client
from tff_process.client import work as work_lib
from tff_process.finishing import home as home_lib
from tff_process.finishing import teaching
from tff_process.privacy import client as client_lib
from tff_process.training import selection


@pytest.fixture(scope="module")
def ahead():
    """How far ahead training alone must be, as a variable of graphs, which take long to trace."""
    with pytest.MonkeyPatch.context() as patch:
        value = tf.Variable(home_lib._AHEAD, dtype=tf.float64)
        patch.setattr(home_lib, "_AHEAD", value)
        yield value


@pytest.fixture
def margin(ahead):
    """`ahead`, for a test that changes it."""
    usual = ahead.numpy()
    yield ahead
    ahead.assign(usual)


@pytest.fixture(scope="module")
def fedavg(dataset, ahead):
    return Client("fedavg", dataset)


@pytest.fixture(scope="module")
def first(fedavg):
    return fedavg.train()


def test_the_home_model_starts_from_what_was_received(fedavg, first):
    _, state, _ = first
    for name, value in fedavg.incoming.items():
        np.testing.assert_array_equal(state[name], value)
    trained = fedavg.train(home_steps=54)[1]
    assert np.any(trained[USER] != 0.0)
    assert np.any(trained[ITEM] != fedavg.incoming[ITEM])
    for name, value in fedavg.incoming.items():
        if name in fedavg.model.trained:
            np.testing.assert_array_equal(trained[client_lib.FIRST + name], value)


def training(client):
    work = {
        "shards": tf.constant(client.dataset.shards("nl", "train")),
        "seed": tf.constant(1, tf.int64),
        home_lib.EPOCH_STEPS: tf.constant(6, tf.int64),
        home_lib.SERVES: tf.ones([len(client.dataset.schema.tasks)]),
    }
    settings = work_lib.TrainingSettings(50)
    return home_lib.Training(client.model, settings, work, {}, 0.25, 0.05, noised=True)


def test_at_first_only_what_was_not_received_is_trained(fedavg):
    """And by the rate that is asked for: Adam's first step is as large as that."""
    model = fedavg.model
    begin, end = tf.constant(0, tf.int64), tf.constant(1, tf.int64)

    @tf.function
    def step(only_new):
        home_lib._begin(model, start)
        lesson = home_lib._Lesson(
            tf.constant(0.003),
            frozenset([USER]),
            only_new,
            (start, start),
            tf.constant([0.5, 0.5]),
            tf.constant(False),
        )
        home_lib._steps(training(fedavg), begin, end, lesson)

    start = {
        name: tf.constant({**fedavg.private, **fedavg.incoming}[name]) for name in model.trained
    }
    for only_new in (True, False):
        step(tf.constant(only_new))
        moved = {
            name: np.abs(model.variables[name].numpy() - start[name].numpy()).max()
            for name in model.trained
        }
        assert moved[USER] == pytest.approx(0.003, rel=1e-2)
        for name, change in moved.items():
            if name != USER:
                assert change == (0.0 if only_new else pytest.approx(0.003, rel=1e-2)), name


def test_the_third_model_comes_to_answer_as_the_other_two_in_the_mean(fedavg):
    model, random = fedavg.model, np.random.default_rng(3)
    teachers = tuple(
        {
            name: tf.constant(random.normal(0, 0.5, model.variables[name].shape), tf.float32)
            for name in model.trained
        }
        for _ in range(2)
    )
    lesson = home_lib._Lesson(
        tf.constant(0.01),
        frozenset(),
        tf.constant(False),
        teachers,
        tf.constant([0.5, 0.5]),
        tf.constant(True),
    )

    @tf.function
    def learn(end):
        home_lib._begin(model, teachers[0])
        home_lib._steps(training(fedavg), tf.zeros([], tf.int64), end, lesson)

    rows = pipeline.decode_blocks(
        tf.stack(list(tf.data.TFRecordDataset(fedavg.dataset.shards("nl", "valid")))),
        fedavg.dataset.schema,
    )

    def answers():
        return np.stack([value.numpy() for value in model.network(rows).values()])

    wanted = []
    for teacher in teachers:
        model.load(teacher)
        wanted.append(answers())
    distances = []
    for steps in (0, 60):
        learn(tf.constant(steps, tf.int64))
        distances.append(np.abs(answers() - np.mean(wanted, axis=0)).mean())
    assert distances[1] < 0.5 * distances[0]


def scored(client, state, scenario="nl"):
    client.model.load({n: v for n, v in state.items() if n in client.model.variables})
    evaluator = evaluation.Evaluator(client.model.network, client.dataset.schema)
    values = evaluator(tf.constant(client.dataset.shards(scenario, "valid")))
    return selection.score(values.numpy()[np.newaxis])


def test_the_home_model_is_the_best_on_the_clients_valid_rows(fedavg, first):
    epoch = fedavg.made.mechanism.budgets[0].home_epoch_steps
    received, short, long = (
        scored(fedavg, fedavg.train(home_steps=epochs * epoch)[1]) for epochs in (0, 3, 9)
    )
    assert received < short
    assert received < long


def test_what_was_received_is_served_where_nothing_can_be_measured(fedavg, first):
    nobody = {"valid_shards": tf.constant([], tf.string)}
    _, state, _ = fedavg.train(home_steps=54, own=nobody)
    for name in fedavg.model.trained:
        np.testing.assert_array_equal(state[name], first[1][name])


def test_the_taught_model_is_served_unless_it_is_well_behind(fedavg, margin, monkeypatch):
    """Taught the opposite of all labels, it is behind."""

    def answers(model, teachers, shares, batch, seed, serves):
        taught = teaching.with_labels(batch)
        return {**taught, ranker.TARGETS: 1.0 - taught[ranker.TARGETS]}

    monkeypatch.setattr(teaching, "with_answers", answers)
    client, scores = fedavg.traced_anew_at_home(), []
    for value in (1e-6, 1.0):
        margin.assign(value)
        scores.append(scored(client, client.train(home_steps=54)[1]))
    assert scores[1] < scores[0] - 1e-6


def test_what_noise_has_made_useless_is_left_for_training_alone(fedavg):
    """Then nothing of what was received is in the home model, whatever it was."""

    one, other = (fedavg.train(incoming=useless(fedavg, b), home_steps=54)[1] for b in (1, 2))
    for name in fedavg.model.trained:
        np.testing.assert_array_equal(one[name], other[name])


def test_training_alone_is_served_only_where_it_is_well_ahead(fedavg, margin):
    margin.assign(1.0)
    served = fedavg.train(incoming=useless(fedavg, 1), home_steps=54)[1]
    kernel = "expert/0/shared/expert_0/dense_0/kernel"
    np.testing.assert_array_equal(served[kernel], 0.0)


def useless(client, bias):
    """Values that let nothing through, and no gradient back, but a bias."""
    incoming = {name: np.zeros_like(value) for name, value in client.incoming.items()}
    for name in incoming:
        if name.endswith("logit/bias"):
            incoming[name] += np.float32(bias)
    return incoming
