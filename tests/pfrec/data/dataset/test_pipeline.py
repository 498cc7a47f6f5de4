"""The order of training batches: each row once an epoch, whatever the rounds are cut into."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, row_block, writer

SCHEMA = schema.Schema((schema.Categorical("row", 1000),), (), (schema.Task("click", "click"),))
ROWS, BATCH = 700, 64
STEPS = pipeline.steps_per_epoch(ROWS, BATCH)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "data"
    with writer.DatasetWriter(path, SCHEMA, source_format="test", split_seed=0) as target:
        for split, count in (("train", ROWS), ("valid", 1), ("test", 1)):
            ids = np.arange(count, dtype=np.int32)[:, np.newaxis]
            target.add(
                "a",
                split,
                row_block.Rows(ids, np.zeros([count, 0], np.float32), (ids % 2).astype(np.uint8)),
            )
    return tf.constant(dataset_lib.Dataset.open(path).shards("a", "train"))


def ids(batches):
    return [batch["categorical"][:, 0].tolist() for batch in batches.as_numpy_iterator()]


def epoch(shards, number, first=0, steps=1000, seed=3):
    number, first, steps, seed = (
        tf.constant(value, tf.int64) for value in (number, first, steps, seed)
    )
    return ids(
        pipeline.epoch_batches(
            shards, SCHEMA, BATCH, seed=seed, epoch=number, first_step=first, steps=steps
        )
    )


def rounds(shards, first, steps):
    return ids(
        pipeline.training_batches(
            shards, SCHEMA, BATCH, seed=3, first_step=first, steps=steps, epoch_steps=STEPS
        )
    )


def test_an_epoch_holds_every_row_once_and_labels_stay_with_their_rows(shards):
    assert sorted(row for batch in epoch(shards, 0) for row in batch) == list(range(ROWS))
    zero = tf.constant(0, tf.int64)
    for batch in pipeline.epoch_batches(
        shards, SCHEMA, BATCH, seed=zero, epoch=zero, first_step=zero, steps=zero + 2
    ):
        np.testing.assert_array_equal(batch["labels"], batch["categorical"] % 2)


def test_order_follows_from_seed_and_epoch(shards):
    assert epoch(shards, 1) == epoch(shards, 1)
    assert epoch(shards, 1) != epoch(shards, 2)
    assert epoch(shards, 1) != epoch(shards, 1, seed=4)


@pytest.mark.parametrize(("first", "steps"), [(0, 1), (3, 4), (STEPS - 1, 5), (7, 0)])
def test_a_stretch_is_a_slice_of_its_epoch(shards, first, steps):
    assert epoch(shards, 5, first, steps) == epoch(shards, 5)[first : first + steps]


@pytest.mark.parametrize("cut", [1, 4, STEPS, STEPS + 3])
def test_rounds_of_any_length_see_the_same_batches(shards, cut):
    whole = [batch for number in range(3) for batch in epoch(shards, number)[:STEPS]]
    seen = [batch for first in range(0, len(whole), cut) for batch in rounds(shards, first, cut)]
    assert seen[: len(whole)] == whole


def test_dropout_seeds_count_the_steps(shards):
    batches = pipeline.training_batches(
        shards, SCHEMA, BATCH, seed=3, first_step=STEPS - 1, steps=3, epoch_steps=STEPS
    )
    seeds = [batch["dropout_seed"].tolist() for batch in batches.as_numpy_iterator()]
    assert seeds == [[3, STEPS - 1], [3, STEPS], [3, STEPS + 1]]
