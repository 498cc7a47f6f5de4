"""Datasets read back, row by row or whole."""

import pathlib
from collections.abc import Iterator

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import dataset, pipeline, row_block


def read_back(data: dataset.Dataset, scenario: str, split: str) -> "dict[str, np.ndarray]":
    """All rows of a split, as the input pipeline gives them."""
    import tensorflow as tf

    batches = list(
        pipeline.evaluation_batches(
            tf.constant(data.shards(scenario, split)), data.schema
        ).as_numpy_iterator()
    )
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def rows_of(path: str, schema: schema_lib.Schema) -> "Iterator[row_block.Rows]":
    """The rows of a shard one by one, without TensorFlow."""
    content = pathlib.Path(path).read_bytes()
    place = 0
    while place < len(content):
        size = int.from_bytes(content[place : place + 8], "little")
        rows = row_block.decode(content[place + 12 : place + 12 + size], schema)
        yield from (rows.take(slice(i, i + 1)) for i in range(len(rows)))
        place += 16 + size


def in_order(rows: int, seed: int, fractions: "tuple[float, float, float]") -> "list[np.ndarray]":
    """Per split, the numbers of the rows that go there, ascending."""
    places = splits.split_of(np.arange(rows), seed, fractions)
    return [np.flatnonzero(places == place) for place in range(3)]


def as_they_come(writer, source, shard, blocks):
    """In place of `ShardWriter._shuffled`: a shard's blocks in the order of the raw rows."""
    return writer._blocks_at(source, range(blocks))
