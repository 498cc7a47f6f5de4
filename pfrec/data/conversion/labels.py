"""What a label column's values say: 1, 0, nothing, or something that no label is."""

from typing import Any

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.data.reading import column_text, words

# Codes beside 0, 1 and `row_block.UNOBSERVED`.
MISSING = 254
WRONG = 253


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
