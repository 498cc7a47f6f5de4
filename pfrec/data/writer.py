"""Writes a dataset directory: shards of row blocks, schemas, counts and checksums."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors, files
from pfrec.data import row_block, source, splits
from pfrec.data import schema as schema_lib

DATASET_FILE = "dataset.json"
SCHEMA_FILE = "schema.json"


@dataclasses.dataclass
class _Shard:
    """A shard being written: its TFRecord stream, rows that do not fill a block yet, and what was counted."""

    stream: Any
    pending: "list[row_block.Rows]"
    pending_rows: int
    rows: int
    observed: np.ndarray
    positives: np.ndarray


class DatasetWriter:
    """A dataset directory that appears whole when the `with` block ends, or not at all.

    Memory does not grow with the data: each scenario and split holds less than one block of rows, and one open file. The files
    depend on the rows and their order alone, not on how `add` was called.

    Example:
      with DatasetWriter(path, schema, source_format="csv", split_seed=0) as writer:
          writer.add("NL", "train", rows)
    """

    def __init__(
        self,
        path: pathlib.Path,
        schema: schema_lib.Schema,
        *,
        source_format: str,
        split_seed: int,
        scenarios: Optional[Sequence[str]] = None,
        options: Optional[Mapping[str, Any]] = None,
    ):
        """Prepares a writer; nothing is written before `with`.

        Args:
          path: the dataset directory; must not exist or be empty.
          schema: the schema of all scenarios.
          source_format: name of the format the rows come from, for the record.
          split_seed: seed of the split, for the record.
          scenarios: all scenarios in order; None to take those that `add` names, sorted.
          options: further settings the rows depend on, for the record; JSON values.
        """
        self._path = path
        self._schema = schema
        self._scenarios = None if scenarios is None else tuple(scenarios)
        self._record = {"format": source_format, "split_seed": split_seed, "options": dict(options or {})}
        self._shards: dict[tuple[str, str], _Shard] = {}
        self._directory = path
        self._context: Optional[contextlib.AbstractContextManager[DatasetWriter]] = None

    def __enter__(self) -> "DatasetWriter":
        self._context = self._writing()
        return self._context.__enter__()

    def __exit__(self, *raised: Any) -> Optional[bool]:
        assert self._context is not None
        return self._context.__exit__(*raised)

    def add(self, scenario: str, split: str, rows: row_block.Rows) -> None:
        """Appends rows to a scenario's split.

        Raises:
          PfrecError: where the scenario's name cannot be a directory's, or the disk is full.
        """
        if split not in splits.SPLITS:
            raise ValueError(f"split {split!r} is not one of {splits.SPLITS}")
        if not len(rows):
            return
        shard = self._shards.get((scenario, split)) or self._open(scenario, split)
        shard.rows += len(rows)
        shard.observed += (rows.labels != row_block.UNOBSERVED).sum(axis=0)
        shard.positives += (rows.labels == 1).sum(axis=0)
        shard.pending.append(rows)
        shard.pending_rows += len(rows)
        if shard.pending_rows >= row_block.ROWS_PER_BLOCK:
            joined = _join(shard.pending)
            whole = len(joined) - len(joined) % row_block.ROWS_PER_BLOCK
            for start in range(0, whole, row_block.ROWS_PER_BLOCK):
                shard.stream.write(row_block.encode(joined.take(slice(start, start + row_block.ROWS_PER_BLOCK))))
            # Copied, so that a few rows left over do not keep a whole chunk in memory.
            shard.pending = [joined.take(np.arange(whole, len(joined)))]
            shard.pending_rows = len(joined) - whole

    @contextlib.contextmanager
    def _writing(self) -> Iterator["DatasetWriter"]:
        with files.whole_directory(self._path) as directory, _readable_tensorflow_errors(self._path):
            self._directory = directory
            try:
                yield self
                self._require_rows()
                for shard in self._shards.values():
                    if shard.pending_rows:
                        shard.stream.write(row_block.encode(_join(shard.pending)))
            finally:
                for shard in self._shards.values():
                    shard.stream.close()
            self._describe()

    def _open(self, scenario: str, split: str) -> _Shard:
        import tensorflow as tf

        source.check_scenario_name(scenario, place=str(self._path))
        if self._scenarios is not None and scenario not in self._scenarios:
            raise ValueError(f"scenario {scenario!r} is not one of {self._scenarios}")
        (self._directory / scenario).mkdir(exist_ok=True)
        stream = tf.io.TFRecordWriter(str(self._directory / scenario / _shard_name(split)))
        tasks = len(self._schema.tasks)
        shard = _Shard(stream, [], 0, 0, np.zeros(tasks, np.int64), np.zeros(tasks, np.int64))
        self._shards[scenario, split] = shard
        return shard

    def _names(self) -> tuple[str, ...]:
        return self._scenarios if self._scenarios is not None else tuple(sorted({scenario for scenario, _ in self._shards}))

    def _require_rows(self) -> None:
        if not self._names():
            raise errors.PfrecError(f"{self._path}: no rows at all; check that the input files hold rows")
        for scenario in self._names():
            for split in splits.SPLITS:
                if (scenario, split) not in self._shards:
                    raise errors.PfrecError(
                        f"{self._path}: scenario {scenario!r} has no {split} rows; "
                        "leave it out, give it more rows, or change the split's fractions or --split_seed"
                    )

    def _describe(self) -> None:
        """Writes schemas, then the dataset file with counts, sizes and checksums."""
        tasks = [task.name for task in self._schema.tasks]
        counts: dict[str, dict[str, Any]] = {}
        entries = {}
        for scenario in self._names():
            files.write_json(self._directory / scenario / SCHEMA_FILE, self._schema.to_json())
            counts[scenario] = {}
            for split in splits.SPLITS:
                shard = self._shards[scenario, split]
                counts[scenario][split] = {
                    "rows": shard.rows,
                    "observed": dict(zip(tasks, shard.observed.tolist())),
                    "positives": dict(zip(tasks, shard.positives.tolist())),
                }
            for name in (SCHEMA_FILE, *map(_shard_name, splits.SPLITS)):
                path = self._directory / scenario / name
                entries[f"{scenario}/{name}"] = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        value = {"format_version": schema_lib.FORMAT_VERSION, "scenarios": list(self._names()), "counts": counts, "files": entries}
        files.write_json(self._directory / DATASET_FILE, {**value, **self._record})


def _shard_name(split: str) -> str:
    return f"{split}-00000-of-00001.tfrecord"


def _join(parts: "Sequence[row_block.Rows]") -> row_block.Rows:
    """All rows in order."""
    if len(parts) == 1:
        return parts[0]
    return row_block.Rows(
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.numerical for part in parts]),
        np.concatenate([part.labels for part in parts]),
        None if parts[0].group is None else np.concatenate([part.group for part in parts if part.group is not None]),
    )


@contextlib.contextmanager
def _readable_tensorflow_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns what TensorFlow raises where a shard cannot be written (no space left) into one line."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = " ".join(str(error.message).split())
        remedy = "raise the limit with `ulimit -n`" if "Too many open files" in reason else "free space or choose another path"
        raise errors.PfrecError(f"{path}: cannot be written ({reason}); {remedy}") from error
