"""What the rows of a dataset look like: columns, tasks, and what may be shared of them."""

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec import errors, files, json_fields
from pfrec.data.columns import ATTENTION as ATTENTION
from pfrec.data.columns import FIRST as FIRST
from pfrec.data.columns import LAST as LAST
from pfrec.data.columns import MEAN as MEAN
from pfrec.data.columns import NO_VALUE as NO_VALUE
from pfrec.data.columns import POLICIES as POLICIES
from pfrec.data.columns import Categorical as Categorical
from pfrec.data.columns import Numerical as Numerical
from pfrec.data.columns import Task as Task

FORMAT_VERSION = 1
_OPTIONAL = (
    *("min_count", "values", "separator", "normalise", "shift", "scale"),
    *("table", "keep", "pooling"),
    *("column", "positive", "negative", "unobserved", "positive_from", "missing"),
)
# Of the JSON form, by type; the rest is text.
_LISTS = ("vocabulary", "positive", "negative", "unobserved")
_COUNTS = {"cardinality": (1 << 31) - 2, "min_count": 1 << 53, "values": 1 << 16}
_NUMBERS, _NUMBERS_OR_NONE = ("shift", "scale"), ("default", "positive_from")


@dataclasses.dataclass(frozen=True)
class Schema:
    """Columns and tasks of every scenario of a dataset.

        >>> import pfrec
        >>> schema = pfrec.Dataset.open("data").schema
        >>> [task.name for task in schema.tasks], schema.categorical[0].policy
        (['click', 'buy'], 'shared')
        >>> schema == pfrec.Schema.from_json(schema.to_json(), place="a copy")
        True

    Attributes:
      categorical: categorical columns, in model order.
      numerical: numerical columns, in model order.
      tasks: tasks, in model order.
      group: the column whose values group the rows for grouped AUC, or None.
      weight: the column of numbers that rows' losses are multiplied by, or None; metrics count all
        rows alike.
    """

    categorical: tuple[Categorical, ...]
    numerical: tuple[Numerical, ...]
    tasks: tuple[Task, ...]
    group: Optional[str] = None
    weight: Optional[str] = None

    def __post_init__(self) -> None:
        if not self.tasks:
            raise errors.PfrecError("schema: no task; name at least one label column")
        if not self.categorical and not self.numerical:
            raise errors.PfrecError(
                "schema: no feature; name at least one categorical or numerical column"
            )
        names = (
            [f.name for f in self.categorical]
            + [f.name for f in self.numerical]
            + [task.name for task in self.tasks]
        )
        for name in names:
            if names.count(name) > 1:
                raise errors.PfrecError(
                    f"schema: the name {name!r} stands twice; give every feature and task its own"
                )
        for feature in self.categorical:
            feature.check()
        for column in self.numerical:
            column.check()
        known = {task.name for task in self.tasks}
        for task in self.tasks:
            if task.given is not None and (task.given not in known or task.given == task.name):
                raise errors.PfrecError(
                    f"schema: task {task.name}: given = {task.given!r} is not another task"
                )
            task.check_labels()
        self._check_circles()
        self._check_tables()

    def _check_tables(self) -> None:
        features = {feature.name: feature for feature in self.categorical}
        alike = ("cardinality", "policy", "encoding", "vocabulary", "min_count")
        for feature in self.categorical:
            place, owner = f"schema: {feature.name}", features.get(feature.table)
            if feature.table and (owner is None or owner.table or owner is feature):
                raise errors.PfrecError(
                    f"{place}: table = {feature.table!r} is no other categorical feature with a "
                    "table of its own"
                )
            if owner is not None:
                for name in alike:
                    if getattr(feature, name) != getattr(owner, name):
                        raise errors.PfrecError(
                            f"{place}: {name} is not that of {owner.name}, whose table it reads"
                        )
            if feature.keep not in (FIRST, LAST) or feature.pooling not in (MEAN, ATTENTION):
                raise errors.PfrecError(
                    f"{place}: keep = {feature.keep!r} is {FIRST} or {LAST}, pooling = "
                    f"{feature.pooling!r} is {MEAN} or {ATTENTION}"
                )
            if (feature.keep, feature.pooling) != (FIRST, MEAN) and feature.values == 1:
                raise errors.PfrecError(
                    f"{place}: keep and pooling go with a list; say with values how many of its "
                    "values count at most"
                )
            if feature.pooling == ATTENTION and (owner is None or owner.values > 1):
                raise errors.PfrecError(
                    f"{place}: attention needs a target: name a feature of one value as table"
                )

    def _check_circles(self) -> None:
        given = {task.name: task.given for task in self.tasks}
        for task in self.tasks:
            above, steps = task.given, 0
            while above is not None:
                steps += 1
                if steps > len(given):
                    raise errors.PfrecError(
                        f"schema: task {task.name}: tasks are given each other in a circle; "
                        "leave one given out"
                    )
                above = given[above]

    @property
    def id_columns(self) -> int:
        """How many ids a row has: one per categorical feature,
        or as many as a list may have values.
        """
        return sum(feature.values for feature in self.categorical)

    @property
    def id_places(self) -> tuple[slice, ...]:
        """Where the ids of each categorical feature stand among those of a row."""
        ends = list(itertools.accumulate(feature.values for feature in self.categorical))
        return tuple(
            slice(end - feature.values, end) for feature, end in zip(self.categorical, ends)
        )

    @property
    def number_columns(self) -> int:
        """How many numbers a row has: one per numerical feature, or as many as its vector."""
        return sum(column.values for column in self.numerical)

    @property
    def number_places(self) -> tuple[slice, ...]:
        """Where the numbers of each numerical feature stand among those of a row."""
        ends = list(itertools.accumulate(column.values for column in self.numerical))
        return tuple(slice(end - column.values, end) for column, end in zip(self.numerical, ends))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row in a row block: int32 ids, float32 numbers, uint8 labels,
        an int64 group, a float32 weight.
        """
        return (
            4 * self.id_columns
            + 4 * self.number_columns
            + len(self.tasks)
            + 8 * (self.group is not None)
            + 4 * (self.weight is not None)
        )

    def to_json(self) -> dict[str, Any]:
        """A value for `files.write_json`; `from_json` is its inverse."""
        value = dataclasses.asdict(self)
        value["format_version"] = FORMAT_VERSION
        # Only where they say something: a reader that does not know them then reads every schema
        # that it can follow.
        for entry, known in zip(
            [*value["categorical"], *value["numerical"], *value["tasks"]],
            [*self.categorical, *self.numerical, *self.tasks],
        ):
            for name in _OPTIONAL:
                if name in entry and getattr(known, name) == getattr(type(known), name, None):
                    del entry[name]
        if self.weight is None:
            del value["weight"]
        return value

    def of_tasks(self, names: "Sequence[str]") -> "Schema":
        """The schema with some of its tasks alone, in its order."""
        tasks = tuple(task for task in self.tasks if task.name in names)
        return self if tasks == self.tasks else dataclasses.replace(self, tasks=tasks)

    @property
    def local(self) -> bool:
        """Whether something of it is computed by each client for itself."""
        return any(f.encoding == "local_vocabulary" for f in self.categorical) or any(
            column.normalise != "none" for column in self.numerical
        )

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, place: str) -> "Schema":
        """The schema that `to_json` described.

        Raises:
          PfrecError: where the value is of another version or has missing or unknown keys.
        """
        version = value.get("format_version") if isinstance(value, Mapping) else None
        if version != FORMAT_VERSION:
            raise errors.PfrecError(
                f"{place}: format version {version!r}, this pfrec reads {FORMAT_VERSION}; convert "
                "the raw data again"
            )
        told = json_fields.Fields(value, f"{place}: schema", "convert the raw data again")
        parts = {
            name: [_typed(entry) for entry in told.each(name)]
            for name in ("categorical", "numerical", "tasks")
        }
        try:
            return cls(
                categorical=tuple(Categorical(**entry) for entry in parts["categorical"]),
                numerical=tuple(Numerical(**entry) for entry in parts["numerical"]),
                tasks=tuple(Task(**entry) for entry in parts["tasks"]),
                group=None if told.plain("group") is None else told.text("group"),
                weight=told.text("weight") if "weight" in told.names() else None,
            )
        except TypeError as error:
            raise errors.PfrecError(
                f"{place}: not a pfrec schema ({error}); convert the raw data again"
            ) from error

    @classmethod
    def read(cls, path: pathlib.Path) -> "Schema":
        """Reads `schema.json`.

        Raises:
          PfrecError: where the file is missing, damaged or of another version.
        """
        return cls.from_json(
            files.read_json(path, remedy="run pfrec-convert to make it"), place=str(path)
        )


def _typed(entry: json_fields.Fields) -> dict[str, Any]:
    """The fields of a feature or task as its JSON form holds them; unknown ones as they are.

    Raises:
      PfrecError: where one is of another type or out of range.
    """
    found: dict[str, Any] = {}
    for name in entry.names():
        if name in _LISTS:
            found[name] = entry.texts(name, distinct=False)
        elif name in _COUNTS:
            found[name] = entry.integer(name, 1, _COUNTS[name])
        elif name in _NUMBERS or name in _NUMBERS_OR_NONE:
            found[name] = entry.number(name, none=name in _NUMBERS_OR_NONE)
        elif name == "given" and entry.plain(name) is None:
            found[name] = None
        else:
            found[name] = entry.text(name)
    return found
