"""The chain that tasks form where one is given another, as a conversion a click."""

from typing import Optional

from pfrec.data import schema as schema_lib


def parents(schema: schema_lib.Schema) -> "dict[str, Optional[str]]":
    """The task that each task is given, by name; None for a root."""
    return {task.name: task.given for task in schema.tasks}


def ancestors(schema: schema_lib.Schema, task: str) -> "list[str]":
    """The tasks that must be positive before `task` is defined, nearest first; a schema has no
    circle of them.
    """
    found: list[str] = []
    above, parent = parents(schema), task
    while (given := above[parent]) is not None:
        found.append(given)
        parent = given
    return found


def in_order(schema: schema_lib.Schema) -> "list[str]":
    """The tasks with each after the one that it is given, otherwise in the schema's order."""
    return sorted(
        (task.name for task in schema.tasks), key=lambda name: len(ancestors(schema, name))
    )
