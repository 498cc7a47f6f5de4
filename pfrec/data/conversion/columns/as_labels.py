"""Columns of a chunk as labels: 1, 0, nothing, or something that no label is."""

from typing import Any

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import row_checks
from pfrec.data.dataset import row_block
from pfrec.data.reading import column_text, source, words

# Codes beside 0, 1 and `row_block.UNOBSERVED`.
MISSING = 254
WRONG = 253
_OTHERS = (
    "positive, negative, positive_from or unobserved in its [[task]] says what other values mean"
)


def codes(values: Any, task: schema_lib.Task) -> np.ndarray:
    """A label column read as its task says.

    Args:
      values: the column, of any type whose values are text, numbers or booleans.
      task: whose label it is.

    Returns:
      uint8 [rows]: 0, 1, `row_block.UNOBSERVED`, `MISSING` for an empty value, `WRONG` for one
      that is no label.

    Raises:
      ArrowNotImplementedError: where the column's type has no single values.
    """
    # Few values in many rows: each is judged once.
    encoded = column_text.arrow(values).dictionary_encode()
    judged = np.array(
        [_code(value, task) for value in encoded.dictionary.to_pylist()] + [MISSING], np.uint8
    )
    places = encoded.indices.fill_null(len(judged) - 1).to_numpy(zero_copy_only=False)
    return judged[places]


def _code(value: Any, task: schema_lib.Task) -> int:
    word = words.canonical(value) if value is not None else ""
    # What the schema names counts before everything else, an empty word included.
    if word in task.unobserved:
        return row_block.UNOBSERVED
    if word in task.positive:
        return 1
    if word in task.negative:
        return 0
    if words.is_null(value):
        return MISSING
    if task.positive_from is not None:
        found = words.number(word)
        return WRONG if found is None else int(found >= task.positive_from)
    if task.positive or task.negative:
        # One of the lists alone says what all other values are.
        return WRONG if task.positive and task.negative else int(not task.positive)
    if word in words.TRUE:
        return 1
    return 0 if word in words.FALSE else WRONG


def rule(task: schema_lib.Task) -> str:
    """What labels of a task are, for messages."""
    if task.positive_from is not None:
        return f"labels are numbers; {task.positive_from:g} and above is positive"
    if task.positive or task.negative:
        return (
            f"labels are {', '.join(map(repr, (*task.positive, *task.negative, *task.unobserved)))}"
        )
    return "labels are 0 or 1"


def read(
    chunk: source.RawChunk, schema: schema_lib.Schema, checks: row_checks.Checks
) -> "tuple[np.ndarray, dict[str, np.ndarray]]":
    """Labels, uint8 [rows, tasks], and by conditional task where it is 1 against its condition,
    bool [rows].

    A conditional task is unobserved wherever the task it depends on is not 1, whatever stands
    there; an empty label is judged where its task is defined, and nowhere else.
    """
    tasks = {task.name: task for task in schema.tasks}
    found: dict[str, np.ndarray] = {}
    contrary: dict[str, np.ndarray] = {}
    for task in schema.tasks:
        path = [task]
        while path[-1].given is not None and path[-1].given not in found:
            path.append(tasks[path[-1].given])
        for step in reversed(path):
            if step.name not in found:
                given = None if step.given is None else found[step.given] == 1
                label = _label(chunk, step, given, checks)
                if given is not None:
                    contrary[step.name] = (label == 1) & ~given
                    label = np.where(given, label, np.uint8(row_block.UNOBSERVED))
                found[step.name] = label
    return np.stack([found[task.name] for task in schema.tasks], axis=1), contrary


def _label(
    chunk: source.RawChunk,
    task: schema_lib.Task,
    defined: "np.ndarray | None",
    checks: row_checks.Checks,
) -> np.ndarray:
    """The labels of a task as they stand, uint8 [rows]; `defined`, bool [rows], says where an empty
    one is judged (None: everywhere).
    """
    import pyarrow as pa

    values = chunk.columns[task.column]
    try:
        found = codes(values, task)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise errors.PfrecError(
            f"{chunk.file}: column {task.column!r} holds {getattr(values, 'type', 'values')} where "
            "labels belong; mend the file or the schema"
        ) from None
    wording = rule(task)
    checks.require(
        found != WRONG,
        task.column,
        "label_not_binary",
        lambda i: f"the label is {column_text.shown(values[i])}; {wording}; {_OTHERS}",
    )
    missing = found == MISSING
    if task.missing == "bad":
        wanted = missing if defined is None else missing & defined
        checks.require(
            ~wanted,
            task.column,
            "label_missing",
            lambda _: (
                f"the label is empty; {wording}, "
                'or missing = "unobserved" or missing = 0 in its [[task]] says what that means'
            ),
        )
    stand_in = np.uint8(0 if task.missing == "0" else row_block.UNOBSERVED)
    return np.where(missing, stand_in, found)
