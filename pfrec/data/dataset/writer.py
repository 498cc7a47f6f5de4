"""Writes a dataset directory: shards of row blocks, schemas, counts and checksums."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, Optional

from pfrec import errors, files
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import row_block, shards
from pfrec.data.reading import source

DATASET_FILE = "dataset.json"
SCHEMA_FILE = "schema.json"
# What only the scenario's own client knows of the schema: vocabularies and statistics of private
# features. Never leaves it.
CLIENT_SCHEMA_FILE = "client_schema.json"
# Shuffling a shard takes the memory of some blocks.
_FINISHED_AT_ONCE = 2


@dataclasses.dataclass(frozen=True)
class Kept:
    """Rows of a scenario's split that another dataset holds already.

    Attributes:
      shards: their files, in order.
      entries: of each, what the dataset file says of it.
      counts: `rows`, and per task `observed` and `positives`.
    """

    shards: tuple[pathlib.Path, ...]
    entries: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, Any]


class DatasetWriter:
    """A dataset directory that appears whole when the `with` block ends, or not at all.

    Memory does not grow with the data: each scenario and split holds less than one block of rows,
    and one open file. The files depend on the rows and their order alone, not on how `add` was
    called nor on where writing was interrupted.

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
        directory: Optional[pathlib.Path] = None,
        state: Optional[Mapping[str, Any]] = None,
        shuffle: bool = False,
        kept: "Optional[Mapping[tuple[str, str], Kept]]" = None,
    ):
        """Prepares a writer; nothing is written before `with`.

        Args:
          path: the dataset directory; must not exist or be empty.
          schema: the schema of all scenarios.
          source_format: name of the format the rows come from, for the record.
          split_seed: seed of the split, for the record.
          scenarios: all scenarios in order; None to take those that `add` names, sorted.
          options: further settings the rows depend on, for the record; JSON values.
          directory: an existing directory to write in, which the caller makes visible as `path`;
            None to let the writer do both.
          state: what `checkpoint` returned, to go on from there in the same `directory`.
          shuffle: whether the rows of each shard are stored in an order of their own, a function of
            `split_seed`, as those of a log should be.
          kept: rows of another dataset, by scenario and split, that come before those added; their
            files are linked, or copied where that cannot be.
        """
        self._kept = dict(kept or {})
        self._shuffle_seed = split_seed % (1 << 64) if shuffle else None
        self._path = path
        self._schema = schema
        self._scenarios = None if scenarios is None else tuple(scenarios)
        self._record: dict[str, Any] = {
            "format": source_format,
            "split_seed": split_seed,
            "options": dict(options or {}),
        }
        self._shards: dict[tuple[str, str], shards.ShardWriter] = {}
        self._given, self._state = directory, state
        self._directory = path if directory is None else directory
        self._client_schemas: Mapping[str, schema_lib.Schema] = {}
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
        shard = self._shards.get((scenario, split)) or self._open(scenario, split, None)
        shard.add(rows)

    def checkpoint(self) -> dict[str, Any]:
        """Makes what was added survive a kill and returns a JSON value to go on from."""
        return {"shards": [[*key, shard.checkpoint()] for key, shard in self._shards.items()]}

    def record(self, name: str, value: Any) -> None:
        """Adds a JSON value to the dataset file."""
        self._record[name] = value

    def describe_clients(self, schemas: Mapping[str, schema_lib.Schema]) -> None:
        """Names, per scenario, what only its client knows of the schema;
        written beside the scenario's rows.
        """
        self._client_schemas = schemas

    @contextlib.contextmanager
    def _writing(self) -> Iterator["DatasetWriter"]:
        whole = (
            files.whole_directory(self._path)
            if self._given is None
            else contextlib.nullcontext(self._given)
        )
        with whole as directory:
            self._directory = directory
            try:
                for scenario, split, state in (self._state or {}).get("shards", []):
                    self._open(scenario, split, state)
                yield self
                self.require_rows()
                finished = self._finished()
            finally:
                for shard in self._shards.values():
                    shard.close()
            self._describe(finished)

    def _finished(
        self,
    ) -> "dict[tuple[str, str], Sequence[tuple[pathlib.Path, pathlib.Path]]]":
        """Ends all shards, two at a time: each is a file of its own."""

        def finish(key: "tuple[str, str]") -> "Sequence[tuple[pathlib.Path, pathlib.Path]]":
            return self._shards[key].finish(len(self._kept[key].shards) if key in self._kept else 0)

        with futures.ThreadPoolExecutor(_FINISHED_AT_ONCE) as pool:
            return dict(zip(self._shards, pool.map(finish, self._shards)))

    def _open(
        self, scenario: str, split: str, state: Optional[Mapping[str, Any]]
    ) -> shards.ShardWriter:
        source.check_scenario_name(scenario, place=str(self._path))
        if self._scenarios is not None and scenario not in self._scenarios:
            raise ValueError(f"scenario {scenario!r} is not one of {self._scenarios}")
        (self._directory / scenario).mkdir(exist_ok=True)
        shard = shards.ShardWriter(
            self._directory / scenario, split, self._schema, state, self._shuffle_seed
        )
        self._shards[scenario, split] = shard
        return shard

    def _names(self) -> tuple[str, ...]:
        return (
            self._scenarios
            if self._scenarios is not None
            else tuple(sorted({scenario for scenario, _ in [*self._shards, *self._kept]}))
        )

    def require_rows(self, bad_rows: int = 0, place: Optional[str] = None) -> None:
        """Checks that every scenario has rows of every split.

        Args:
          bad_rows: how many rows were left out as bad ones, for the message.
          place: where rows are read, for the message; None for the dataset's path.

        Raises:
          PfrecError: naming all scenarios that lack some.
        """
        place = place or str(self._path)
        bad = f"; {bad_rows:,} bad rows were left out" if bad_rows else ""
        if not self._shards:
            what = "no good row" if bad_rows else "no rows at all"
            raise errors.PfrecError(f"{place}: {what}{bad}; check the input files")
        troubled = []
        for scenario in self._names():
            lacking = [
                name
                for name in splits.SPLITS
                if (scenario, name) not in self._shards and (scenario, name) not in self._kept
            ]
            if lacking:
                troubled.append(f"scenario {scenario!r} has no {' and no '.join(lacking)} rows")
        if troubled:
            raise errors.PfrecError(
                f"{place}: {', '.join(troubled)}{bad}; leave it out (--scenarios, "
                "--min_rows), give it more rows, or change the split's fractions or --split_seed"
            )

    def _describe(
        self, finished: "Mapping[tuple[str, str], Sequence[tuple[pathlib.Path, pathlib.Path]]]"
    ) -> None:
        """Writes schemas, names the shards, and writes the dataset file with counts,
        sizes and checksums.
        """
        tasks = [task.name for task in self._schema.tasks]
        counts: dict[str, dict[str, Any]] = {}
        entries = {}
        described: dict[str, pathlib.Path] = {}
        for scenario in self._names():
            directory = self._directory / scenario
            directory.mkdir(exist_ok=True)
            files.write_json(directory / SCHEMA_FILE, self._schema.to_json())
            written = [(directory / SCHEMA_FILE, directory / SCHEMA_FILE)]
            if scenario in self._client_schemas:
                path = directory / CLIENT_SCHEMA_FILE
                files.write_json(path, self._client_schemas[scenario].to_json())
                written.append((path, path))
            counts[scenario] = {}
            for split in splits.SPLITS:
                key = (scenario, split)
                own = self._shards[key].counts() if key in self._shards else None
                kept = self._kept.get(key)
                if kept is not None:
                    for path, entry in zip(kept.shards, kept.entries):
                        files.link(path, directory / path.name)
                        entries[f"{scenario}/{path.name}"] = dict(entry)
                told = [part for part in (own, kept.counts if kept else None) if part is not None]
                counts[scenario][split] = {
                    "rows": sum(part["rows"] for part in told),
                    **{
                        name: {task: sum(part[name][task] for part in told) for task in tasks}
                        for name in ("observed", "positives")
                    },
                }
                written += finished.get(key, ())
            for path, final in written:
                described[f"{scenario}/{final.name}"] = path
        with futures.ThreadPoolExecutor(_FINISHED_AT_ONCE) as pool:
            for (name, path), digest in zip(
                described.items(), pool.map(files.sha256, described.values())
            ):
                entries[name] = {"bytes": path.stat().st_size, "sha256": digest}
        # Last: until here a conversion that is killed can go on from its last checkpoint.
        for key, shard in self._shards.items():
            shard.rename(finished[key])
        value = {
            "format_version": schema_lib.FORMAT_VERSION,
            "scenarios": list(self._names()),
            "counts": counts,
            "files": entries,
        }
        files.write_json(self._directory / DATASET_FILE, {**value, **self._record})
