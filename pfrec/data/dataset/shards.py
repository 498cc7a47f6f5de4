"""Writes the rows of one scenario and split to TFRecord shards; can be stopped and gone on with.

A shard is written in pieces: one, and one more each time that writing goes on after a kill, since a
TFRecord writer cannot append. Records stand alone, so pieces joined end to end are the shard that
would have been written at once. At last its rows are shuffled: in a log the rows of one user stand
together, and a place would tell whose row it is.
"""

import os
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import files
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block

# A shard ends after this many blocks (1,048,576 rows).
BLOCKS_PER_SHARD = 4096
# Rows of so many blocks, taken from all over a shard, are shuffled at once.
_SHUFFLED_BLOCKS = 256
# Of a TFRecord: the length and its checksum before the data, the data's checksum after them.
_BEFORE, _AFTER = 12, 4


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
        self._stream: Optional[Any] = None
        self._pending: list[row_block.Rows] = []
        self._pending_rows = 0
        state = state or {}
        # Per shard, the sizes in bytes of its pieces as far as they are known to be whole.
        self._pieces: list[list[int]] = [list(sizes) for sizes in state.get("pieces", [])]
        self._blocks = int(state.get("blocks", 0))
        self.rows = int(state.get("rows", 0))
        tasks = len(schema.tasks)
        self.observed = np.array(state.get("observed", [0] * tasks), np.int64)
        self.positives = np.array(state.get("positives", [0] * tasks), np.int64)
        if state:
            self._go_on(bytes.fromhex(state["pending"]))

    def add(self, rows: row_block.Rows) -> None:
        """Appends rows."""
        self.rows += len(rows)
        self.observed += (rows.labels != row_block.UNOBSERVED).sum(axis=0)
        self.positives += (rows.labels == 1).sum(axis=0)
        self._pending.append(rows)
        self._pending_rows += len(rows)
        if self._pending_rows >= row_block.ROWS_PER_BLOCK:
            joined = join(self._pending)
            whole = len(joined) - len(joined) % row_block.ROWS_PER_BLOCK
            for start in range(0, whole, row_block.ROWS_PER_BLOCK):
                self._write(joined.take(slice(start, start + row_block.ROWS_PER_BLOCK)))
            # Copied, so that a few rows left over do not keep a whole chunk in memory.
            self._pending = [joined.take(np.arange(whole, len(joined)))]
            self._pending_rows = len(joined) - whole

    def checkpoint(self) -> dict[str, Any]:
        """Makes what was added survive a kill and returns a JSON value to go on from."""
        if self._stream is not None:
            self._stream.flush()
            path = self._piece(len(self._pieces) - 1, len(self._pieces[-1]) - 1)
            files.sync(path)
            self._pieces[-1][-1] = path.stat().st_size
        return {
            "pieces": self._pieces,
            "blocks": self._blocks,
            "rows": self.rows,
            "observed": self.observed.tolist(),
            "positives": self.positives.tolist(),
            "pending": row_block.encode(join(self._pending)).hex() if self._pending_rows else "",
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
        """Writes what is pending and joins pieces; can be done again after a kill.

        Args:
          before: how many shards stand before these.

        Returns:
          Per shard in order, its file, and the name that `rename` is to give it.
        """
        if self._pending_rows:
            self._write(join(self._pending))
            self._pending, self._pending_rows = [], 0
        self.close()
        for shard, sizes in enumerate(self._pieces):
            with self._piece(shard, 0).open("ab") as whole:
                for piece in range(1, len(sizes)):
                    with self._piece(shard, piece).open("rb") as part:
                        shutil.copyfileobj(part, whole, 1 << 20)
        count = before + len(self._pieces)
        names = [
            f"{self._split}-{shard:05d}-of-{count:05d}.tfrecord" for shard in range(before, count)
        ]
        return [(self._shuffled(shard), self._directory / name) for shard, name in enumerate(names)]

    def rename(self, finished: "Sequence[tuple[pathlib.Path, pathlib.Path]]") -> None:
        """Gives the shards their names and removes the pieces that they were joined from."""
        for shard, (path, final) in enumerate(finished):
            os.replace(path, final)
            for piece in range(len(self._pieces[shard])):
                self._piece(shard, piece).unlink(missing_ok=True)

    def _shuffled(self, shard: int) -> pathlib.Path:
        """A shard's file with its rows in an order that is a function of the seed; in memory are
        the rows of `_SHUFFLED_BLOCKS` blocks.
        """
        whole = self._piece(shard, 0)
        if self._shuffle_seed is None:
            return whole
        import tensorflow as tf

        # All blocks but the last of a shard have the same size, so each is found by its number.
        block = row_block.ROWS_PER_BLOCK * self._schema.row_bytes
        record = _BEFORE + block + _AFTER
        blocks = -(-whole.stat().st_size // record)
        groups = -(-blocks // _SHUFFLED_BLOCKS)
        path = whole.with_name(f"{whole.name}-shuffled")
        rest: list[row_block.Rows] = []
        with whole.open("rb") as source, tf.io.TFRecordWriter(str(path)) as target:
            for group in range(groups):
                parts = []
                # Every `groups`-th block: rows that stood together are far apart afterwards.
                for number in range(group, blocks, groups):
                    source.seek(number * record + _BEFORE)
                    data = source.read(block + _AFTER)[:-_AFTER]
                    parts.append(row_block.decode(data, self._schema))
                rows = join([*rest, *parts])
                order = np.random.default_rng(
                    [self._shuffle_seed, *self._split.encode(), shard, group]
                ).permutation(len(rows))
                rows = rows.take(order)
                whole_rows = (
                    len(rows)
                    if group + 1 == groups
                    else len(rows) - len(rows) % row_block.ROWS_PER_BLOCK
                )
                for start in range(0, whole_rows, row_block.ROWS_PER_BLOCK):
                    target.write(
                        row_block.encode(
                            rows.take(
                                slice(start, min(start + row_block.ROWS_PER_BLOCK, whole_rows))
                            )
                        )
                    )
                rest = [rows.take(np.arange(whole_rows, len(rows)))]
        return path

    def _go_on(self, pending: bytes) -> None:
        """Cuts off what was written after the checkpoint,
        and opens a new piece of the last shard.
        """
        for shard, sizes in enumerate(self._pieces):
            for piece, size in enumerate(sizes):
                os.truncate(self._piece(shard, piece), size)
        if self._pieces:
            self._open_piece()
        if pending:
            self._pending = [row_block.decode(pending, self._schema)]
            self._pending_rows = len(self._pending[0])

    def _write(self, rows: row_block.Rows) -> None:
        if self._blocks % BLOCKS_PER_SHARD == 0:
            if self._stream is not None:
                self.close()
                self._pieces[-1][-1] = (
                    self._piece(len(self._pieces) - 1, len(self._pieces[-1]) - 1).stat().st_size
                )
            self._pieces.append([])
            self._open_piece()
        assert self._stream is not None
        self._stream.write(row_block.encode(rows))
        self._blocks += 1

    def _open_piece(self) -> None:
        import tensorflow as tf

        self._pieces[-1].append(0)
        path = self._piece(len(self._pieces) - 1, len(self._pieces[-1]) - 1)
        self._stream = tf.io.TFRecordWriter(str(path))

    def _piece(self, shard: int, piece: int) -> pathlib.Path:
        return self._directory / f"{self._split}-{shard:05d}.piece-{piece}"


def join(parts: "Sequence[row_block.Rows]") -> row_block.Rows:
    """All rows in order."""
    if len(parts) == 1:
        return parts[0]
    return row_block.Rows(
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.numerical for part in parts]),
        np.concatenate([part.labels for part in parts]),
        None
        if parts[0].group is None
        else np.concatenate([part.group for part in parts if part.group is not None]),
        None
        if parts[0].weight is None
        else np.concatenate([part.weight for part in parts if part.weight is not None]),
    )
