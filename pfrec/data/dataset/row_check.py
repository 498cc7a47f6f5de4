"""What a shard holds, read without TensorFlow: rows that no conversion writes are told by name.

A checksum says that a file is as it was written, and nothing of what was: a shard that another
program made, or a dataset file that was edited, may have a right one.
"""

import dataclasses
import hashlib
import pathlib
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

# Of a TFRecord: the length and its checksum before the data, the data's checksum after them.
_BEFORE, _AFTER = 12, 4
_REMEDY = "run pfrec-convert to make it anew"


@dataclasses.dataclass
class Tally:
    """What shards hold together.

    Attributes:
      rows: their rows.
      observed: per task, the rows whose label is observed, int64 [tasks].
      positives: per task, the rows whose label is 1, int64 [tasks].
    """

    rows: int
    observed: np.ndarray
    positives: np.ndarray

    @classmethod
    def empty(cls, schema: schema_lib.Schema) -> "Tally":
        """Of no rows."""
        tasks = len(schema.tasks)
        return cls(0, np.zeros(tasks, np.int64), np.zeros(tasks, np.int64))

    def add(self, rows: row_block.Rows) -> None:
        """Counts rows."""
        self.rows += len(rows)
        self.observed += (rows.labels != row_block.UNOBSERVED).sum(axis=0)
        self.positives += (rows.labels == 1).sum(axis=0)


def check(path: pathlib.Path, schema: schema_lib.Schema, tally: Tally) -> str:
    """Reads a shard once: checks each row, counts it, and returns the SHA-256 of the file.

    Raises:
      PfrecError: where a record is cut short or empty, or holds an id, a number or a label that
        the schema does not have; the message names the record.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        number = 0
        while True:
            data = _record(stream, digest, path, number)
            if data is None:
                return digest.hexdigest()
            count, rest = divmod(len(data), schema.row_bytes)
            if rest or not count:
                raise _fault(
                    path,
                    number,
                    f"{len(data)} bytes are no whole rows of {schema.row_bytes} bytes",
                )
            rows = row_block.decode(data, schema)
            told = _strange(rows, schema)
            if told:
                raise _fault(path, number, told)
            tally.add(rows)
            number += 1


def blocks(
    path: pathlib.Path, schema: schema_lib.Schema, *, rows_at_once: int
) -> Iterator[row_block.Rows]:
    """The rows of a shard in its order, about `rows_at_once` together.

    Raises:
      PfrecError: where a record is cut short.
      ValueError: where one is of no whole rows.
    """
    nothing = hashlib.sha256()
    with path.open("rb") as stream:
        number, parts, size = 0, [], 0
        while (data := _record(stream, nothing, path, number)) is not None:
            parts.append(row_block.decode(data, schema))
            size += len(parts[-1])
            number += 1
            if size >= rows_at_once:
                yield row_block.joined(parts)
                parts, size = [], 0
        if parts:
            yield row_block.joined(parts)


def _record(
    stream: BinaryIO, digest: "hashlib._Hash", path: pathlib.Path, number: int
) -> "bytes | None":
    """The data of the next record; None at the end of the file."""
    before = stream.read(_BEFORE)
    digest.update(before)
    if not before:
        return None
    (length,) = struct.unpack("<Q", before[:8]) if len(before) == _BEFORE else (1 << 63,)
    left = path.stat().st_size - stream.tell() - _AFTER
    if length > left:
        raise _fault(path, number, "the file ends in it")
    after = stream.read(length + _AFTER)
    digest.update(after)
    return after[:-_AFTER]


def _strange(rows: row_block.Rows, schema: schema_lib.Schema) -> str:
    """The first value that the schema does not have, in words; empty where all are its own."""
    for feature, place in zip(schema.categorical, schema.id_places):
        ids = rows.categorical[:, place]
        # Id `cardinality` means unknown; a list ends with NO_VALUE.
        least = schema_lib.NO_VALUE if feature.values > 1 else 0
        bad = (ids < least) | (ids > feature.cardinality)
        if bad.any():
            return f"{feature.name} has the id {ids[bad][0]}, of {feature.cardinality}"
    if not np.isfinite(rows.numerical).all():
        column = np.flatnonzero(~np.isfinite(rows.numerical).all(axis=0))[0]
        name = next(
            c.name
            for c, place in zip(schema.numerical, schema.number_places)
            if column < place.stop
        )
        return f"{name} holds a value that is not finite"
    if rows.weight is not None and not (np.isfinite(rows.weight) & (rows.weight >= 0)).all():
        return "a weight is negative or not finite"
    bad = (rows.labels > 1) & (rows.labels != row_block.UNOBSERVED)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        return f"{schema.tasks[column].name} has the label {rows.labels[row, column]}"
    labels = {task.name: rows.labels[:, number] for number, task in enumerate(schema.tasks)}
    for task in schema.tasks:
        if task.given is None:
            continue
        undefined = labels[task.given] != 1
        if (undefined & (labels[task.name] != row_block.UNOBSERVED)).any():
            return f"{task.name} is observed where {task.given}, which it is given, is not 1"
    return ""


def _fault(path: pathlib.Path, number: int, what: str) -> errors.PfrecError:
    return errors.PfrecError(f"{path}: record {number}: {what}; {_REMEDY}")
