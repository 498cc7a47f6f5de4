"""The weighted loss, by hand: of rows, of tasks, of positive rows."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import networks
from pfrec.models import ranker as ranker_lib
from pfrec.models.config import ModelConfig

_SCHEMA = schema_lib.Schema(
    categorical=(schema_lib.Categorical("item", 5),),
    numerical=(schema_lib.Numerical("image", values=3, separator="|"),),
    tasks=(schema_lib.Task("click", "click"), schema_lib.Task("buy", "buy", given="click")),
)
_LABELS = np.array([[1, 0], [0, 255], [1, 1], [1, 255]], np.uint8)


class _Fixed(tf.keras.Model):
    """Logits that are given."""

    def call(self, inputs, training=None):
        return {"click": inputs["logits"][:, 0], "buy": inputs["logits"][:, 1]}


def _entropy(logit, label):
    return np.log1p(np.exp(logit)) - label * logit


def test_by_hand():
    logits = np.array([[0.5, -1.0], [1.5, 0.0], [-0.25, 2.0], [0.0, 9.0]], np.float32)
    weights = np.array([2.0, 0.5, 0.0, 1.0], np.float32)
    batch = {"logits": logits, "labels": _LABELS, "weight": weights}
    batch = {name: tf.constant(value) for name, value in batch.items()}
    made = ranker_lib.MultiTaskRanker(_Fixed(), ["click", "buy"])
    losses = _entropy(logits.astype(np.float64), np.where(_LABELS == 1, 1, 0))
    known = _LABELS != 255
    wanted = sum((weights * losses[:, t] * known[:, t]).sum() / known[:, t].sum() for t in range(2))
    assert float(made.compute_loss(batch)) == pytest.approx(wanted, rel=1e-6)
    del batch["weight"]
    plain = sum((losses[:, t] * known[:, t]).sum() / known[:, t].sum() for t in range(2))
    assert float(made.compute_loss(batch)) == pytest.approx(plain, rel=1e-6)


def test_probabilities_are_learnt_in_place_of_observed_labels():
    logits = np.array([[0.5, -1.0], [1.5, 0.0], [-0.25, 2.0], [0.0, 9.0]], np.float32)
    targets = np.array([[0.2, 0.9], [0.5, 0.5], [1.0, 0.0], [0.7, 0.1]], np.float32)
    batch = {"logits": logits, "labels": _LABELS, ranker_lib.TARGETS: targets}
    made = ranker_lib.MultiTaskRanker(_Fixed(), ["click", "buy"])
    found = made.compute_loss({name: tf.constant(value) for name, value in batch.items()})
    losses, known = _entropy(logits.astype(np.float64), targets), _LABELS != 255
    wanted = sum((losses[:, t] * known[:, t]).sum() / known[:, t].sum() for t in range(2))
    assert float(found) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("algorithm", ["fedavg", "pooled_esmm"])
def test_rows_without_weight_teach_nothing(algorithm):
    """The gradient of a batch is that of its weighted rows alone, twice that with weights of 2."""
    config = ModelConfig(embedding_dim=4, experts=2, expert_units=(4,), batch_norm=False)
    config = dataclasses.replace(config, numeric_dim=0)
    network = networks.build(algorithm, _SCHEMA, config, 0, 1)
    made = networks.make_ranker(network, _SCHEMA)

    def gradient(weights):
        batch = {
            "categorical": tf.constant([[0], [1], [2], [3]]),
            "numerical": tf.reshape(tf.range(12.0), [4, 3]) / 12,
            "labels": tf.constant(_LABELS),
            "scenario": tf.zeros([4], tf.int32),
            "weight": tf.constant(weights),
        }
        table = network.embeddings[0].table
        with tf.GradientTape() as tape:
            loss = made.compute_loss(batch)
        return tf.convert_to_tensor(tape.gradient(loss, table)).numpy()

    one = gradient([1.0, 0.0, 1.0, 0.0])
    assert np.abs(one[[0, 2]]).min(axis=1).max() > 0
    assert not one[[1, 3, 4]].any()
    np.testing.assert_allclose(gradient([2.0, 0.0, 2.0, 0.0]), 2 * one, rtol=1e-5)


LABELS = tf.constant([[1, 1], [0, 255], [0, 0], [0, 255]], tf.uint8)
ZEROS = tf.zeros([4])


def loss(**weights):
    made = ranker_lib.MultiTaskRanker(lambda inputs, training: {"a": ZEROS, "b": ZEROS}, ["a", "b"])
    return float(made.compute_loss({"labels": LABELS, **weights}, training=True)) / math.log(2)


@pytest.mark.parametrize(
    ("tasks", "positives", "wanted"),
    [
        (None, None, 2.0),
        ([1.0, 1.0], [1.0, 1.0], 2.0),
        ([2.0, 0.5], None, 2.5),
        # Of a: (5 + 1 + 1 + 1) / 4; of b, two observed rows: (1 + 1) / 2, then (3 + 1) / 2.
        (None, [5.0, 1.0], 3.0),
        ([1.0, 10.0], [5.0, 3.0], 22.0),
    ],
)
def test_the_loss_by_hand(tasks, positives, wanted):
    weights = {"task_weights": tasks, "positive_weights": positives}
    given = {name: tf.constant(value) for name, value in weights.items() if value is not None}
    np.testing.assert_allclose(loss(**given), wanted, rtol=1e-6)


def test_rows_may_have_weights_of_their_own():
    """As pooled rows of scenarios with other weights: of a (2 + 1 + 0.5 + 0.5) / 4, of b 1."""
    own = tf.constant([[2.0, 1.0], [1.0, 1.0], [0.5, 1.0], [0.5, 1.0]])
    np.testing.assert_allclose(loss(task_weights=own), 2.0, rtol=1e-6)
    np.testing.assert_allclose(loss(task_weights=2.0 * own), 4.0, rtol=1e-6)
