"""What a client makes of what it serves, with batch normalisation, called eagerly.

Labels are chance here and can be learned by heart alone, so its `valid` rows are those that it
trains on.
"""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.training import selection

SHAPE = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
STEPS = 6


class Client:
    """Makes the three models, traced once."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.model = work_lib.ClientModel(
            lambda: mmoe.build(dataset.schema, SHAPE, 0), dataset.schema, 0.0
        )
        self.first = self.model.read(list(self.model.variables))
        random = np.random.default_rng(0)
        # As if it had been trained elsewhere: other weights, other statistics.
        self.received = {
            name: value + tf.constant(abs(random.normal(0, 0.2, value.shape)), tf.float32)
            for name, value in self.first.items()
        }

        @tf.function
        def call(received, first, work):
            self.model.load(received)
            settings = work_lib.TrainingSettings(50)
            made = home.made(self.model, settings, work, first, 0.25, 0.05, batch_statistics=True)
            return made.received, made.alone, made.taught, made.scores

        self._call = call

    def made(self, scenario="nl", epochs=4, **changed):
        given = {"received": self.received, "first": self.first, **changed}
        found = self._call(
            given["received"],
            given["first"],
            {
                "shards": tf.constant(self.dataset.shards(scenario, "train")),
                home.VALID: tf.constant(self.dataset.shards(scenario, "train")),
                "seed": tf.constant(1, tf.int64),
                home.STEPS: tf.constant(STEPS * epochs, tf.int64),
                home.EPOCH_STEPS: tf.constant(STEPS, tf.int64),
                home.SERVES: tf.ones([len(self.dataset.schema.tasks)]),
            },
        )
        return home.Made(*found)

    def score(self, values, scenario="nl"):
        self.model.load(values)
        evaluator = evaluation.Evaluator(self.model.network, self.dataset.schema)
        told = evaluator(tf.constant(self.dataset.shards(scenario, "train")))
        return selection.score(told.numpy()[np.newaxis])


@pytest.fixture(scope="module")
def client(dataset):
    return Client(dataset)


@pytest.fixture(scope="module")
def made(client):
    return client.made()


def statistics(client, values):
    names = [name for name in values if name not in client.model.trained]
    assert any("normalise" not in name for name in names)
    return {name: values[name].numpy() for name in names}


def test_each_model_is_scored_as_it_is(client, made):
    for values, score in zip((made.received, made.alone, made.taught), made.scores.numpy()):
        assert client.score(values) == pytest.approx(score, abs=1e-9)
    assert made.scores[0] >= client.score(client.received) - 1e-9


def test_both_starts_learn_statistics_of_their_own_and_mixed_rows_have_no_part_in_any(client, made):
    first, received = (statistics(client, v) for v in (client.first, client.received))
    one, alone, taught = (statistics(client, v) for v in (made.received, made.alone, made.taught))
    for name in first:
        assert np.any(alone[name] != first[name])
        np.testing.assert_array_equal(taught[name], one[name])
    assert any(np.any(one[name] != received[name]) for name in one)


def test_what_is_trained_alone_knows_nothing_of_what_was_received(client, made):
    moved = {name: value + 0.3 for name, value in client.received.items()}
    other = client.made(received=moved).alone
    for name, value in made.alone.items():
        np.testing.assert_array_equal(other[name], value)


def test_what_was_received_knows_nothing_of_first_values(client, made):
    moved = {name: value + 0.1 for name, value in client.first.items()}
    other = client.made(first=moved).received
    for name, value in made.received.items():
        np.testing.assert_array_equal(other[name], value)


@pytest.mark.parametrize(
    ("scores", "served"),
    [
        ((0.70, 0.71, 0.69), "taught"),
        ((0.70, 0.71, 0.67), "received"),
        ((0.70, 0.73, 0.70), "alone"),
        ((0.70, 0.73, 0.72), "taught"),
        ((0.70, -1.0, -1.0), "received"),
    ],
)
def test_what_is_served_goes_by_scores_and_what_chance_is(scores, served):
    values = [{"x": tf.constant(float(number))} for number in range(3)]
    found = home.Made(*values, tf.constant(scores, tf.float64)).chosen()["x"]
    assert ("received", "alone", "taught")[int(found)] == served
