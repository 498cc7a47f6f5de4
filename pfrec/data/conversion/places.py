"""Where a schema's values are read from, which may change from one month's log to the next while
what they mean stays: the raw columns, and what stands between the values of a list in text.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from pfrec.data import schema as schema_lib

_Feature = TypeVar("_Feature", schema_lib.Categorical, schema_lib.Numerical)


def of(schema: schema_lib.Schema) -> "dict[str, Any]":
    """The places of a schema's values, as a JSON value."""
    return {
        "categorical": {f.name: [f.raw, f.separator] for f in schema.categorical},
        "numerical": {c.name: [c.raw, c.separator] for c in schema.numerical},
        "tasks": {task.name: task.column for task in schema.tasks},
        "group": schema.group,
        "weight": schema.weight,
    }


def moved(schema: schema_lib.Schema, told: Mapping[str, Any]) -> schema_lib.Schema:
    """A schema whose values stand in the places of another.

    Args:
      schema: what the values mean.
      told: what `of` says of a schema of the same features and tasks.

    Raises:
      KeyError, ValueError, TypeError: where `told` is of no such schema.
    """
    return dataclasses.replace(
        schema,
        categorical=tuple(_moved(f, *told["categorical"][f.name]) for f in schema.categorical),
        numerical=tuple(_moved(c, *told["numerical"][c.name]) for c in schema.numerical),
        tasks=tuple(dataclasses.replace(t, column=told["tasks"][t.name]) for t in schema.tasks),
        group=told["group"],
        weight=told["weight"],
    )


def _moved(feature: _Feature, column: str, separator: str) -> _Feature:
    # As a schema that is read from TOML says it: nothing where the column is called as the feature.
    column = "" if column == feature.name else column
    return dataclasses.replace(feature, column=column, separator=separator)


def meaning(schema: schema_lib.Schema) -> "dict[str, Any]":
    """A schema's JSON form without the places, but for whether rows are grouped and weighted."""
    told = schema.to_json()
    for entry in (*told["categorical"], *told["numerical"], *told["tasks"]):
        entry.pop("column", None)
        entry.pop("separator", None)
    for name in ("group", "weight"):
        told[name] = "of a column" if getattr(schema, name) is not None else "none"
    return told


def notes(before: schema_lib.Schema, now: schema_lib.Schema) -> "list[str]":
    """A line for each value that is read from another column than before."""
    pairs = [
        *((f.name, f.raw, g.raw) for f, g in zip(before.categorical, now.categorical)),
        *((c.name, c.raw, d.raw) for c, d in zip(before.numerical, now.numerical)),
        *((f"task {t.name}", t.column, u.column) for t, u in zip(before.tasks, now.tasks)),
        ("the group", before.group, now.group),
        ("the weight", before.weight, now.weight),
    ]
    return [
        f"{what}: read from {new!r}, before from {old!r}" for what, old, new in pairs if old != new
    ]
