"""Opens and verifies a dataset directory that pfrec-convert or the synthetic generator wrote."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import errors, files
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.dataset import writer

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
    """

    path: pathlib.Path
    scenarios: tuple[str, ...]
    schema: schema_lib.Schema
    counts: Mapping[str, Mapping[str, Counts]]
    files: Mapping[str, Mapping[str, Any]]
    source_format: str
    split_seed: int
    scenario_values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: "pathlib.Path | str") -> "Dataset":
        """Opens a dataset directory. Content is not read; `verify` does that.

        Raises:
          PfrecError: where a file is missing, has another size than when written, is of another
            format version, or where two scenarios' schemas differ.
        """
        path = pathlib.Path(path)
        place = path / writer.DATASET_FILE
        value = files.read_json(place, remedy="run pfrec-convert to make it, or check --data")
        version = value.get("format_version") if isinstance(value, dict) else None
        if version != schema_lib.FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: format version {version}, this pfrec reads {schema_lib.FORMAT_VERSION}; "
                f"{_REMEDY}"
            )
        try:
            scenarios = tuple(value["scenarios"])
            counts = {
                scenario: {
                    split: Counts(**value["counts"][scenario][split]) for split in splits.SPLITS
                }
                for scenario in scenarios
            }
            entries = {
                name: {"bytes": entry["bytes"], "sha256": entry["sha256"]}
                for name, entry in value["files"].items()
            }
            source_format, split_seed = value["format"], value["split_seed"]
            values, warnings = value.get("scenario_values", {}), value.get("warnings", [])
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.PfrecError(
                f"{place}: not a pfrec dataset ({error!r}); {_REMEDY}"
            ) from error
        if not scenarios:
            raise errors.PfrecError(f"{place}: names no scenario; {_REMEDY}")
        _check_sizes(path, entries)
        return cls(
            path,
            scenarios,
            _agreed_schema(path, scenarios),
            counts,
            entries,
            source_format,
            split_seed,
            dict(values),
            tuple(warnings),
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
        start = f"{scenario}/{split}-"
        return [
            str(self.path / name)
            for name in sorted(self.files)
            if name.startswith(start) and name.endswith(".tfrecord")
        ]

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
        """Reads every file and compares its checksum.

        Raises:
          PfrecError: naming the first file whose content is not what was written.
        """
        _check_sizes(self.path, self.files)
        for name, entry in sorted(self.files.items()):
            if files.sha256(self.path / name) != entry["sha256"]:
                raise errors.PfrecError(
                    f"{self.path / name}: damaged (its SHA-256 is not the recorded one); {_REMEDY}"
                )


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
            found = first_difference(
                one.get(key), other.get(key), f"{place}.{key}" if place else key
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
