"""What a client makes of what it serves, with batch normalisation, called eagerly.

Labels are chance here and can be learned by heart alone, so its `valid` rows are those that it
trains on.
"""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import evaluation, metrics
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
            training = self.training(first, work)
            made = home.made(training, training.on_valid())
            return made.received, made.alone, made.taught, made.scores, made.margin

        self._call = call

    def training(self, first, work):
        settings = work_lib.TrainingSettings(50)
        return home.Training(self.model, settings, work, first, 0.25, 0.05)

    def made(self, scenario="nl", epochs=4, **changed):
        given = {"received": self.received, "first": self.first, **changed}
        return home.Made(
            *self._call(given["received"], given["first"], self.work(scenario, epochs))
        )

    def work(self, scenario="nl", epochs=4):
        shards = tf.constant(self.dataset.shards(scenario, "train"))
        return {
            "shards": shards,
            home.VALID: shards,
            "seed": tf.constant(1, tf.int64),
            home.STEPS: tf.constant(STEPS * epochs, tf.int64),
            home.EPOCH_STEPS: tf.constant(STEPS, tf.int64),
            home.SERVES: tf.ones([len(self.dataset.schema.tasks)]),
        }

    def measured(self, values, scenario="nl"):
        self.model.load(values)
        evaluator = evaluation.Evaluator(self.model.network, self.dataset.schema)
        return evaluator(tf.constant(self.dataset.shards(scenario, "train")))

    def score(self, values):
        return selection.score(self.measured(values).numpy()[np.newaxis])


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
    # Ahead by more than chance, whatever is predicted, and by no less than 0.02.
    chance = float(home.chance(client.measured(client.first)))
    assert float(made.margin) == pytest.approx(max(chance, 0.02), rel=1e-9)
    assert any(np.any(made.taught[name] != made.received[name]) for name in client.model.trained)


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
    ("scores", "margin", "served"),
    [
        ((0.70, 0.71, 0.69), 0.02, "taught"),
        ((0.70, 0.71, 0.67), 0.02, "received"),
        ((0.70, 0.71, 0.67), 0.05, "taught"),
        ((0.70, 0.73, 0.70), 0.02, "alone"),
        ((0.70, 0.73, 0.64), 0.05, "received"),
        ((0.70, 0.73, 0.72), 0.02, "taught"),
        ((0.70, -1.0, -1.0), 0.02, "received"),
    ],
)
def test_what_is_served_goes_by_scores_and_what_chance_is(scores, margin, served):
    values = [{"x": tf.constant(float(number))} for number in range(3)]
    told = (tf.constant(told, tf.float64) for told in (scores, margin))
    found = home.Made(*values, *told).chosen()["x"]
    assert ("received", "alone", "taught")[int(found)] == served


def told(rows, positives, tasks=1):
    values = np.full([tasks, len(metrics.METRICS)], np.nan)
    values[:, metrics.METRICS.index("rows")] = rows
    values[:, metrics.METRICS.index("positives")] = positives
    return tf.constant(values)


@pytest.mark.parametrize(
    ("tasks", "score"),
    [
        ([(0.8, 100, 50), (0.6, 100, 50)], 0.7),
        ([(0.8, 100, 50), (0.6, 9, 3)], None),  # as few tell less
        ([(0.8, 100, 50), (np.nan, 100, 0), (np.nan, 0, 0)], 0.8),  # of one class, and no rows
        ([(0.8, 100, 50), (np.nan, 100, 50)], 0.4),  # predictions that are NaN
        ([(np.nan, 100, 100)], 0.0),
    ],
)
def test_a_score_by_hand_and_what_does_not_count_in_it(tasks, score):
    values = np.full([len(tasks), len(metrics.METRICS)], np.nan)
    for row, cell in zip(values, tasks):
        for name, value in zip(("auc", "rows", "positives"), cell):
            row[metrics.METRICS.index(name)] = value
    found = float(home.score(tf.constant(values)))
    chosen_by = selection.score(values[np.newaxis])
    assert found == pytest.approx(0.0 if np.isnan(chosen_by) else chosen_by)
    if score is not None:
        assert found == pytest.approx(score)


def test_chance_is_what_aucs_of_random_scores_differ_by():
    random, rows, positives = np.random.default_rng(0), 150, 30
    ranks = [1 + random.permutation(rows)[:positives] for _ in range(2000)]
    least = positives * (positives + 1) / 2
    aucs = [(own.sum() - least) / (positives * (rows - positives)) for own in ranks]
    one, two = (float(home.chance(told(rows, positives, tasks))) for tasks in (1, 2))
    # Three standard deviations of a standard deviation of 2,000.
    assert one == pytest.approx(np.std(aucs), rel=0.05)
    assert two == pytest.approx(one / np.sqrt(2))
    assert float(home.chance(told(rows, 0))) == 1.0


def test_a_score_is_that_by_which_rounds_are_chosen():
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.uniform(0, 1, [3, len(metrics.METRICS)])
        rows = random.integers(1, 500, 3)
        values[:, metrics.METRICS.index("rows")] = rows
        values[:, metrics.METRICS.index("positives")] = random.integers(1, rows + 1)
        values[0, metrics.METRICS.index("positives")] = 0
        values[0, metrics.METRICS.index("auc")] = np.nan
        known = selection.score(values[np.newaxis])
        assert float(home.score(tf.constant(values))) == pytest.approx(
            0.0 if np.isnan(known) else known, abs=1e-12
        )


@pytest.mark.parametrize(("few", "kept"), [(0.1, False), (0.001, True)])
def test_who_has_too_few_rows_to_choose_by_keeps_what_it_received(client, monkeypatch, few, kept):
    first = client.first
    found = home.Made(first, first, first, tf.zeros([3], tf.float64), tf.zeros([], tf.float64))
    monkeypatch.setattr(home, "made", lambda *given: found)
    monkeypatch.setattr(home, "_TOO_FEW", few)
    client.model.load(client.received)
    home.finish(client.training(first, client.work()))
    for name, value in (client.received if kept else first).items():
        np.testing.assert_array_equal(client.model.variables[name].numpy(), value)
