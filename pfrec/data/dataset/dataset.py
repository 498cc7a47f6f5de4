"""Opens and verifies a dataset directory that pfrec-convert or the synthetic generator wrote."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec import errors, files, json_fields, names
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import row_check, writer

_REMEDY = "run pfrec-convert to make it anew"


@dataclasses.dataclass(frozen=True)
class Counts:
    """What a scenario's split holds.

    Attributes:
      rows: its rows.
      observed: per task, the rows whose label is observed.
      positives: per task, the rows whose label is 1.
    """

    rows: int
    observed: Mapping[str, int]
    positives: Mapping[str, int]

    def rate(self, task: str) -> float:
        """The part of positives among observed labels; NaN where none is observed."""
        return self.positives[task] / self.observed[task] if self.observed[task] else float("nan")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset on disk; `open` makes one.

        >>> import pfrec
        >>> data = pfrec.Dataset.open("data")
        >>> data.scenarios
        ('fr', 'nl')
        >>> sum(data.rows("nl", split) for split in ("train", "valid", "test"))
        600

    Attributes:
      path: its directory.
      scenarios: scenario names in order.
      schema: columns and tasks, equal in all scenarios.
      counts: per scenario and split (`train`, `valid`, `test`).
      files: per file, relative to `path`, its size in bytes and SHA-256.
      source_format: the format it was converted from.
      split_seed: the seed of its split.
      scenario_values: what a scenario is called in the raw data, where its name differs from it.
      warnings: what the conversion found that spoils training, a line each.
      digests: per scenario, what its rows are told by: a SHA-256 over the names and checksums of
        its files. Of silos a keyed one, which tells whether rows are the same and nothing else.
    """

    path: pathlib.Path
    scenarios: tuple[str, ...]
    schema: schema_lib.Schema = dataclasses.field(repr=False)
    counts: Mapping[str, Mapping[str, Counts]] = dataclasses.field(repr=False)
    files: Mapping[str, Mapping[str, Any]] = dataclasses.field(repr=False)
    source_format: str
    split_seed: int
    scenario_values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    digests: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: "pathlib.Path | str") -> "Dataset":
        """Opens a dataset directory. Content is not read; `verify` does that.

        Raises:
          PfrecError: where a file is missing, has another size than when written, is of another
            format version, or where two scenarios' schemas differ.
        """
        path = pathlib.Path(path)
        place = path / writer.DATASET_FILE
        value = files.read_json(place, remedy="let pfrec-convert make it, or name what it wrote")
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != schema_lib.FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: format version {version}, this pfrec reads {schema_lib.FORMAT_VERSION}; "
                f"{_REMEDY}"
            )
        told = json_fields.Fields(value, str(place), _REMEDY)
        scenarios = tuple(names.require(name, place=str(place)) for name in told.texts("scenarios"))
        if not scenarios:
            raise errors.PfrecError(f"{place}: names no scenario; {_REMEDY}")
        entries = _entries(told.fields("files"), place)
        source_format, split_seed = (
            told.text("format"),
            told.integer("split_seed", -(1 << 64), 1 << 64),
        )
        called = told.fields("scenario_values") if "scenario_values" in told else None
        values = {name: called.text(name) for name in called.names()} if called else {}
        warnings = told.texts("warnings", distinct=False) if "warnings" in told else ()
        _check_sizes(path, entries)
        schema = _agreed_schema(path, scenarios)
        counts = {
            scenario: {
                split: _counts(told.fields("counts").fields(scenario).fields(split), schema)
                for split in splits.SPLITS
            }
            for scenario in scenarios
        }
        return cls(
            path,
            scenarios,
            schema,
            counts,
            entries,
            source_format,
            split_seed,
            values,
            warnings,
            _digests(scenarios, entries),
        )

    def only(self, scenarios: "Sequence[str]") -> "Dataset":
        """The dataset with some of its scenarios alone, in its order.

        Raises:
          PfrecError: where one of them is unknown, or there is none.
        """
        errors.require_kind(
            scenarios, (list, tuple, set, frozenset), "only: scenarios", "list them"
        )
        unknown = [name for name in scenarios if name not in self.scenarios]
        if unknown or not scenarios:
            raise errors.PfrecError(
                f"{self.path}: no scenario {', '.join(map(repr, unknown)) or 'is named'}; there "
                f"are {', '.join(self.scenarios)}"
            )
        return dataclasses.replace(
            self, scenarios=tuple(name for name in self.scenarios if name in scenarios)
        )

    def rows(self, scenario: str, split: str) -> int:
        """Rows of a scenario's split."""
        return self.counts[scenario][split].rows

    def observed(self, scenario: str, split: str, task: str) -> int:
        """Rows of a scenario's split whose label of `task` is observed."""
        return self.counts[scenario][split].observed[task]

    def positives(self, scenario: str, split: str, task: str) -> int:
        """Rows of a scenario's split whose label of `task` is 1."""
        return self.counts[scenario][split].positives[task]

    def shards(self, scenario: str, split: str) -> list[str]:
        """Paths of the TFRecord shards of a scenario's split, in order.

        Raises:
          PfrecError: where there is no such scenario or split.
        """
        if scenario not in self.scenarios or split not in splits.SPLITS:
            raise errors.PfrecError(
                f"{self.path}: no {split!r} rows of scenario {scenario!r}; "
                f"scenarios are {', '.join(self.scenarios)}, splits {', '.join(splits.SPLITS)}"
            )
        return [str(self.path / name) for name in self._shards.get((scenario, split), ())]

    @functools.cached_property
    def _shards(self) -> "Mapping[tuple[str, str], Sequence[str]]":
        """By scenario and split, names of shards in order: clients' calls ask for them again and
        again, and all files looked through for each would be clients squared.
        """
        found: dict[tuple[str, str], list[str]] = {}
        for name in sorted(self.files):
            scenario, _, own = name.rpartition("/")
            if own.endswith(".tfrecord"):
                found.setdefault((scenario, own.partition("-")[0]), []).append(name)
        return found

    def client_schema(self, scenario: str) -> schema_lib.Schema:
        """The schema as the scenario's own client knows it:
        with its vocabularies and statistics of private features filled in.

        For that client's preprocessing and export alone; it must not leave the client. Equal to
        `schema` where nothing is local.

        Raises:
          PfrecError: where there is no such scenario, or the file is damaged.
        """
        if scenario not in self.scenarios:
            raise errors.PfrecError(
                f"{self.path}: no scenario {scenario!r}; scenarios are {', '.join(self.scenarios)}"
            )
        name = f"{scenario}/{writer.CLIENT_SCHEMA_FILE}"
        return schema_lib.Schema.read(self.path / name) if name in self.files else self.schema

    def verify(self) -> None:
        """Reads every file, compares its checksum, and checks every row and the counts.

        Raises:
          PfrecError: naming the first file whose content is not what was written, or is nothing
            that a conversion writes.
        """
        _check_sizes(self.path, self.files)
        shards = {
            str(shard)
            for s in self.scenarios
            for split in splits.SPLITS
            for shard in self.shards(s, split)
        }
        for name, entry in sorted(self.files.items()):
            if str(self.path / name) not in shards:
                _compare(self.path / name, files.sha256(self.path / name), entry)
        for scenario in self.scenarios:
            for split in splits.SPLITS:
                self._verify_rows(scenario, split)

    def _verify_rows(self, scenario: str, split: str) -> None:
        tally = row_check.Tally.empty(self.schema)
        for shard in map(pathlib.Path, self.shards(scenario, split)):
            own = self.files[shard.relative_to(self.path).as_posix()]
            try:
                found = row_check.check(shard, self.schema, tally)
            except errors.PfrecError:
                # Where the file was changed since, that is what to say.
                _compare(shard, files.sha256(shard), own)
                raise
            _compare(shard, found, own)
        tasks = [task.name for task in self.schema.tasks]
        counts = Counts(
            tally.rows,
            dict(zip(tasks, tally.observed.tolist())),
            dict(zip(tasks, tally.positives.tolist())),
        )
        if counts != self.counts[scenario][split]:
            raise errors.PfrecError(
                f"{self.path / writer.DATASET_FILE}: says other counts of {scenario} {split} than "
                f"its rows have ({tally.rows} rows); {_REMEDY}"
            )


def _compare(path: pathlib.Path, found: str, entry: Mapping[str, Any]) -> None:
    if found != entry["sha256"]:
        raise errors.PfrecError(f"{path}: damaged (its SHA-256 is not the recorded one); {_REMEDY}")


def _entries(told: json_fields.Fields, place: pathlib.Path) -> "dict[str, dict[str, Any]]":
    found = {}
    for name in told.names():
        directory, _, file = name.partition("/")
        if not names.is_name(directory) or not names.is_name(file):
            raise errors.PfrecError(f"{place}: {name!r} is no file of a scenario; {_REMEDY}")
        entry = told.fields(name)
        found[name] = {"bytes": entry.integer("bytes"), "sha256": entry.text("sha256")}
    return found


def _counts(told: json_fields.Fields, schema: schema_lib.Schema) -> Counts:
    rows = told.integer("rows", 1)
    observed, positives = told.fields("observed"), told.fields("positives")
    seen = {task.name: observed.integer(task.name, 0, rows) for task in schema.tasks}
    return Counts(
        rows,
        seen,
        {task.name: positives.integer(task.name, 0, seen[task.name]) for task in schema.tasks},
    )


def _digests(
    scenarios: "Sequence[str]", entries: Mapping[str, Mapping[str, Any]]
) -> "dict[str, str]":
    own: dict[str, dict[str, str]] = {scenario: {} for scenario in scenarios}
    for name, entry in entries.items():
        scenario = name.partition("/")[0]
        if scenario in own:
            own[scenario][name] = entry["sha256"]
    return {
        scenario: hashlib.sha256(files.json_text(of).encode()).hexdigest()
        for scenario, of in own.items()
    }


def _check_sizes(path: pathlib.Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    for name, entry in sorted(entries.items()):
        file = path / name
        if not file.is_file():
            raise errors.PfrecError(
                f"{file}: no such file, though {writer.DATASET_FILE} lists it; {_REMEDY}"
            )
        if file.stat().st_size != entry["bytes"]:
            raise errors.PfrecError(
                f"{file}: damaged ({file.stat().st_size} bytes where {entry['bytes']} were "
                f"written); {_REMEDY}"
            )


def _agreed_schema(path: pathlib.Path, scenarios: tuple[str, ...]) -> schema_lib.Schema:
    """The schema that all scenarios have."""
    first = schema_lib.Schema.read(path / scenarios[0] / writer.SCHEMA_FILE)
    for scenario in scenarios[1:]:
        other = schema_lib.Schema.read(path / scenario / writer.SCHEMA_FILE)
        if other != first:
            difference = first_difference(first.to_json(), other.to_json())
            raise errors.PfrecError(
                f"{path}: the schemas of scenarios {scenarios[0]!r} and {scenario!r} differ: "
                f"{difference}; "
                "convert both with the same schema"
            )
    return first


def first_difference(one: Any, other: Any, place: str = "") -> Optional[str]:
    """Where two JSON values first differ, in words; None where they are equal."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            # Of another party a key could be codes for a terminal.
            named = key if key.isprintable() else repr(key)
            found = first_difference(
                one.get(key), other.get(key), f"{place}.{named}" if place else named
            )
            if found:
                return found
        return None
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        for i, (a, b) in enumerate(zip(one, other)):
            found = first_difference(a, b, f"{place}[{_called(a, b) or i}]")
            if found:
                return found
        return (
            None
            if len(one) == len(other)
            else f"{place} has {len(one)} entries against {len(other)}"
        )
    return None if one == other else f"{place} is {one!r} against {other!r}"


def _called(one: Any, other: Any) -> Optional[str]:
    """The name that two entries of a list share, in quotes."""
    alike = (
        isinstance(one, dict) and isinstance(other, dict) and one.get("name") == other.get("name")
    )
    return repr(one["name"]) if alike and one.get("name") is not None else None
