"""What models are taught to another: rows that are mixed, and the mean of answers."""

import dataclasses

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib
from tff_process.finishing import teaching

_SCHEMA = schema_lib.Schema(
    categorical=(schema_lib.Categorical("item", 5000),),
    numerical=(
        schema_lib.Numerical("age"),
        schema_lib.Numerical("image", values=3, separator="|"),
    ),
    tasks=(schema_lib.Task("click", "click"), schema_lib.Task("buy", "buy")),
)
_ROWS = 4000
_SEED = tf.constant([1, 2], tf.int64)


def _batch():
    number = np.arange(_ROWS)
    return {
        "categorical": tf.constant(number[:, np.newaxis] + 1, tf.int32),
        "numerical": tf.constant(np.repeat(number[:, np.newaxis], 4, 1), tf.float32),
        "labels": tf.constant(np.stack([number % 2, 255 - 0 * number], 1), tf.uint8),
    }


def test_each_feature_is_the_rows_own_or_of_the_one_before_as_a_whole():
    found = teaching.mixed(_batch(), _SCHEMA, _SEED)
    own = np.arange(_ROWS)
    features = [found["categorical"].numpy()[:, 0] - 1, *found["numerical"].numpy().T]
    item, age, *image = (np.asarray(values, np.int64) == own for values in features)
    for values, kept in zip(features, (item, age, *image)):
        np.testing.assert_array_equal(values[~kept], (own[~kept] - 1) % _ROWS)
    for kept in image:
        np.testing.assert_array_equal(kept, image[0])
    coins = np.stack([item, age, image[0]]).astype(float)
    # Six standard deviations of a mean of fair coins, and of the correlation of two of them.
    assert np.abs(coins.mean(axis=1) - 0.5).max() < 3.0 / np.sqrt(_ROWS)
    assert np.abs(np.corrcoef(coins) - np.eye(3)).max() < 6.0 / np.sqrt(_ROWS)
    other = teaching.mixed(_batch(), _SCHEMA, _SEED + 1)
    assert np.any(other["categorical"].numpy() != found["categorical"].numpy())


def test_ids_and_numbers_are_mixed_by_coins_of_their_own():
    """Also where there are as many of the one as of the other."""
    schema = dataclasses.replace(_SCHEMA, numerical=_SCHEMA.numerical[:1])
    batch = {**_batch(), "numerical": _batch()["numerical"][:, :1]}
    found = teaching.mixed(batch, schema, _SEED)
    item, age = (
        found[kind].numpy() == batch[kind].numpy() for kind in ("categorical", "numerical")
    )
    # Six standard deviations of a mean of fair coins.
    assert abs((item == age).mean() - 0.5) < 3.0 / np.sqrt(_ROWS)


def test_labels_as_targets():
    """What is not observed is none, and counts for nothing by its label."""
    labels = tf.constant([[0], [1], [row_block.UNOBSERVED]], tf.uint8)
    found = teaching.with_labels({"labels": labels, "x": tf.ones([3])})
    np.testing.assert_array_equal(found[ranker.TARGETS], [[0.0], [1.0], [0.0]])
    assert found["labels"] is labels
    assert found[ranker.TARGETS].dtype == tf.float32
    assert set(found) == {"labels", "x", ranker.TARGETS}


def test_who_is_ahead_counts_for_more():
    def shares(*scores):
        return teaching.shares_of([tf.constant(score, tf.float64) for score in scores]).numpy()

    np.testing.assert_allclose(shares(0.7, 0.7), [0.5, 0.5], atol=1e-6)
    # By 0.02 * ln 3: three times as much.
    np.testing.assert_allclose(shares(0.7 + 0.02 * np.log(3.0), 0.7), [0.75, 0.25], atol=1e-6)
    assert shares(0.6, 0.8)[0] < 1e-4


def test_targets_are_the_weighted_mean_of_answers_and_the_model_is_left_as_it_is():
    config = ModelConfig(embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,))
    model = work_lib.ClientModel(lambda: mmoe.build(_SCHEMA, config, 0), _SCHEMA, 0.1)
    random = np.random.default_rng(0)
    teachers = [
        {
            name: tf.constant(random.normal(0, 1, model.variables[name].shape), tf.float32)
            for name in model.trained
        }
        for _ in range(2)
    ]
    before = {name: value.numpy() for name, value in model.read(model.trained).items()}
    serves = tf.constant([1.0, 0.0])
    taught = teaching.with_answers(
        model, teachers, tf.constant([0.75, 0.25]), _batch(), _SEED, serves
    )
    for name, value in model.read(model.trained).items():
        np.testing.assert_array_equal(value, before[name])
    rows, logits = teaching.mixed(_batch(), _SCHEMA, _SEED), []
    for teacher in teachers:
        model.load(teacher)
        found = model.network(rows, training=False)
        logits.append(np.stack([found["click"], found["buy"]], axis=1))
    wanted = 1.0 / (1.0 + np.exp(-(0.75 * logits[0] + 0.25 * logits[1])))
    np.testing.assert_allclose(taught[ranker.TARGETS], wanted, atol=1e-5)
    for name in ("categorical", "numerical"):
        np.testing.assert_array_equal(taught[name], rows[name])
    # Of the first task all rows have a target, of the second, which the client lacks, none.
    wanted = [0, row_block.UNOBSERVED]
    np.testing.assert_array_equal(taught["labels"], np.tile(wanted, (_ROWS, 1)))
