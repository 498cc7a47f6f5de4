"""What the rows of a dataset look like: columns, tasks, and what may be shared of them."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import errors, files

FORMAT_VERSION = 1
POLICIES = ("private", "shared")
ENCODINGS = ("identity", "hash", "vocabulary")


@dataclasses.dataclass(frozen=True)
class Categorical:
    """A categorical column.

    Attributes:
      name: the column's name, also the name of the served input.
      cardinality: how many known ids there are; ids are 0 to cardinality - 1. Id `cardinality` means unknown.
      policy: whether its embedding table may leave the client: `private` or `shared`.
      encoding: how a raw value becomes an id. `identity`: the value is the id. `hash`: FarmHash fingerprint of its text modulo
        cardinality (`tf.strings.to_hash_bucket_fast`). `vocabulary`: its place in `vocabulary`, else unknown.
      vocabulary: the known values, for `vocabulary` only; agreed beforehand, so equal in all scenarios.
    """

    name: str
    cardinality: int
    policy: str = "private"
    encoding: str = "identity"
    vocabulary: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Numerical:
    """A numerical column; `default` replaces a missing value where missing values are imputed, in training and in serving."""

    name: str
    default: float = 0.0


@dataclasses.dataclass(frozen=True)
class Task:
    """A binary task.

    Attributes:
      name: the task's name, also the name of the served output.
      column: the label column.
      given: a task on whose positive rows alone this one is defined (as conversion given click); None for all rows.
    """

    name: str
    column: str
    given: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Schema:
    """Columns and tasks of every scenario of a dataset.

    Attributes:
      categorical: categorical columns, in model order.
      numerical: numerical columns, in model order.
      tasks: tasks, in model order.
      group: the column whose values group the rows for grouped AUC, or None.
    """

    categorical: tuple[Categorical, ...]
    numerical: tuple[Numerical, ...]
    tasks: tuple[Task, ...]
    group: Optional[str] = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise errors.PfrecError("schema: no task; name at least one label column")
        if not self.categorical and not self.numerical:
            raise errors.PfrecError("schema: no feature; name at least one categorical or numerical column")
        names = [f.name for f in self.categorical] + [f.name for f in self.numerical] + [task.name for task in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise errors.PfrecError(f"schema: the name {name!r} stands twice; give every feature and task its own")
        for feature in self.categorical:
            if feature.policy not in POLICIES:
                raise errors.PfrecError(f"schema: {feature.name}: policy {feature.policy!r} is not one of {', '.join(POLICIES)}")
            if feature.encoding not in ENCODINGS:
                raise errors.PfrecError(
                    f"schema: {feature.name}: encoding {feature.encoding!r} is not one of {', '.join(ENCODINGS)}"
                )
            if feature.cardinality < 1:
                raise errors.PfrecError(f"schema: {feature.name}: cardinality {feature.cardinality} is below 1")
            if feature.encoding == "vocabulary" and len(feature.vocabulary) != feature.cardinality:
                raise errors.PfrecError(f"schema: {feature.name}: cardinality differs from the length of its vocabulary")
        known = {task.name for task in self.tasks}
        for task in self.tasks:
            if task.given is not None and (task.given not in known or task.given == task.name):
                raise errors.PfrecError(f"schema: task {task.name}: given = {task.given!r} is not another task")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in a row block: int32 ids, float32 numbers, uint8 labels, an int64 group."""
        return 4 * len(self.categorical) + 4 * len(self.numerical) + len(self.tasks) + 8 * (self.group is not None)

    def to_json(self) -> dict[str, Any]:
        """A value for `files.write_json`; `from_json` is its inverse."""
        value = dataclasses.asdict(self)
        value["format_version"] = FORMAT_VERSION
        return value

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, place: str) -> "Schema":
        """The schema that `to_json` described.

        Raises:
          PfrecError: where the value is of another version or has missing or unknown keys.
        """
        version = value.get("format_version")
        if version != FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: format version {version}, this pfrec reads {FORMAT_VERSION}; convert the raw data again"
            )
        try:
            return cls(
                categorical=tuple(Categorical(**{**c, "vocabulary": tuple(c.get("vocabulary", ()))}) for c in value["categorical"]),
                numerical=tuple(Numerical(**n) for n in value["numerical"]),
                tasks=tuple(Task(**t) for t in value["tasks"]),
                group=value["group"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.PfrecError(f"{place}: not a pfrec schema ({error}); convert the raw data again") from error

    @classmethod
    def read(cls, path: pathlib.Path) -> "Schema":
        """Reads `schema.json`.

        Raises:
          PfrecError: where the file is missing, damaged or of another version.
        """
        return cls.from_json(files.read_json(path, remedy="run pfrec-convert to make it"), place=str(path))
