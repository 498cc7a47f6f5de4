"""Batches gathered from windows are those of the pipeline, row by row."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec.data import schema
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, row_block, windows, writer

SCHEMA = schema.Schema(
    (schema.Categorical("row", 1000),),
    (schema.Numerical("half"),),
    (schema.Task("click", "click"),),
    group="row_group",
)
ROWS = 700


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    path = tmp_path_factory.mktemp("windows") / "data"
    with writer.DatasetWriter(path, SCHEMA, source_format="test", split_seed=0) as target:
        for split, count in (("train", ROWS), ("valid", 1), ("test", 1)):
            numbers = np.arange(count)
            ids = numbers.astype(np.int32)[:, np.newaxis]
            rows = row_block.Rows(
                ids,
                (ids / 2).astype(np.float32),
                (ids % 2).astype(np.uint8),
                numbers.astype(np.int64),
            )
            for first in range(0, count, 60):  # small blocks, so that the rows take several
                target.add("a", split, rows.take(slice(first, first + 60)))
    return tf.constant(dataset_lib.Dataset.open(path).shards("a", "train"))


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(pipeline, "WINDOW_BLOCKS", 1)


def batches(shards, batch_size, epoch, first, steps, scenarios=None):
    """What a loop in a graph sees, as `work.over` goes."""
    seed, epoch = tf.constant(3, tf.int64), tf.constant(epoch, tf.int64)
    rest = windows.no_rows(SCHEMA, scenarios is not None)
    seen, passed = [], tf.zeros([], tf.int64)
    for number, blocks in windows.read(shards, seed, epoch, scenarios):
        window = windows.Window.of(rest, blocks, SCHEMA, seed, epoch, number)
        size, whole = window.batches(batch_size, number, passed)
        seen += [window.batch(tf.constant(place, tf.int64), size) for place in range(int(whole))]
        passed, rest = passed + whole, window.after(whole, size)
    return seen[first : first + steps]


@pytest.mark.usefixtures("small_windows")
@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([1, 64, 256, 300, 699, 700, 701, 5000]),
    st.integers(0, 5),
    st.integers(0, 12),
    st.integers(1, 4),
)
def test_a_windows_batches_are_the_pipelines(shards, batch_size, epoch, first, steps):
    steps = min(steps, max(0, pipeline.steps_per_epoch(ROWS, batch_size) - first))
    number, begin, count, seed = (
        tf.constant(value, tf.int64) for value in (epoch, first, steps, 3)
    )
    expected = list(
        pipeline.epoch_batches(
            shards, SCHEMA, batch_size, seed=seed, epoch=number, first_step=begin, steps=count
        )
    )
    found = batches(shards, batch_size, epoch, first, steps)
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.usefixtures("small_windows")
def test_scenarios_come_with_their_rows(shards):
    both, numbers = tf.concat([shards, shards], 0), tf.constant([3, 4])
    settings = {"seed": tf.constant(3, tf.int64), "epoch": tf.constant(1, tf.int64)}
    expected = list(
        pipeline.epoch_batches(
            both, SCHEMA, 300, **settings, first_step=0, steps=4, scenarios=numbers
        )
    )
    found = batches(both, 300, 1, 0, 4, numbers)
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected):
        assert set(one) == set(other) >= {"scenario"}
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    assert {int(n) for one in found for n in one["scenario"]} == {3, 4}


@pytest.mark.usefixtures("small_windows")
def test_an_epoch_shorter_than_a_batch_is_one_batch(shards):
    (batch,) = batches(shards, 5000, 0, 0, 1)
    assert sorted(batch["categorical"][:, 0].numpy()) == list(range(ROWS))


def test_no_rows_may_grow_in_a_loop():
    @tf.function
    def shapes():
        rows = windows.no_rows(SCHEMA)
        assert {name: value.shape.as_list() for name, value in rows.items()} == {
            "categorical": [None, 1],
            "numerical": [None, 1],
            "labels": [None, 1],
            "group": [None],
        }
        return tf.shape(rows["categorical"])[0]

    assert int(shapes()) == 0
