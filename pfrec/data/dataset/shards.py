"""Writes the rows of one scenario and split to TFRecord shards; can be stopped and gone on with.

Blocks of rows are collected as they come, one after the other, in a file per shard. At last each is
made a shard, its rows shuffled: in a log the rows of one user stand together, and a place would
tell whose row it is.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, Optional

import numpy as np

from pfrec import files
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block, tf_record

# What a shard's blocks are collected in.
COLLECTED = ".collected"
# A shard ends after this many blocks (1,048,576 rows).
BLOCKS_PER_SHARD = 4096
# Rows of so many blocks, taken from all over a shard, are shuffled at once.
_SHUFFLED_BLOCKS = 256
# So many records are made at once, which a processor's cache holds.
_FRAMED_BLOCKS = 16


class ShardWriter:
    """The shards of one scenario and split.

    The files depend on the rows and their order alone, not on how `add` was called.

    Attributes:
      rows: how many rows were added.
      observed: per task, the rows whose label is observed, int64 [tasks].
      positives: per task, the rows whose label is 1, int64 [tasks].
    """

    def __init__(
        self,
        directory: pathlib.Path,
        split: str,
        schema: schema_lib.Schema,
        state: Optional[Mapping[str, Any]] = None,
        shuffle_seed: Optional[int] = None,
    ):
        """Starts writing, or goes on.

        Args:
          directory: of the scenario; must exist.
          split: which the rows are of; names the files.
          schema: of the rows.
          state: what `checkpoint` returned, to go on from there.
          shuffle_seed: not negative; decides the order of a shard's rows. None leaves them as they
            come.
        """
        self._shuffle_seed = shuffle_seed
        self._directory, self._split, self._schema = directory, split, schema
        self._block_bytes = row_block.ROWS_PER_BLOCK * schema.row_bytes
        self._stream: Optional[IO[bytes]] = None
        self._pending: list[row_block.Rows] = []
        self._pending_rows = 0
        state = state or {}
        self._blocks = int(state.get("blocks", 0))
        self.rows = int(state.get("rows", 0))
        tasks = len(schema.tasks)
        self.observed = np.array(state.get("observed", [0] * tasks), np.int64)
        self.positives = np.array(state.get("positives", [0] * tasks), np.int64)
        if state:
            self._go_on(bytes.fromhex(state["pending"]))

    def add(self, rows: row_block.Rows) -> None:
        """Appends rows.

        Raises:
          PfrecError: where they cannot be written.
        """
        self.rows += len(rows)
        self.observed += (rows.labels != row_block.UNOBSERVED).sum(axis=0)
        self.positives += (rows.labels == 1).sum(axis=0)
        self._pending.append(rows)
        self._pending_rows += len(rows)
        if self._pending_rows >= row_block.ROWS_PER_BLOCK:
            joined = row_block.joined(self._pending)
            whole = len(joined) - len(joined) % row_block.ROWS_PER_BLOCK
            for start in range(0, whole, row_block.ROWS_PER_BLOCK):
                self._collect(joined.take(slice(start, start + row_block.ROWS_PER_BLOCK)))
            # Copied, so that a few rows left over do not keep a whole chunk in memory.
            self._pending = [joined.take(np.arange(whole, len(joined)))]
            self._pending_rows = len(joined) - whole

    def checkpoint(self) -> dict[str, Any]:
        """Makes what was added survive a kill and returns a JSON value to go on from."""
        if self._stream is not None:
            self._stream.flush()
            files.sync(pathlib.Path(self._stream.name))
        return {
            "blocks": self._blocks,
            "rows": self.rows,
            "observed": self.observed.tolist(),
            "positives": self.positives.tolist(),
            "pending": (
                row_block.encode(row_block.joined(self._pending)).hex()
                if self._pending_rows
                else ""
            ),
        }

    def counts(self) -> dict[str, Any]:
        """What the dataset file says of the rows."""
        tasks = [task.name for task in self._schema.tasks]
        return {
            "rows": self.rows,
            "observed": dict(zip(tasks, self.observed.tolist())),
            "positives": dict(zip(tasks, self.positives.tolist())),
        }

    def close(self) -> None:
        """Closes the open file; nothing is added after that."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def finish(self, before: int = 0) -> "list[tuple[pathlib.Path, pathlib.Path]]":
        """Makes shards of what was collected; can be done again after a kill.

        Args:
          before: how many shards stand before these.

        Returns:
          Per shard in order, its file, and the name that `rename` is to give it.

        Raises:
          PfrecError: where one cannot be written.
        """
        if self._pending_rows:
            self._collect(row_block.joined(self._pending))
            self._pending, self._pending_rows = [], 0
        self.close()
        shards = -(-self._blocks // BLOCKS_PER_SHARD)
        count = before + shards
        names = [
            f"{self._split}-{shard:05d}-of-{count:05d}.tfrecord" for shard in range(before, count)
        ]
        return [(self._made(shard), self._directory / name) for shard, name in enumerate(names)]

    def rename(self, finished: "Sequence[tuple[pathlib.Path, pathlib.Path]]") -> None:
        """Gives the shards their names and removes what they were made of."""
        for shard, (path, final) in enumerate(finished):
            os.replace(path, final)
            self._collected(shard).unlink(missing_ok=True)

    def _made(self, shard: int) -> pathlib.Path:
        """A shard's file, its rows in an order that is a function of the seed."""
        collected = self._collected(shard)
        path = collected.with_name(f"{collected.name}-shard")
        blocks = -(-collected.stat().st_size // self._block_bytes)
        with files.readable_errors(path), collected.open("rb") as source, path.open("wb") as target:
            ordered = (
                self._blocks_at(source, range(blocks))
                if self._shuffle_seed is None
                else self._shuffled(source, shard, blocks)
            )
            for records in _batches(ordered):
                target.write(tf_record.framed(records))
        return path

    def _shuffled(self, source: IO[bytes], shard: int, blocks: int) -> "Iterator[bytes]":
        """The blocks of a shard with its rows shuffled; in memory are the rows of
        `_SHUFFLED_BLOCKS` blocks.
        """
        assert self._shuffle_seed is not None
        groups = -(-blocks // _SHUFFLED_BLOCKS)
        rest: list[row_block.Rows] = []
        for group in range(groups):
            # Every `groups`-th block: rows that stood together are far apart afterwards.
            parts = [
                row_block.decode(data, self._schema)
                for data in self._blocks_at(source, range(group, blocks, groups))
            ]
            rows = row_block.joined([*rest, *parts])
            order = np.random.default_rng(
                [self._shuffle_seed, *self._split.encode(), shard, group]
            ).permutation(len(rows))
            rows = rows.take(order)
            left = 0 if group + 1 == groups else len(rows) % row_block.ROWS_PER_BLOCK
            whole = len(rows) - left
            for start in range(0, whole, row_block.ROWS_PER_BLOCK):
                part = slice(start, min(start + row_block.ROWS_PER_BLOCK, whole))
                yield row_block.encode(rows.take(part))
            rest = [rows.take(np.arange(whole, len(rows)))]

    def _blocks_at(self, source: IO[bytes], numbers: "Sequence[int]") -> "Iterator[bytes]":
        """Blocks that were collected. All but the last of a shard have the same size, so each is
        found by its number.
        """
        for number in numbers:
            source.seek(number * self._block_bytes)
            yield source.read(self._block_bytes)

    def _go_on(self, pending: bytes) -> None:
        """Cuts off what was collected after the checkpoint."""
        kept = -(-self._blocks // BLOCKS_PER_SHARD)
        for path in self._directory.glob(f"{self._split}-*{COLLECTED}*"):
            if path not in [self._collected(shard) for shard in range(kept)]:
                path.unlink()
        if kept:
            last = self._blocks - (kept - 1) * BLOCKS_PER_SHARD
            os.truncate(self._collected(kept - 1), last * self._block_bytes)
        if pending:
            self._pending = [row_block.decode(pending, self._schema)]
            self._pending_rows = len(self._pending[0])

    def _collect(self, block: row_block.Rows) -> None:
        path = self._collected(self._blocks // BLOCKS_PER_SHARD)
        with files.readable_errors(path):
            first = self._blocks % BLOCKS_PER_SHARD == 0
            if self._stream is None or first:
                self.close()
                self._stream = path.open("wb" if first else "ab")
            self._stream.write(row_block.encode(block))
        self._blocks += 1

    def _collected(self, shard: int) -> pathlib.Path:
        return self._directory / f"{self._split}-{shard:05d}{COLLECTED}"


def _batches(blocks: "Iterator[bytes]") -> "Iterator[np.ndarray]":
    """Blocks of one length, some at a time, uint8 [blocks, bytes]."""
    held: list[bytes] = []
    for block in blocks:
        if held and (len(held) == _FRAMED_BLOCKS or len(block) != len(held[0])):
            yield np.frombuffer(b"".join(held), np.uint8).reshape(len(held), -1)
            held = []
        held.append(block)
    if held:
        yield np.frombuffer(b"".join(held), np.uint8).reshape(len(held), -1)
