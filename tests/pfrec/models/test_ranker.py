"""The weighted loss, by hand: at a logit of 0 every row costs log 2."""

import math

import numpy as np
import pytest
import tensorflow as tf

from pfrec.models import ranker

LABELS = tf.constant([[1, 1], [0, 255], [0, 0], [0, 255]], tf.uint8)
ZEROS = tf.zeros([4])


def loss(**weights):
    made = ranker.MultiTaskRanker(lambda inputs, training: {"a": ZEROS, "b": ZEROS}, ["a", "b"])
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
