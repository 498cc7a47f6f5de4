"""The order in which a shard's rows are stored."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block, shards

SCHEMA = schema_lib.Schema(
    (schema_lib.Categorical("id", 10_000),), (), (schema_lib.Task("click", "click"),)
)


def written(folder, rows, seed):
    folder.mkdir()
    writer = shards.ShardWriter(folder, "train", SCHEMA, shuffle_seed=seed)
    for start in range(0, rows, 700):
        ids = np.arange(start, min(start + 700, rows), dtype=np.int32)[:, np.newaxis]
        writer.add(
            row_block.Rows(ids, np.zeros([len(ids), 0], np.float32), (ids % 2).astype(np.uint8))
        )
    finished = writer.finish()
    writer.rename(finished)
    blocks = [
        row_block.decode(r, SCHEMA)
        for _, path in finished
        for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]
    assert sorted(path.name for path in folder.iterdir()) == [path.name for _, path in finished]
    return blocks


@pytest.mark.parametrize(
    ("rows", "blocks_at_once"), [(1, 256), (256, 256), (3000, 256), (3000, 4), (3000, 1)]
)
def test_all_rows_are_there_in_another_order(tmp_path, monkeypatch, rows, blocks_at_once):
    monkeypatch.setattr(shards, "_SHUFFLED_BLOCKS", blocks_at_once)
    blocks = written(tmp_path / "one", rows, 5)
    assert [len(block) for block in blocks[:-1]] == [row_block.ROWS_PER_BLOCK] * (len(blocks) - 1)
    joined = row_block.joined(blocks)
    np.testing.assert_array_equal(np.sort(joined.categorical[:, 0]), np.arange(rows))
    np.testing.assert_array_equal(joined.labels, joined.categorical % 2)
    again = row_block.joined(written(tmp_path / "again", rows, 5))
    np.testing.assert_array_equal(again.categorical, joined.categorical)
    if rows > 1:
        other = row_block.joined(written(tmp_path / "other", rows, 6))
        assert (other.categorical != joined.categorical).any()


def test_neighbours_of_the_source_stand_far_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_SHUFFLED_BLOCKS", 4)
    ids = row_block.joined(written(tmp_path / "one", 3000, 0)).categorical[:, 0]
    place = np.argsort(ids)
    assert np.median(np.abs(np.diff(place))) > 100


def test_without_a_seed_rows_stay_as_they_come(tmp_path):
    np.testing.assert_array_equal(
        row_block.joined(written(tmp_path / "one", 600, None)).categorical[:, 0], np.arange(600)
    )
