"""The variables that a SavedModel holds, as its checkpoint on the disk has them."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from pfrec import errors

_OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def shapes(directory: pathlib.Path) -> "dict[str, list[int]]":
    """The shape of every variable, by name in the checkpoint.

    Raises:
      PfrecError: where the checkpoint is missing or damaged.
    """
    with _readable(directory) as checkpoint:
        found = checkpoint.get_variable_to_shape_map()
    return {name: list(found[name]) for name in sorted(found) if name != _OBJECT_GRAPH}


def not_finite(directory: pathlib.Path) -> "list[str]":
    """The variables that hold NaN or infinity, by name in the checkpoint.

    Raises:
      PfrecError: where the checkpoint is missing or damaged.
    """
    names, found = shapes(directory), []
    with _readable(directory) as checkpoint:
        for name in names:
            value = checkpoint.get_tensor(name)
            # Exports hold whole numbers and NumPy's own kinds of fractions, no bfloat16.
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                found.append(name)
    return found


@contextlib.contextmanager
def _readable(directory: pathlib.Path) -> "Iterator[Any]":
    """The checkpoint; a PfrecError where it cannot be read, also where that shows in the body."""
    try:
        yield tf.train.load_checkpoint(str(directory / "variables" / "variables"))
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise errors.PfrecError(
            f"{directory}/variables: cannot be read ({error}); export the model again"
        ) from error
